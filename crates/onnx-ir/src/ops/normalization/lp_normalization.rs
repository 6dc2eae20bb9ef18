//! `LpNormalization`: `y = x / |x|_p` along an axis, `p` 1 or 2; 0 where the norm is 0.
//! <https://onnx.ai/onnx/operators/onnx__LpNormalization.html>

use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::elementwise::unary;
use crate::ops::lanes::Lanes;

/// The attributes of `LpNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct LpNormalization {
    /// The axis.
    pub axis: i64,
    /// The norm.
    pub norm: VectorNorm,
}

/// A vector norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorNorm {
    /// The sum of the absolute values.
    L1,
    /// The square root of the sum of the squares.
    L2,
}

impl Operator for LpNormalization {
    const SIGNATURE: Signature = Signature::onnx("LpNormalization", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let (x, y, dy) = (cx.input(0), cx.output(0), cx.dy());
        let along = (dy * y).sum(&[op.axis], true);
        let (norm, slope) = match op.norm {
            VectorNorm::L1 => (x.abs().sum(&[op.axis], true), x.sign()),
            VectorNorm::L2 => ((x * x).sum(&[op.axis], true).sqrt(), y),
        };
        // Where the norm is 0 there is no slope.
        cx.give(0, norm.equals(0.0).choose(0.0, (dy - slope * along) / norm));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let p = attrs.int_or("p", 2)?;
        let norm = match p {
            1 => VectorNorm::L1,
            2 => VectorNorm::L2,
            _ => {
                return Err(AttrError::Invalid {
                    name: "p",
                    found: p.to_string(),
                    rule: "it must be 1 or 2",
                });
            }
        };
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            norm,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        if let Some(rank) = cx.tensor(0)?.rank() {
            axis::infer(self.axis, rank)?;
        }
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let y = Lanes::new(x.shape(), axis, axis + 1).map(x, |lane| {
            let norm = match self.norm {
                VectorNorm::L1 => lane.iter().map(|v| v.abs()).sum(),
                VectorNorm::L2 => lane.iter().map(|v| v * v).sum::<f64>().sqrt(),
            };
            if norm != 0.0 {
                lane.iter_mut().for_each(|v| *v /= norm);
            }
        })?;
        Ok(vec![y.into()])
    }
}
