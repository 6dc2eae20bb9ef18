//! `SeededDropout`: `y = x * mask / (1 - ratio)`, where the mask leaves out elements with probability `ratio`. Which ones follows
//! from the seed, which is an input, so that every training step can draw others, and from `stream`, by which the nodes of a
//! graph differ: element `i` stays where the 53 high bits of `mix(mix(seed + stream * g) + (i + 1) * g) / 2^53` are at least
//! `ratio`, with `g = 0x9e3779b97f4a7c15` and the finalizer `mix` of SplitMix64. No element depends on another's draw.
//!
//! Inputs: `x`, `ratio` (a float scalar; 0.5 where it is left out), `seed` (i64 scalar). Outputs: `y`, `mask` (of truth values). Attribute:
//! `stream` (default 0). Srivastava et al., JMLR 15, 2014; Steele et al., OOPSLA 2014.

use super::dropout::through_mask;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};

/// The attributes of `SeededDropout`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeededDropout {
    /// What tells the nodes of a graph apart.
    pub stream: i64,
}

impl Operator for SeededDropout {
    const SIGNATURE: Signature = Signature::private("SeededDropout");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        through_mask(cx, 0.5);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            stream: attrs.int_or("stream", 0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mut facts = unary::infer(cx)?;
        facts.extend(unary::infer_as(cx, Some(DType::Bool))?);
        Ok(facts)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let ratio = match cx.optional_tensor(1)? {
            Some(ratio) => unary::first_as_f64(ratio).unwrap_or(0.5),
            None => 0.5,
        };
        if !(0.0..1.0).contains(&ratio) {
            return Err(EvalError::rule(
                "the ratio must be at least 0 and below 1",
                ratio,
            ));
        }
        let seed = cx.ints(2)?.ok_or(EvalError::MissingInput { index: 2 })?;
        let &[seed] = seed.as_slice() else {
            return Err(EvalError::rule("the seed must be one number", seed.len()));
        };
        let state = mix((seed as u64).wrapping_add((self.stream as u64).wrapping_mul(GOLDEN)));
        let stays = |i: usize| {
            let bits = mix(state.wrapping_add((i as u64 + 1).wrapping_mul(GOLDEN)));
            (bits >> 11) as f64 / (1u64 << 53) as f64 >= ratio
        };
        let mask: Vec<bool> = (0..x.len()).map(stays).collect();
        let pairs = floats(x)?.into_iter().zip(&mask);
        let y = pairs.map(|(v, &stays)| if stays { v / (1.0 - ratio) } else { 0.0 });
        Ok(vec![
            rounded(x.dtype(), x.shape(), y.collect())?.into(),
            Tensor::from_vec(x.shape(), mask)?.into(),
        ])
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
