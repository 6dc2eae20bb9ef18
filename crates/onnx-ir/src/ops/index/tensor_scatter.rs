//! `TensorScatter`: a key/value cache of which a stretch along `axis` is replaced by the update, from
//! `write_indices[batch]` on; in circular mode the stretch wraps around.
//! <https://onnx.ai/onnx/operators/onnx__TensorScatter.html>

use super::reduction::Reduction;
use crate::operator::prelude::*;
use crate::ops::{axis, elementwise::unary};
use crate::rewrite::NewNode;

/// The attributes of `TensorScatter`.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorScatter {
    /// The sequence axis; negative counts from the end.
    pub axis: i64,
    /// Whether positions wrap around at the end.
    pub circular: bool,
}

const RULE: &str = "the update must fit into the cache from its write index on";

impl Operator for TensorScatter {
    const SIGNATURE: Signature = Signature::onnx("TensorScatter", &[24]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (cache, update, dy) = (cx.input(0), cx.input(1), cx.dy());
        let none = cx.int(-1).expand(cache.shape());
        // Where each element comes from in the update, -1 for the cache.
        let from = cx.again(&[Some(none), Some(cx.positions(update)), cx.optional_input(2)]);
        cx.give(0, from.less(cx.int(0)).choose(dy, 0.0));
        let node = NewNode::private("ScatterAdd");
        cx.give(1, dy.apply(node, &[from, update.shape()]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "linear".into())?;
        let circular = match mode.as_str() {
            "linear" => false,
            "circular" => true,
            _ => {
                return Err(AttrError::Invalid {
                    name: "mode",
                    found: mode,
                    rule: "it must be linear or circular",
                });
            }
        };
        Ok(Self {
            axis: attrs.int_or("axis", -2)?,
            circular,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (cache, update) = (cx.tensor(0)?, cx.tensor(1)?);
        let axis = axis::eval(self.axis, cache.rank())?;
        let wrong = || {
            EvalError::rule(
                RULE,
                format_args!("{:?} into {:?}", update.shape(), cache.shape()),
            )
        };
        let fits = update.rank() == cache.rank()
            && axis > 0
            && (0..cache.rank()).all(|a| a == axis || update.shape()[a] == cache.shape()[a]);
        if !fits {
            return Err(wrong());
        }
        if update.is_empty() {
            return Ok(vec![cache.clone().into()]);
        }
        let (outer, size, block) = axis::split(cache.shape(), axis);
        let steps = update.shape()[axis];
        let batch = cache.shape()[0];
        let starts = cx.ints(2)?.unwrap_or_else(|| vec![0; batch]);
        if starts.len() != batch || size == 0 {
            return Err(wrong());
        }
        let mut targets = Vec::with_capacity(outer * steps);
        for o in 0..outer {
            let start = usize::try_from(starts[o / (outer / batch)]).map_err(|_| wrong())?;
            for step in 0..steps {
                let at = start.checked_add(step).ok_or_else(wrong)?;
                let at = if self.circular { at % size } else { at };
                if at >= size {
                    return Err(wrong());
                }
                targets.push((o * size + at) * block);
            }
        }
        Ok(vec![
            Reduction::Replace
                .scatter(cache, &targets, block, update)?
                .into(),
        ])
    }
}
