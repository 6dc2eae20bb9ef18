//! `NonZero`: the indices of the elements that are not zero, `[rank, count]`, in C order. A scalar gives
//! `[0, count]`.
//! <https://onnx.ai/onnx/operators/onnx__NonZero.html>

use super::order;
use crate::operator::prelude::*;

/// `NonZero` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct NonZero;

impl Operator for NonZero {
    const SIGNATURE: Signature = Signature::onnx("NonZero", &[9, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let rank = cx.tensor(0)?.rank().map_or(Dim::Unknown, Dim::from);
        let count = cx.fresh_symbol();
        Ok(vec![
            TensorFact::with_shape(Some(DType::I64), Some(vec![rank, count])).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let found: Vec<usize> = match x.strings() {
            Ok(strings) => (0..x.len()).filter(|&i| !strings[i].is_empty()).collect(),
            Err(_) => {
                let values = order::to_f64(x)?;
                (0..x.len()).filter(|&i| values[i] != 0.0).collect()
            }
        };
        let shape = [x.rank(), found.len()];
        cx.check_size(&shape, DType::I64)?;
        let mut out = Vec::with_capacity(x.rank() * found.len());
        let mut below = x.len();
        for &d in x.shape() {
            below = below.checked_div(d).unwrap_or(0);
            out.extend(found.iter().map(|&i| (i / below % d) as i64));
        }
        Ok(vec![Tensor::from_vec(&shape, out)?.into()])
    }
}
