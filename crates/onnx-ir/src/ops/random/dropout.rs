//! `Dropout`: while training `y = x * mask / (1 - ratio)`, where the mask leaves out elements with probability
//! `ratio`; otherwise `y = x`. Output 1 is the mask.
//!
//! Training is an input since opset 12; opsets 7 to 11 have inference only; before opset 7 it was the
//! attribute `is_test`. The mask is of truth values since opset 10.
//! <https://onnx.ai/onnx/operators/onnx__Dropout.html>; Srivastava et al., JMLR 15, 2014.

use super::mersenne_twister::MersenneTwister;
use super::seed;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};
use compress_tensor::CastOptions;

/// The attributes of `Dropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements left out, before opset 12.
    pub ratio: f32,
    /// When elements are left out.
    pub mode: DropoutMode,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

/// When `Dropout` leaves out elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropoutMode {
    /// Never.
    Inference,
    /// Always.
    Training,
    /// When input 2 says so.
    FromInput,
}

impl Operator for Dropout {
    const SIGNATURE: Signature = Signature::onnx("Dropout", &[1, 6, 7, 10, 12, 13, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() >= 12 {
            return Ok(Self {
                ratio: 0.5,
                mode: match attrs.input_count() {
                    ..3 => DropoutMode::Inference,
                    3.. => DropoutMode::FromInput,
                },
                seed: attrs.int_opt("seed")?,
            });
        }
        attrs.ignore("consumed_inputs");
        let training = attrs.version() < 7 && !attrs.flag_or("is_test", false)?;
        Ok(Self {
            ratio: attrs.f32_or("ratio", 0.5)?,
            mode: match training {
                true => DropoutMode::Training,
                false => DropoutMode::Inference,
            },
            seed: None,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mask = match cx.version() {
            ..10 => cx.dtype(0),
            10.. => Some(DType::Bool),
        };
        let mut facts = unary::infer(cx)?;
        facts.extend(unary::infer_as(cx, mask)?);
        Ok(facts)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let training = match self.mode {
            DropoutMode::Inference => false,
            DropoutMode::Training => true,
            DropoutMode::FromInput => match cx.optional_tensor(2)? {
                Some(flag) => flag.data::<bool>()?.first().copied().unwrap_or(false),
                None => false,
            },
        };
        let ratio = match cx.optional_tensor(1)? {
            Some(ratio) => unary::first_as_f64(ratio).unwrap_or(0.5),
            None => f64::from(self.ratio),
        };
        if !(0.0..1.0).contains(&ratio) && training {
            return Err(EvalError::rule("the ratio must lie in [0, 1)", ratio));
        }
        let (output, mask) = if training && ratio > 0.0 {
            drop_elements(x, ratio, seed::generator(cx, self.seed))?
        } else {
            (x.clone(), Tensor::full(x.shape(), true)?)
        };
        let mask = match cx.version() {
            ..10 => mask.cast(x.dtype(), CastOptions::default())?,
            10.. => mask,
        };
        Ok(vec![output.into(), mask.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
    fn is_random(&self) -> bool {
        self.mode != DropoutMode::Inference
    }
}

/// The result and the mask of what stays.
fn drop_elements(
    x: &Tensor,
    ratio: f64,
    mut generator: MersenneTwister,
) -> Result<(Tensor, Tensor), EvalError> {
    let mut values = floats(x)?;
    let mask: Vec<bool> = values
        .iter()
        .map(|_| generator.uniform() >= ratio)
        .collect();
    for (v, &stays) in values.iter_mut().zip(&mask) {
        *v = if stays { *v / (1.0 - ratio) } else { 0.0 };
    }
    Ok((
        rounded(x.dtype(), x.shape(), values)?,
        Tensor::from_vec(x.shape(), mask)?,
    ))
}

/// The mask of the forward run is used again.
fn gradient(op: &Dropout, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let flag = |tensor: Tensor| tensor.data::<bool>().ok()?.first().copied();
    let training = match op.mode {
        DropoutMode::Inference => false,
        DropoutMode::Training => true,
        DropoutMode::FromInput if cx.optional_input(2).is_none() => false,
        DropoutMode::FromInput => cx
            .constant(2)
            .and_then(flag)
            .ok_or(Unsupported("whether it is training must be a constant"))?,
    };
    if !training {
        cx.give(0, cx.dy());
        return Ok(());
    }
    through_mask(cx, op.ratio);
    Ok(())
}

/// `dx = mask * dy / (1 - ratio)`: the mask is output 1, the ratio input 1 or `default`.
pub(super) fn through_mask(cx: &GradientContext<'_>, default: f32) {
    let dy = cx.dy();
    let kept = match cx.optional_input(1) {
        Some(ratio) => dy.number(1.0) - ratio.cast_like(dy),
        None => dy.number(1.0 - f64::from(default)),
    };
    cx.give(0, cx.output(1).choose(dy / kept, 0.0));
}
