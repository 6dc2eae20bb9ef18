//! `CenterCropPad`: cuts or zero-pads axes to given sizes about the centre; the odd element is cut or
//! added at the end.
//! <https://onnx.ai/onnx/operators/onnx__CenterCropPad.html>

use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// The attributes of `CenterCropPad`.
#[derive(Clone, Debug, PartialEq)]
pub struct CenterCropPad {
    /// The axes that the sizes are for; all where they are not given.
    pub axes: Option<Vec<i64>>,
}

const RULE: &str = "there must be one size, not negative, for each axis";

impl CenterCropPad {
    fn axes(&self, rank: usize) -> Vec<i64> {
        self.axes
            .clone()
            .unwrap_or_else(|| (0..rank as i64).collect())
    }
}

impl Operator for CenterCropPad {
    const SIGNATURE: Signature = Signature::onnx("CenterCropPad", &[18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_moved_beside_zeros(&[Some(cx.input(1))]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: attrs.ints_opt("axes")?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        let Some(mut shape) = x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let axes = self.axes(shape.len());
        let sizes = cx
            .elements(1)
            .unwrap_or_else(|| vec![Dim::Unknown; axes.len()]);
        if sizes.len() != axes.len() {
            return Err(InferError::rule(
                RULE,
                format_args!("{} for {axes:?}", sizes.len()),
            ));
        }
        for (axis, size) in axes.into_iter().zip(sizes) {
            let at = axis::infer(axis, shape.len())?;
            shape[at] = size;
        }
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let sizes = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let axes = self.axes(x.rank());
        let wrong = || EvalError::rule(RULE, format_args!("{sizes:?} for {axes:?}"));
        if sizes.len() != axes.len() {
            return Err(wrong());
        }
        let mut shape = x.shape().to_vec();
        for (&axis, &size) in axes.iter().zip(&sizes) {
            shape[axis::eval(axis, x.rank())?] = usize::try_from(size).map_err(|_| wrong())?;
        }
        if cx.check_size(&shape, x.dtype())? == 0 {
            // The other sizes may be too large for a table along their axes.
            return Ok(vec![select::zeros(x.dtype(), &shape)?.into()]);
        }
        let tables: Vec<Vec<Option<usize>>> = shape
            .iter()
            .zip(x.shape())
            .map(|(&size, &d)| {
                let (cut, added) = (d.saturating_sub(size) / 2, size.saturating_sub(d) / 2);
                let source = |i: usize| i.checked_sub(added).map(|i| i + cut).filter(|&i| i < d);
                (0..size).map(source).collect()
            })
            .collect();
        let zero = select::zeros(x.dtype(), &[])?;
        Ok(vec![select::mapped(x, &tables, &zero)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
