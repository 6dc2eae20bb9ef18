//! The checker's word on a converted model.

use super::ConvertError;
use crate::Model;
use crate::check::{Finding, check};

/// # Errors
/// [`ConvertError::Node`] for the first node that the target version does not have in this form.
pub(super) fn is_valid(model: &Model, target: i64) -> Result<(), ConvertError> {
    let findings = check(model);
    let of_node = findings
        .into_iter()
        .filter(Finding::is_error)
        .find_map(|finding| {
            let node = finding.place.node?;
            Some((node, finding.place.op.unwrap_or_default(), finding.problem))
        });
    match of_node {
        None => Ok(()),
        Some((node, op, problem)) => Err(ConvertError::Node {
            node: format!("{node} ({op})"),
            target,
            reason: problem.to_string(),
        }),
    }
}
