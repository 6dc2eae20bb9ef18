//! Reductions: many elements along axes to one.

mod axes;
mod extreme;
mod fold;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;

pub use axes::ReduceAxes;
pub use reduce_l1::ReduceL1;
pub use reduce_l2::ReduceL2;
pub use reduce_log_sum::ReduceLogSum;
pub use reduce_log_sum_exp::ReduceLogSumExp;
pub use reduce_max::ReduceMax;
pub use reduce_mean::ReduceMean;
pub use reduce_min::ReduceMin;
pub use reduce_prod::ReduceProd;
pub use reduce_sum::ReduceSum;
pub use reduce_sum_square::ReduceSumSquare;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<ReduceL1>(),
    OpEntry::of::<ReduceL2>(),
    OpEntry::of::<ReduceLogSum>(),
    OpEntry::of::<ReduceLogSumExp>(),
    OpEntry::of::<ReduceMax>(),
    OpEntry::of::<ReduceMean>(),
    OpEntry::of::<ReduceMin>(),
    OpEntry::of::<ReduceProd>(),
    OpEntry::of::<ReduceSum>(),
    OpEntry::of::<ReduceSumSquare>(),
];
