//! `Unsqueeze`: puts axes of size 1 in; the axes are those of the output.
//! <https://onnx.ai/onnx/operators/onnx__Unsqueeze.html>
//!
//! Opset 13 made the axes an input; opset 11 allowed negative ones.

use crate::operator::prelude::*;
use crate::ops::{axis, partial};

/// The attributes of `Unsqueeze`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsqueeze {
    /// The axes, where they are an attribute (before opset 13).
    pub axes: Option<Vec<i64>>,
}

const RULE: &str = "axes must lie within the output's rank and differ";

impl Operator for Unsqueeze {
    const SIGNATURE: Signature = Signature::onnx("Unsqueeze", &[1, 11, 13, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().reshape_like(cx.input(0)));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let axes = if attrs.version() < 13 {
            Some(attrs.ints("axes")?)
        } else {
            None
        };
        Ok(Self { axes })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let axes = match &self.axes {
            Some(axes) => Some(axes.clone()),
            None => {
                cx.tensor(1)?;
                cx.const_ints(1)
            }
        };
        let shape = match (&x.shape, axes) {
            (Some(dims), Some(axes)) => Some(
                unsqueezed(dims, &axes, Dim::Known(1))
                    .ok_or_else(|| InferError::rule(RULE, format_args!("{axes:?}")))?,
            ),
            (Some(dims), None) => cx
                .elements(1)
                .map(|axes| vec![Dim::Unknown; dims.len() + axes.len()]),
            (None, _) => None,
        };
        let output = TensorFact::with_shape(x.dtype, shape);
        Ok(vec![partial::same_elements(output, &x).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axes = match &self.axes {
            Some(axes) => axes.clone(),
            None => cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?,
        };
        let shape = unsqueezed(x.shape(), &axes, 1)
            .ok_or_else(|| EvalError::rule(RULE, format_args!("{axes:?}")))?;
        Ok(vec![x.reshape(&shape)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// `dims` with `one` at each of `axes`; `None` where an axis is outside or named twice.
fn unsqueezed<D: Clone>(dims: &[D], axes: &[i64], one: D) -> Option<Vec<D>> {
    let rank = dims.len().checked_add(axes.len())?;
    let mut is_new = vec![false; rank];
    for &axis in axes {
        if std::mem::replace(&mut is_new[axis::resolve(axis, rank)?], true) {
            return None;
        }
    }
    let mut old = dims.iter();
    is_new
        .into_iter()
        .map(|new| {
            if new {
                Some(one.clone())
            } else {
                old.next().cloned()
            }
        })
        .collect()
}
