//! Pooling: windows, whole planes and regions reduced to one value each.

mod average_pool;
mod global;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
mod lp_pool;
mod max_pool;
mod max_roi_pool;
mod max_unpool;
mod roi_align;
pub(crate) mod sliding;

pub use average_pool::AveragePool;
pub use global_average_pool::GlobalAveragePool;
pub use global_lp_pool::GlobalLpPool;
pub use global_max_pool::GlobalMaxPool;
pub use lp_pool::LpPool;
pub use max_pool::MaxPool;
pub use max_roi_pool::MaxRoiPool;
pub use max_unpool::MaxUnpool;
pub use roi_align::RoiAlign;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<AveragePool>(),
    OpEntry::of::<GlobalAveragePool>(),
    OpEntry::of::<GlobalLpPool>(),
    OpEntry::of::<GlobalMaxPool>(),
    OpEntry::of::<LpPool>(),
    OpEntry::of::<MaxPool>(),
    OpEntry::of::<MaxRoiPool>(),
    OpEntry::of::<MaxUnpool>(),
    OpEntry::of::<RoiAlign>(),
];
