//! One vector per sentence out of one per token.

use super::ScoreError;
use crate::tensor::Tensor;

/// The mean of each sample's token vectors, weighted by its mask: `Σ m_t x_t / Σ m_t`.
///
/// `tokens` is `[samples, tokens, width]`, `mask` `[samples, tokens]`; gives `samples` vectors. A sample whose
/// mask is zero has a vector of zeros. (Reimers and Gurevych 2019, arXiv:1908.10084, sec. 3.)
///
/// # Errors
/// [`ScoreError::NoTokens`], [`ScoreError::Tensor`].
pub fn mean_pool(tokens: &Tensor, mask: &Tensor) -> Result<Vec<Vec<f64>>, ScoreError> {
    let (&[samples, length, width], &[rows, columns]) = (tokens.shape(), mask.shape()) else {
        return Err(no_tokens(tokens, mask));
    };
    if (samples, length) != (rows, columns) {
        return Err(no_tokens(tokens, mask));
    }
    let values = tokens.to_f64_vec()?;
    let weights = mask.to_f64_vec()?;
    let mut pooled = vec![vec![0.0; width]; samples];
    for (sample, mean) in pooled.iter_mut().enumerate() {
        let mut total = 0.0;
        for token in 0..length {
            let at = sample * length + token;
            let weight = weights[at];
            total += weight;
            for (m, x) in mean.iter_mut().zip(&values[at * width..(at + 1) * width]) {
                *m += weight * x;
            }
        }
        if total != 0.0 {
            mean.iter_mut().for_each(|m| *m /= total);
        }
    }
    Ok(pooled)
}

/// The cosine of the angle between two vectors; 0 where one is zero.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    if norm == 0.0 {
        0.0
    } else {
        (dot(a, b) / norm).clamp(-1.0, 1.0)
    }
}

fn no_tokens(tokens: &Tensor, mask: &Tensor) -> ScoreError {
    ScoreError::NoTokens {
        shape: tokens.shape().to_vec(),
        mask: mask.shape().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_does_not_count() {
        let tokens = vec![1.0f32, 2.0, 3.0, 4.0, 100.0, 100.0];
        let tokens = Tensor::from_vec(&[1, 3, 2], tokens).unwrap();
        let mask = Tensor::from_vec(&[1, 3], vec![1i64, 1, 0]).unwrap();
        assert_eq!(mean_pool(&tokens, &mask).unwrap(), [[2.0, 3.0]]);
    }

    #[test]
    fn a_mask_of_another_length_is_an_error() {
        let tokens = Tensor::full(&[1, 3, 2], 0f32).unwrap();
        let mask = Tensor::full(&[1, 2], 1i64).unwrap();
        assert!(mean_pool(&tokens, &mask).is_err());
    }

    #[test]
    fn the_cosine_of_a_right_angle_is_zero() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[1.0, 1.0], &[2.0, 2.0]), 1.0);
    }
}
