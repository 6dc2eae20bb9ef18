//! `SequenceEmpty`: a sequence without elements, of tensors of a given type (f32 by default).
//! <https://onnx.ai/onnx/operators/onnx__SequenceEmpty.html>

use crate::operator::prelude::*;

/// The attributes of `SequenceEmpty`.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceEmpty {
    /// The element type of the tensors to come.
    pub dtype: DType,
}

impl Operator for SequenceEmpty {
    const SIGNATURE: Signature = Signature::onnx("SequenceEmpty", &[11]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?.unwrap_or(DType::F32),
        })
    }
    fn infer(&self, _: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let element = TensorFact::of_dtype(Some(self.dtype)).into();
        Ok(vec![Fact::Sequence(Box::new(element))])
    }
    fn eval(&self, _: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![Value::Sequence(Vec::new())])
    }
}
