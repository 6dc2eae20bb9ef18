//! Norms in `f64`, summed in one fixed order.

/// Sums that run beside one another, so that the processor adds them at once.
const LANES: usize = 8;

/// `Σ xᵢ²`, each square and the sum in `f64`.
///
/// Element `i` goes to lane `i mod 8`; the lanes are added pairwise at the end. Squares of `f32` are exact in `f64`.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let mut chunks = values.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f64::from(x) * f64::from(x);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The Euclidean norm `‖x‖₂`.
pub fn norm(values: &[f32]) -> f64 {
    sum_of_squares(values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_euclids_at_any_length() {
        for n in [0usize, 1, 7, 8, 9, 1000] {
            let values: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let expected = n * (n + 1) * (2 * n + 1) / 6;
            assert_eq!(sum_of_squares(&values), expected as f64);
        }
        // Squares that f32 cannot hold.
        assert!((norm(&[3e30, 4e30]) / 5e30 - 1.0).abs() < 1e-6);
    }
}
