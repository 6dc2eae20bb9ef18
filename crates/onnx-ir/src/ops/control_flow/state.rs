//! What is known of values that a loop body changes from iteration to iteration.

use super::join::{join, says_the_same, without_value};
use crate::fact::Fact;
use crate::operator::InferError;

/// Widens the facts of the loop's state until one pass of the body does not widen them any more, and
/// returns them with the facts of the body's outputs. `body` infers the body's outputs for facts of
/// the state; `after` says where among them the new state stands.
pub(super) fn fixed_point(
    initial: &[Fact],
    after: std::ops::Range<usize>,
    mut body: impl FnMut(&[Fact]) -> Result<Vec<Fact>, InferError>,
) -> Result<(Vec<Fact>, Vec<Fact>), InferError> {
    let mut state: Vec<Fact> = initial.iter().map(without_value).collect();
    loop {
        let outputs = body(&state)?;
        let next = outputs.get(after.clone()).unwrap_or(&[]);
        let mut widened = state.clone();
        for (fact, next) in widened.iter_mut().zip(next) {
            *fact = join(fact, next);
        }
        // Every round makes some dimension, rank or type unknown, so it ends.
        if state.iter().zip(&widened).all(|(a, b)| says_the_same(a, b)) {
            return Ok((state, outputs));
        }
        state = widened;
    }
}
