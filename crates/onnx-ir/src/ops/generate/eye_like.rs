//! `EyeLike`: ones on diagonal `k`, zeros elsewhere, in the shape of the input.
//! <https://onnx.ai/onnx/operators/onnx__EyeLike.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// The attributes of `EyeLike`.
#[derive(Clone, Debug, PartialEq)]
pub struct EyeLike {
    /// The element type; the input's where it is not given.
    pub dtype: Option<DType>,
    /// The diagonal: 0 is the main one, positive ones lie above.
    pub k: i64,
}

const RULE: &str = "the input must be a matrix";

impl Operator for EyeLike {
    const SIGNATURE: Signature = Signature::onnx("EyeLike", &[9, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?,
            k: attrs.int_or("k", 0)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        if x.rank().is_some_and(|r| r != 2) {
            return Err(InferError::rule(RULE, x));
        }
        Ok(vec![
            TensorFact::with_shape(self.dtype.or(x.dtype), x.shape).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let &[rows, columns] = x.shape() else {
            return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape())));
        };
        let dtype = self.dtype.unwrap_or(x.dtype());
        let count = cx.check_size(&[rows, columns], dtype)?;
        let column = |row: usize| {
            let at = (row as i64).checked_add(self.k)?;
            usize::try_from(at).ok().filter(|&c| c < columns)
        };
        let ones = (0..rows).filter_map(|row| Some(row * columns + column(row)?));
        let eye = if dtype == DType::Bool {
            let mut eye = vec![false; count];
            ones.for_each(|at| eye[at] = true);
            Tensor::from_vec(x.shape(), eye)?
        } else {
            dispatch!(dtype, T in numbers => {
                let mut eye = vec![T::ZERO; count];
                ones.for_each(|at| eye[at] = T::ONE);
                Ok::<Tensor, EvalError>(Tensor::from_vec(x.shape(), eye)?)
            })?
        };
        Ok(vec![eye.into()])
    }
}
