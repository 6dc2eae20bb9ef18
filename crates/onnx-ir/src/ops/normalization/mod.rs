//! Normalisations: statistics over some axes, then scale and shift.

pub(in crate::ops) mod batch_normalization;
mod group_normalization;
mod instance_normalization;
mod layer_normalization;
mod lp_normalization;
mod lrn;
mod mean_variance_normalization;
pub mod moments;
mod rms_normalization;

pub use batch_normalization::{BatchGrouping, BatchNormalization, BatchStatistics};
pub use group_normalization::GroupNormalization;
pub use instance_normalization::InstanceNormalization;
pub use layer_normalization::LayerNormalization;
pub use lp_normalization::{LpNormalization, VectorNorm};
pub use lrn::Lrn;
pub use mean_variance_normalization::MeanVarianceNormalization;
pub use rms_normalization::RmsNormalization;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<BatchNormalization>(),
    OpEntry::of::<GroupNormalization>(),
    OpEntry::of::<InstanceNormalization>(),
    OpEntry::of::<LayerNormalization>(),
    OpEntry::of::<LpNormalization>(),
    OpEntry::of::<Lrn>(),
    OpEntry::of::<MeanVarianceNormalization>(),
    OpEntry::of::<RmsNormalization>(),
];
