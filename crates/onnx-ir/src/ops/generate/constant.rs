//! `Constant`: a value that stands in an attribute.
//! <https://onnx.ai/onnx/operators/onnx__Constant.html>
//!
//! Opset 11 added `sparse_value`, opset 12 the plain numbers, strings and lists.

use crate::graph::SparseTensor;
use crate::operator::prelude::*;

/// The attributes of `Constant`: one of them.
#[derive(Clone, Debug)]
pub enum Constant {
    /// `value`, `value_int(s)`, `value_float(s)`, `value_string(s)`.
    Dense(Tensor),
    /// `sparse_value`.
    Sparse(SparseTensor),
}

impl Operator for Constant {
    const SIGNATURE: Signature =
        Signature::onnx("Constant", &[1, 9, 11, 12, 13, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let forms = [
            attrs.tensor_opt("value")?,
            attrs.int_opt("value_int")?.map(Tensor::scalar),
            attrs.ints_opt("value_ints")?.map(Tensor::vector),
            attrs.f32_opt("value_float")?.map(Tensor::scalar),
            attrs.floats_opt("value_floats")?.map(Tensor::vector),
            attrs
                .string_opt("value_string")?
                .and_then(|s| strings(&[], vec![s])),
            attrs
                .strings_opt("value_strings")?
                .and_then(|s| strings(&[s.len()], s)),
        ];
        let dense = forms.into_iter().flatten().map(Constant::Dense);
        let sparse = attrs.sparse_opt("sparse_value")?.map(Constant::Sparse);
        let mut given = dense.chain(sparse);
        match (given.next(), given.count()) {
            (Some(value), 0) => Ok(value),
            (None, _) => Err(AttrError::Missing { name: "value" }),
            (Some(_), more) => Err(AttrError::Invalid {
                name: "value",
                found: format!("{} values", more + 1),
                rule: "one of the attributes must be given",
            }),
        }
    }

    fn infer(&self, _: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![match self {
            Constant::Dense(tensor) => TensorFact::constant(tensor.clone()).into(),
            Constant::Sparse(s) => Fact::tensor(s.values.dtype(), s.dims.iter().copied()),
        }])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![match self {
            Constant::Dense(tensor) => tensor.clone().into(),
            Constant::Sparse(s) => s.to_dense(cx.limits().max_tensor_bytes)?.into(),
        }])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("a constant is quantized where it is read")
    }
}

fn strings(shape: &[usize], values: Vec<String>) -> Option<Tensor> {
    Tensor::from_strings(shape, values).ok()
}
