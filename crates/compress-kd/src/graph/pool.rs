//! Tokens as one vector for each sample: their masked mean, and the way back.

use super::config::Pooling;
use compress_train::loss::LossError;
use ndarray::{Array2, ArrayD, ArrayViewD, Ix2, Ix3};

use super::term::foreign;

/// An array, or the means of its tokens.
pub(super) enum Pooled<'a> {
    /// As it was.
    Whole(ArrayViewD<'a, f32>),
    /// `[n, d]` of `[n, l, d]`, and the share that each token has.
    Means {
        means: ArrayD<f32>,
        shares: Array2<f32>,
    },
}

/// Pools an array as asked for; a sample of which no token counts has a mean of zeros.
pub(super) fn mean<'a>(
    array: &'a ArrayViewD<'_, f32>,
    pooling: Pooling,
    mask: impl FnOnce() -> Result<Option<Array2<bool>>, LossError>,
) -> Result<Pooled<'a>, LossError> {
    if pooling == Pooling::None {
        return Ok(Pooled::Whole(array.view()));
    }
    let tokens = array.view().into_dimensionality::<Ix3>().map_err(|_| {
        foreign(&format!(
            "a tapped tensor has shape {:?}, pooling needs [samples, tokens, width]",
            array.shape()
        ))
    })?;
    let (n, l, d) = tokens.dim();
    let mask = mask()?.unwrap_or_else(|| Array2::from_elem((n, l), true));
    if mask.dim() != (n, l) {
        let found = mask.shape();
        return Err(foreign(&format!(
            "the mask has shape {found:?}, the tokens {:?}",
            [n, l]
        )));
    }
    let mut shares = Array2::zeros((n, l));
    let mut means = Array2::<f32>::zeros((n, d));
    for (i, counts) in mask.rows().into_iter().enumerate() {
        let count = counts.iter().filter(|&&c| c).count().max(1);
        let share = 1.0 / count as f64;
        let mut sums = vec![0f64; d];
        for token in (0..l).filter(|&token| counts[token]) {
            shares[[i, token]] = share as f32;
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum += f64::from(tokens[[i, token, k]]);
            }
        }
        for (k, sum) in sums.into_iter().enumerate() {
            means[[i, k]] = (sum * share) as f32;
        }
    }
    Ok(Pooled::Means {
        means: means.into_dyn(),
        shares,
    })
}

impl Pooled<'_> {
    pub(super) fn view(&self) -> ArrayViewD<'_, f32> {
        match self {
            Self::Whole(view) => view.view(),
            Self::Means { means, .. } => means.view(),
        }
    }

    /// The gradient by the array from that by what was made of it.
    pub(super) fn back(&self, gradient: ArrayD<f32>) -> Result<ArrayD<f32>, LossError> {
        match self {
            // Axes of 1 that were left out come back.
            Self::Whole(view) => {
                let back = gradient.into_shape_with_order(view.raw_dim());
                back.map_err(|error| foreign(&error.to_string()))
            }
            Self::Means { shares, .. } => {
                let (n, l) = shares.dim();
                let gradient = gradient.into_dimensionality::<Ix2>();
                let gradient = gradient.map_err(|error| foreign(&error.to_string()))?;
                let d = gradient.ncols();
                let value = |(i, token, k)| shares[[i, token]] * gradient[[i, k]];
                Ok(ndarray::Array3::from_shape_fn((n, l, d), value).into_dyn())
            }
        }
    }
}
