//! Shapes and layout: what moves elements without computing.

mod center_crop_pad;
mod concat;
mod depth_to_space;
mod dynamic_slice;
mod expand;
mod flatten;
mod identity;
mod pad;
mod reshape;
mod reverse_sequence;
mod shape;
mod size;
mod slice;
mod space_to_depth;
mod split;
mod squeeze;
mod tile;
mod transpose;
mod trilu;
mod unsqueeze;

pub use center_crop_pad::CenterCropPad;
pub use concat::Concat;
pub(in crate::ops) use concat::{join, shape as concat_shape};
pub use depth_to_space::{DepthOrder, DepthToSpace};
pub use dynamic_slice::DynamicSlice;
pub use expand::Expand;
pub use flatten::Flatten;
pub use identity::Identity;
pub use pad::{Pad, PadMode};
pub use reshape::Reshape;
pub use reverse_sequence::ReverseSequence;
pub use shape::Shape;
pub use size::Size;
pub use slice::{AttributeBounds, Slice};
pub use space_to_depth::SpaceToDepth;
pub use split::Split;
pub(in crate::ops) use split::parts as split_parts;
pub use squeeze::Squeeze;
pub use tile::Tile;
pub use transpose::Transpose;
pub use trilu::Trilu;
pub use unsqueeze::Unsqueeze;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<CenterCropPad>(),
    OpEntry::of::<Concat>(),
    OpEntry::of::<DepthToSpace>(),
    OpEntry::of::<DynamicSlice>(),
    OpEntry::of::<Expand>(),
    OpEntry::of::<Flatten>(),
    OpEntry::of::<Identity>(),
    OpEntry::of::<Pad>(),
    OpEntry::of::<Reshape>(),
    OpEntry::of::<ReverseSequence>(),
    OpEntry::of::<Shape>(),
    OpEntry::of::<Size>(),
    OpEntry::of::<Slice>(),
    OpEntry::of::<SpaceToDepth>(),
    OpEntry::of::<Split>(),
    OpEntry::of::<Squeeze>(),
    OpEntry::of::<Tile>(),
    OpEntry::of::<Transpose>(),
    OpEntry::of::<Trilu>(),
    OpEntry::of::<Unsqueeze>(),
];
