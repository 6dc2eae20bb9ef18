//! The element-wise, pooling and joining operators of ONNX Runtime's `com.microsoft` domain that read and
//! write 8-bit tensors, with its arithmetic bit for bit.

pub mod binary;
mod nhwc_max_pool;
mod qlinear_add;
mod qlinear_average_pool;
mod qlinear_concat;
mod qlinear_global_average_pool;
mod qlinear_leaky_relu;
mod qlinear_mul;
mod qlinear_sigmoid;
mod qlinear_softmax;
mod qlinear_where;
pub mod table;

pub use nhwc_max_pool::NhwcMaxPool;
pub use qlinear_add::QLinearAdd;
pub use qlinear_average_pool::QLinearAveragePool;
pub use qlinear_concat::QLinearConcat;
pub use qlinear_global_average_pool::QLinearGlobalAveragePool;
pub use qlinear_leaky_relu::QLinearLeakyRelu;
pub use qlinear_mul::QLinearMul;
pub use qlinear_sigmoid::QLinearSigmoid;
pub use qlinear_softmax::QLinearSoftmax;
pub use qlinear_where::QLinearWhere;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<NhwcMaxPool>(),
    OpEntry::of::<QLinearAdd>(),
    OpEntry::of::<QLinearAveragePool>(),
    OpEntry::of::<QLinearConcat>(),
    OpEntry::of::<QLinearGlobalAveragePool>(),
    OpEntry::of::<QLinearLeakyRelu>(),
    OpEntry::of::<QLinearMul>(),
    OpEntry::of::<QLinearSigmoid>(),
    OpEntry::of::<QLinearSoftmax>(),
    OpEntry::of::<QLinearWhere>(),
];
