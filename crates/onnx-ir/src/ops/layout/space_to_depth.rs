//! `SpaceToDepth`: moves `b x b` blocks of pixels into channels:
//! `[n, c, h b, w b] -> [n, b^2 c, h, w]`.
//! <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>
//!
//! The block indices are the outermost part of the channel; opset 28 added the mode CRD, in which they
//! are the innermost.

use super::depth_to_space::{DepthOrder, block_size};
use crate::operator::prelude::*;
use crate::ops::select;
use crate::rewrite::NewNode;

/// The attributes of `SpaceToDepth`.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceToDepth {
    /// The side `b` of a block.
    pub block: usize,
    /// How the channel is made up.
    pub order: DepthOrder,
}

const RULE: &str = "the input must be [n, c, h, w] with multiples of the block size as h and w";

impl Operator for SpaceToDepth {
    const SIGNATURE: Signature = Signature::onnx("SpaceToDepth", &[1, 13, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let mode = match op.order {
            DepthOrder::Dcr => "DCR",
            DepthOrder::Crd => "CRD",
        };
        let node = NewNode::new("DepthToSpace").with("blocksize", op.block as i64);
        cx.give(0, cx.dy().apply(node.with("mode", mode), &[]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            block: block_size(attrs)?,
            order: DepthOrder::parse(attrs)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let b = Dim::from(self.block);
        let uneven = |d: &Dim| d.as_size().is_some_and(|d| d % self.block != 0);
        let shape = match x.shape.as_deref() {
            None => None,
            Some([n, c, h, w]) if !uneven(h) && !uneven(w) => Some(vec![
                n.clone(),
                c.clone() * b.clone() * b.clone(),
                h.floor_div(&b),
                w.floor_div(&b),
            ]),
            Some(_) => return Err(InferError::rule(RULE, &x)),
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let b = self.block;
        let &[n, c, h, w] = x.shape() else {
            return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape())));
        };
        if h % b != 0 || w % b != 0 {
            return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape())));
        }
        // Axes n, channels.., h, w of the result, as strides of the input.
        let s = select::c_strides(x.shape());
        let (block, rows, columns) = (b as isize, s[2], s[3]);
        let (sizes, strides) = match self.order {
            DepthOrder::Dcr => ([b, b, c], [rows, columns, s[1]]),
            DepthOrder::Crd => ([c, b, b], [s[1], rows, columns]),
        };
        let moved = select::strided(
            x,
            &[&[n], &sizes[..], &[h / b, w / b]].concat(),
            0,
            &[&[s[0]], &strides[..], &[rows * block, columns * block]].concat(),
        )?;
        Ok(vec![moved.reshape(&[n, c * b * b, h / b, w / b])?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
