//! Running sums and products along an axis.

mod cum_prod;
mod cum_sum;
mod running;

pub use cum_prod::CumProd;
pub use cum_sum::CumSum;
pub use running::Running;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[OpEntry::of::<CumProd>(), OpEntry::of::<CumSum>()];
