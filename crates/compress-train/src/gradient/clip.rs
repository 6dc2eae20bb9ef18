//! Clipping.

use crate::optimizer::sum_of_squares;

/// The norm of all gradients as one vector, `√(Σₖ ‖gₖ‖²)`, in `f64`.
///
/// NaN or infinite if any element is: the sign of a step to leave out.
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    gradients
        .into_iter()
        .map(sum_of_squares)
        .sum::<f64>()
        .sqrt()
}

/// `g ← g · min(1, limit / (‖g‖ + 10⁻⁶))` with the norm of all gradients as one vector; gives that norm.
///
/// As `torch.nn.utils.clip_grad_norm_` (Pascanu et al. 2013, arXiv:1211.5063), but for the norm being summed in `f64`. Gradients
/// whose norm is not finite stay as they are.
pub fn clip_by_norm(gradients: &mut [&mut [f32]], limit: f64) -> f64 {
    let norm = global_norm(gradients.iter().map(|g| &**g));
    let factor = (limit / (norm + 1e-6)) as f32;
    if factor < 1.0 && norm.is_finite() {
        for gradient in gradients {
            gradient.iter_mut().for_each(|g| *g *= factor);
        }
    }
    norm
}

/// Brings each element into `[−limit, limit]`; NaN stays.
pub fn clip_by_value(gradient: &mut [f32], limit: f32) {
    let limit = limit.abs();
    for g in gradient {
        if *g > limit {
            *g = limit;
        } else if *g < -limit {
            *g = -limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let (mut a, mut b) = ([3.0f32, 0.0], [0.0f32, 4.0, 0.0]);
        assert_eq!(clip_by_norm(&mut [&mut a, &mut b], 10.0), 5.0);
        assert_eq!((a, b), ([3.0, 0.0], [0.0, 4.0, 0.0]));
        clip_by_norm(&mut [&mut a, &mut b], 1.0);
        assert!((global_norm([&a[..], &b]) - 1.0).abs() < 1e-6);
        assert!((a[0] - 0.6).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_finite_is_told_and_left() {
        let mut a = [1.0f32, f32::INFINITY];
        assert_eq!(clip_by_norm(&mut [&mut a], 1.0), f64::INFINITY);
        assert_eq!(a, [1.0, f32::INFINITY]);
        let mut b = [f32::NAN, -7.0, 7.0, 0.5];
        clip_by_value(&mut b, 2.0);
        assert!(b[0].is_nan());
        assert_eq!(b[1..], [-2.0, 2.0, 0.5]);
        clip_by_value(&mut b, f32::NAN);
        assert_eq!(b[1..], [-2.0, 2.0, 0.5]);
    }
}
