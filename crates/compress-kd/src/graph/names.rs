//! Names of what stands beside the samples while a student learns.

/// What all of them begin with; models have no such names.
const PREFIX: &str = "modelpress.kd/";

/// The column of what a teacher says.
pub(super) fn teacher_column(teacher: usize, tensor: &str) -> String {
    format!("{PREFIX}teacher/{teacher}/{tensor}")
}

/// The tensor that a teacher's column holds.
pub(super) fn tensor_of(column: &str) -> &str {
    let own = column.strip_prefix(PREFIX).unwrap_or(column);
    own.splitn(3, '/').nth(2).unwrap_or(own)
}

/// The column of the mask.
pub(super) fn mask_column() -> String {
    format!("{PREFIX}mask")
}

/// The column of the places of samples in the data.
pub(super) fn rows_column() -> String {
    format!("{PREFIX}rows")
}

/// The input that a teacher's tensor feeds, where it is embedded.
pub(super) fn embedded_input(number: usize) -> String {
    format!("{PREFIX}embedded/{number}")
}

/// The part of a projection.
pub(super) fn projection(number: usize, part: &str) -> String {
    format!("{PREFIX}projection/{number}/{part}")
}

/// Whether a name is one of these.
pub(super) fn is_private(name: &str) -> bool {
    name.starts_with(PREFIX)
}
