//! `ConstantOfShape`: a tensor of a given shape filled with one value, f32 zero by default.
//! <https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html>

use crate::operator::prelude::*;
use crate::ops::select;

/// The attributes of `ConstantOfShape`.
#[derive(Clone, Debug)]
pub struct ConstantOfShape {
    /// The value: one element.
    pub value: Tensor,
}

impl Operator for ConstantOfShape {
    const SIGNATURE: Signature = Signature::onnx("ConstantOfShape", &[9, 20, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let value = attrs.tensor_or("value", Tensor::scalar(0f32))?;
        match value.len() {
            1 => Ok(Self { value }),
            found => Err(AttrError::Invalid {
                name: "value",
                found: format!("{found} elements"),
                rule: "it must hold one",
            }),
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(0)?;
        let shape = cx.elements(0);
        if let Some(d) = shape
            .iter()
            .flatten()
            .filter_map(Dim::as_known)
            .find(|&d| d < 0)
        {
            return Err(InferError::rule("a shape must not be negative", d));
        }
        Ok(vec![
            TensorFact::with_shape(Some(self.value.dtype()), shape).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dims = cx.ints(0)?.ok_or(EvalError::MissingInput { index: 0 })?;
        let shape: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| {
            EvalError::rule("a shape must not be negative", format_args!("{dims:?}"))
        })?;
        let count = cx.check_size(&shape, self.value.dtype())?;
        let sources = std::iter::repeat_n(0, count);
        Ok(vec![select::select(&self.value, &shape, sources)?.into()])
    }
}
