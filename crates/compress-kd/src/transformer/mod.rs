//! Losses on what transformers hold between their layers.
//!
//! `n` samples of `l` tokens. A `mask` `[n, l]` says which tokens count (`true`); the others are left out as queries and as keys,
//! as if the sample were shorter. Without a mask all tokens count. A batch of which nothing counts has value and gradient 0.

mod hidden;
mod relation;
mod scores;

pub use hidden::hidden_state;
pub use relation::{AttentionGradients, Relations};
pub use scores::{attention_divergence, attention_regression};

use crate::KdError;
use crate::check;
use ndarray::ArrayRef2;

/// The tokens of each sample that count.
fn counted(
    mask: Option<&ArrayRef2<bool>>,
    (n, l): (usize, usize),
    reference: &'static str,
) -> Result<Vec<Vec<usize>>, KdError> {
    let Some(mask) = mask else {
        return Ok(vec![(0..l).collect(); n]);
    };
    check::shape("the mask", mask.shape(), reference, &[n, l])?;
    let of_sample = |row: ndarray::ArrayView1<'_, bool>| {
        let tokens = row.into_iter().enumerate();
        tokens
            .filter(|(_, counts)| **counts)
            .map(|(token, _)| token)
            .collect()
    };
    Ok(mask.rows().into_iter().map(of_sample).collect())
}
