//! What an operator file needs.

pub use super::{
    AttrError, Attrs, EvalContext, EvalError, Gradient, InferContext, InferError, Operator,
    QuantRule, Signature, Unsupported,
};
pub use crate::fact::{Fact, KnownValue, TensorFact};
pub use crate::gradient::{GradientContext, Var};
pub use crate::symbolic::Dim;
pub use crate::value::Value;
pub use compress_tensor::{DType, Element, Tensor, element_count};
