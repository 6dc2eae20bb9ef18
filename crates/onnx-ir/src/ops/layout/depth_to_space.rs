//! `DepthToSpace`: moves channels into `b x b` blocks of pixels: `[n, c b^2, h, w] -> [n, c, h b, w b]`.
//! <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>
//!
//! Opset 11 added the mode CRD, in which the block indices are the innermost part of the channel; in DCR
//! they are the outermost.

use crate::operator::prelude::*;
use crate::ops::select;
use crate::rewrite::NewNode;

/// How the channel is made of block indices and the depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthOrder {
    /// Block row, block column, depth.
    Dcr,
    /// Depth, block row, block column: as PyTorch's pixel shuffle.
    Crd,
}

impl DepthOrder {
    /// The attribute `mode`.
    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "DCR".into())?;
        match mode.as_str() {
            "DCR" => Ok(DepthOrder::Dcr),
            "CRD" => Ok(DepthOrder::Crd),
            _ => Err(AttrError::Invalid {
                name: "mode",
                found: mode,
                rule: "it must be DCR or CRD",
            }),
        }
    }
}

/// The attributes of `DepthToSpace`.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthToSpace {
    /// The side `b` of a block.
    pub block: usize,
    /// How the channel is made up.
    pub order: DepthOrder,
}

const RULE: &str = "the input must be [n, c, h, w] with a multiple of the squared block size as c";

impl Operator for DepthToSpace {
    const SIGNATURE: Signature = Signature::onnx("DepthToSpace", &[1, 11, 13, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        match op.order {
            DepthOrder::Dcr => {
                let node = NewNode::new("SpaceToDepth").with("blocksize", op.block as i64);
                cx.give(0, cx.dy().apply(node, &[]));
            }
            DepthOrder::Crd => cx.give_moved(&[]),
        }
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let block = block_size(attrs)?;
        let order = DepthOrder::parse(attrs)?;
        Ok(Self { block, order })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let b = Dim::from(self.block);
        let shape = match x.shape.as_deref() {
            None => None,
            Some([n, c, h, w]) => {
                let squared = b.clone() * b.clone();
                if let (Some(c), Some(s)) = (c.as_known(), squared.as_known())
                    && c % s != 0
                {
                    return Err(InferError::rule(RULE, &x));
                }
                let (h, w) = (h.clone() * b.clone(), w.clone() * b.clone());
                Some(vec![n.clone(), c.floor_div(&squared), h, w])
            }
            Some(_) => return Err(InferError::rule(RULE, &x)),
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let wrong = || EvalError::rule(RULE, format_args!("{:?}", x.shape()));
        let (&[n, c, h, w], b) = (x.shape(), self.block) else {
            return Err(wrong());
        };
        let squared = b.checked_mul(b).filter(|s| c % s == 0).ok_or_else(wrong)?;
        let depth = c / squared;
        // Axes n, c, h, b, w, b of the result, as strides of the input.
        let s = select::c_strides(x.shape());
        let step = |channels: usize| s[1] * channels as isize;
        let (of_c, of_row, of_column) = match self.order {
            DepthOrder::Dcr => (step(1), step(b * depth), step(depth)),
            DepthOrder::Crd => (step(squared), step(b), step(1)),
        };
        let moved = select::strided(
            x,
            &[n, depth, h, b, w, b],
            0,
            &[s[0], of_c, s[2], of_row, s[3], of_column],
        )?;
        Ok(vec![moved.reshape(&[n, depth, h * b, w * b])?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// The attribute `blocksize`, positive.
pub(super) fn block_size(attrs: &mut Attrs<'_>) -> Result<usize, AttrError> {
    let found = attrs.int("blocksize")?;
    match u16::try_from(found) {
        Ok(b) if b > 0 => Ok(b.into()),
        _ => Err(AttrError::Invalid {
            name: "blocksize",
            found: found.to_string(),
            rule: "it must be positive and at most 65535",
        }),
    }
}
