//! Resampling and rearranging images.

mod affine_grid;
mod col2im;
mod coordinates;
mod grid_sample;
mod resampler;
mod resize;
mod upsample;

pub use affine_grid::AffineGrid;
pub use col2im::Col2Im;
pub use coordinates::CoordinateTransform;
pub use grid_sample::{GridMode, GridPadding, GridSample};
pub use resampler::{Interpolation, NearestMode, Resampler};
pub use resize::{AspectPolicy, Resize};
pub use upsample::Upsample;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<AffineGrid>(),
    OpEntry::of::<Col2Im>(),
    OpEntry::of::<GridSample>(),
    OpEntry::of::<Resize>(),
    OpEntry::of::<Upsample>(),
];
