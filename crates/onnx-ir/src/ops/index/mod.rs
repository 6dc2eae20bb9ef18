//! Gathering, scattering and searching: what works with positions.

mod arg_max;
mod arg_min;
mod compress;
mod extreme;
mod gather;
mod gather_elements;
mod gather_nd;
mod non_zero;
mod one_hot;
mod order;
pub mod position;
mod reduction;
mod scatter;
mod scatter_elements;
mod scatter_nd;
mod tensor_scatter;
mod top_k;
mod unique;

pub use arg_max::ArgMax;
pub use arg_min::ArgMin;
pub use compress::Compress;
pub use extreme::ArgExtreme;
pub use gather::Gather;
pub use gather_elements::GatherElements;
pub use gather_nd::GatherND;
pub use non_zero::NonZero;
pub use one_hot::OneHot;
pub use reduction::Reduction;
pub use scatter::Scatter;
pub use scatter_elements::ScatterElements;
pub use scatter_nd::ScatterND;
pub use tensor_scatter::TensorScatter;
pub use top_k::TopK;
pub use unique::Unique;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<ArgMax>(),
    OpEntry::of::<ArgMin>(),
    OpEntry::of::<Compress>(),
    OpEntry::of::<Gather>(),
    OpEntry::of::<GatherElements>(),
    OpEntry::of::<GatherND>(),
    OpEntry::of::<NonZero>(),
    OpEntry::of::<OneHot>(),
    OpEntry::of::<Scatter>(),
    OpEntry::of::<ScatterElements>(),
    OpEntry::of::<ScatterND>(),
    OpEntry::of::<TensorScatter>(),
    OpEntry::of::<TopK>(),
    OpEntry::of::<Unique>(),
];
