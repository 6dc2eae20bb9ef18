//! Object detection: choosing among candidate boxes.

mod non_max_suppression;

pub use non_max_suppression::NonMaxSuppression;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[OpEntry::of::<NonMaxSuppression>()];
