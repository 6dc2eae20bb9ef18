//! Hidden states and embeddings.

use super::counted;
use crate::KdError;
use crate::features::{Projected, Projection, Residual, STUDENT};
use ndarray::{ArrayRef2, ArrayRef3, Axis, Ix3};
use num_traits::Float;

/// `MSE(H_S W_h, H_T)` of hidden states, `MSE(E_S W_e, E_T)` of embeddings.
///
/// Jiao et al. 2020, "TinyBERT: distilling BERT for natural language understanding" (arXiv:1909.10351), sec. 3.1: mean over all
/// elements of all tokens that count. The projection is learned; all layers may share one.
///
/// # Shapes
/// `student` `[n, l, d_S]`, `teacher` `[n, l, d_T]`, `projection` from `d_S` to `d_T` or none where they are the same, `mask`
/// `[n, l]`; all finite.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Overflow`].
#[doc(alias = "embedding")]
pub fn hidden_state<F: Float>(
    student: &ArrayRef3<F>,
    teacher: &ArrayRef3<F>,
    projection: Option<&Projection<F>>,
    mask: Option<&ArrayRef2<bool>>,
) -> Result<(f64, Projected<F, Ix3>), KdError> {
    let mut residual = Residual::of(student, teacher, Axis(2), projection)?;
    let (n, l, _) = student.dim();
    let tokens: usize = counted(mask, (n, l), STUDENT)?.iter().map(Vec::len).sum();
    if let Some(mask) = mask {
        residual.keep(mask.iter().copied());
    }
    let elements = (tokens * residual.channels()) as f64;
    residual.squares(if elements > 0.0 { 1.0 / elements } else { 0.0 })
}
