//! `LRN`, local response normalisation: `y = x / (bias + alpha / size * sum)^beta`, where `sum` is that of
//! the squares over `size` neighbouring channels.
//! <https://onnx.ai/onnx/operators/onnx__LRN.html>; Krizhevsky et al., NIPS 2012, sec. 3.3.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::Lanes;

/// The attributes of `LRN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lrn {
    /// The factor of the sum.
    pub alpha: f32,
    /// The exponent.
    pub beta: f32,
    /// What is added to the sum.
    pub bias: f32,
    /// The number of channels of a sum.
    pub size: usize,
}

impl Operator for Lrn {
    const SIGNATURE: Signature = Signature::onnx("LRN", &[1, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().apply(cx.private_like("LRNGrad"), &[cx.input(0)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let size = attrs.int("size")?;
        Ok(Self {
            alpha: attrs.f32_or("alpha", 0.0001)?,
            beta: attrs.f32_or("beta", 0.75)?,
            bias: attrs.f32_or("bias", 1.0)?,
            size: usize::try_from(size)
                .ok()
                .filter(|&s| s > 0)
                .ok_or_else(|| AttrError::Invalid {
                    name: "size",
                    found: size.to_string(),
                    rule: "it must be positive",
                })?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        if x.rank() < 2 {
            let found = format!("{:?}", x.shape());
            return Err(EvalError::rule("the input must have a channel axis", found));
        }
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let bias = f64::from(self.bias);
        let y = Lanes::new(x.shape(), 1, 2).map(x, |channels| {
            let squares: Vec<f64> = channels.iter().map(|v| v * v).collect();
            for (c, v) in channels.iter_mut().enumerate() {
                let sum: f64 = squares[self.near(c, squares.len())].iter().sum();
                *v /= (bias + alpha / self.size as f64 * sum).powf(beta);
            }
        })?;
        Ok(vec![y.into()])
    }
}

impl Lrn {
    /// The channels whose squares are summed for channel `c` of `channels`.
    pub(in crate::ops) fn near(&self, c: usize, channels: usize) -> std::ops::Range<usize> {
        let before = (self.size - 1) / 2;
        let after = self.size - 1 - before;
        let end = c.saturating_add(after).saturating_add(1).min(channels);
        c.saturating_sub(before)..end
    }
}
