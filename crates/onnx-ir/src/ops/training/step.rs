//! What optimizer operators share: learning rate, update count, and for each optimized tensor the tensor, its
//! gradient and its states, the tensors of one kind side by side.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};

/// The domain of the optimizers.
pub(super) const DOMAIN: &str = "ai.onnx.preview.training";

/// The outputs, the optimized tensors and their states, have the facts of the inputs of that kind;
const COUNT_RULE: &str = "each tensor needs its gradient and its states";

/// `kinds` counts tensor, gradient and states.
pub(super) fn infer(cx: &InferContext<'_>, kinds: usize) -> Result<Vec<Fact>, InferError> {
    let inputs = cx.input_count().saturating_sub(2);
    if !inputs.is_multiple_of(kinds) {
        return Err(InferError::rule(COUNT_RULE, inputs));
    }
    let tensors = inputs / kinds;
    let mut facts = Vec::new();
    for kind in (0..kinds).filter(|&kind| kind != 1) {
        for i in 0..tensors {
            let x = cx.tensor(2 + kind * tensors + i)?;
            facts.push(TensorFact::with_shape(x.dtype, x.shape).into());
        }
    }
    Ok(facts)
}

/// Every element updated by `update(rate, count, [x, gradient, states...])`, which gives the new
/// `[x, states...]` (one less than `K`, the last is left out).
pub(super) fn eval<const K: usize>(
    cx: &EvalContext<'_>,
    update: impl Fn(f64, i64, [f64; K]) -> [f64; K],
) -> Result<Vec<Value>, EvalError> {
    let missing = |index| EvalError::MissingInput { index };
    let rate = unary::first_as_f64(cx.tensor(0)?).ok_or(missing(0))?;
    let count = *cx.data::<i64>(1)?.first().ok_or(missing(1))?;
    let inputs = cx.input_count().saturating_sub(2);
    if inputs == 0 || !inputs.is_multiple_of(K) {
        return Err(EvalError::rule(COUNT_RULE, inputs));
    }
    let tensors = inputs / K;
    let mut outputs: Vec<Vec<Value>> = vec![Vec::new(); K - 1];
    for i in 0..tensors {
        let x = cx.tensor(2 + i)?;
        let mut kinds = Vec::with_capacity(K);
        for kind in 0..K {
            let tensor = cx.tensor(2 + kind * tensors + i)?;
            if tensor.shape() != x.shape() {
                let found = format!("{:?} and {:?}", x.shape(), tensor.shape());
                return Err(EvalError::rule(
                    "gradient and states have the tensor's shape",
                    found,
                ));
            }
            kinds.push(floats(tensor)?);
        }
        let mut new: Vec<Vec<f64>> = vec![Vec::with_capacity(x.len()); K - 1];
        let at = |e: usize| std::array::from_fn(|kind| kinds[kind][e]);
        for updated in (0..x.len()).map(|e| update(rate, count, at(e))) {
            for (column, value) in new.iter_mut().zip(updated) {
                column.push(value);
            }
        }
        for (output, column) in outputs.iter_mut().zip(new) {
            output.push(rounded(x.dtype(), x.shape(), column)?.into());
        }
    }
    Ok(outputs.concat())
}
