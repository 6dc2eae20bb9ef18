//! Making tensors: constants, ranges, patterns.

mod constant;
mod constant_of_shape;
mod eye_like;
mod range;

pub use constant::Constant;
pub use constant_of_shape::ConstantOfShape;
pub use eye_like::EyeLike;
pub use range::Range;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Constant>(),
    OpEntry::of::<ConstantOfShape>(),
    OpEntry::of::<EyeLike>(),
    OpEntry::of::<Range>(),
];
