//! Names of what stands beside the samples while a student learns.

/// What all of them begin with; models have no such names.
const PREFIX: &str = "modelpress.kd/";

/// The column of what a teacher says.
pub(super) fn teacher_column(teacher: usize, tensor: &str) -> String {
    format!("{PREFIX}teacher/{teacher}/{tensor}")
}

/// The column of the mask.
pub(super) fn mask_column() -> String {
    format!("{PREFIX}mask")
}

/// The part of a projection.
pub(super) fn projection(number: usize, part: &str) -> String {
    format!("{PREFIX}projection/{number}/{part}")
}

/// Whether a name is one of these.
pub(super) fn is_private(name: &str) -> bool {
    name.starts_with(PREFIX)
}
