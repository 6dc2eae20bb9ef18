//! `Clip`: `y = min(max(x, min), max)`; where `min > max`, all elements are `max`.
//!
//! The bounds were attributes until opset 11, where they became inputs; integers came with opset 12.
//! <https://onnx.ai/onnx/operators/onnx__Clip.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// The attributes of `Clip`; there are none since opset 11.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The least value, before opset 11.
    pub min: Option<f32>,
    /// The greatest value, before opset 11.
    pub max: Option<f32>,
}

impl Operator for Clip {
    const SIGNATURE: Signature = Signature::onnx("Clip", &[1, 6, 11, 12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() >= 11 {
            return Ok(Self {
                min: None,
                max: None,
            });
        }
        attrs.ignore("consumed_inputs");
        Ok(Self {
            min: attrs.f32_opt("min")?,
            max: attrs.f32_opt("max")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = dispatch!(x.dtype(), T in numbers => {
            let bound = |index: usize, attribute: Option<f32>, default: T| {
                match (cx.optional_tensor(index)?, attribute) {
                    (Some(tensor), _) => scalar(index, tensor),
                    (None, Some(value)) => Ok(T::from_f64(value.into())),
                    (None, None) => Ok(default),
                }
            };
            let min = bound(1, self.min, T::LOWEST)?;
            let max = bound(2, self.max, T::HIGHEST)?;
            unary::map(x, |v: T| v.larger(min).smaller(max))
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FusableActivation
    }
}

fn scalar<T: Element>(index: usize, tensor: &Tensor) -> Result<T, EvalError> {
    match tensor.data::<T>()?.as_ref() {
        &[value] => Ok(value),
        _ => Err(EvalError::WrongInput {
            index,
            expected: "a scalar",
            found: format!("a tensor of shape {:?}", tensor.shape()),
        }),
    }
}

/// The adjoint goes to the element where it lies within the bounds, else to the bound that it was cut to.
fn gradient(_: &Clip, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let (x, dy) = (cx.input(0), cx.dy());
    let (min, max) = (cx.optional_input(1), cx.optional_input(2));
    let mut below = min.map(|min| x.less(min));
    let mut above = max.map(|max| x.greater(max));
    if let (Some(min), Some(max), true) = (min, max, cx.wants(1) || cx.wants(2)) {
        // All elements are `max`.
        let crossed = min.greater(max);
        below = below.map(|cut| cut.and(crossed.negated()));
        above = above.map(|cut| cut.or(crossed));
    }
    let mut kept = dy;
    for (index, cut) in [(1, below), (2, above)] {
        let Some(cut) = cut else { continue };
        kept = cut.choose(0.0, kept);
        if cx.wants(index) {
            cx.give_broadcast(index, cut.choose(dy, 0.0));
        }
    }
    cx.give(0, kept);
    Ok(())
}
