//! Convolution in all its forms.

mod causal_conv_with_state;
pub(in crate::ops) mod conv;
pub(in crate::ops) mod conv_transpose;
mod deform_conv;
pub(in crate::ops) mod grouped;

pub use causal_conv_with_state::CausalConvWithState;
pub use conv::Conv;
pub use conv_transpose::ConvTranspose;
pub use deform_conv::DeformConv;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<CausalConvWithState>(),
    OpEntry::of::<Conv>(),
    OpEntry::of::<ConvTranspose>(),
    OpEntry::of::<DeformConv>(),
];
