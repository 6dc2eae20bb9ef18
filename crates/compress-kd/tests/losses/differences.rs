//! Gradients against central differences.

use compress_kd::KdError;
use ndarray::{Array, Dimension};

/// What a loss gives: its value and its gradient by one array.
pub(crate) type Graded<D> = Result<(f64, Array<f64, D>), KdError>;

/// Asserts that each element of the gradient is within 1e-6 of the derivative by it, relative to itself or to a thousandth of the
/// greatest of them. The derivative is the fourth-order central difference
/// `(8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h`.
#[track_caller]
pub(crate) fn holds<D: Dimension>(at: &Array<f64, D>, loss: impl Fn(&Array<f64, D>) -> Graded<D>) {
    const H: f64 = 1e-4;
    let (value, gradient) = loss(at).unwrap();
    assert!(value.is_finite());
    assert_eq!(gradient.shape(), at.shape());
    let mut x = at.clone();
    let mut moved = |index: usize, by: f64| {
        let old = *x.iter().nth(index).unwrap();
        *x.iter_mut().nth(index).unwrap() = old + by;
        let value = loss(&x).unwrap().0;
        *x.iter_mut().nth(index).unwrap() = old;
        value
    };
    let mut difference = |index| {
        let near = moved(index, H) - moved(index, -H);
        let far = moved(index, 2.0 * H) - moved(index, -2.0 * H);
        (8.0 * near - far) / (12.0 * H)
    };
    let greatest = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    for (index, &g) in gradient.iter().enumerate() {
        let expected: f64 = difference(index);
        // Smaller derivatives drown in the rounding of the values that are subtracted.
        let rounding = 1e-4 * value.abs().max(1e-12);
        let scale = g.abs().max(1e-3 * greatest).max(rounding);
        assert!(
            (g - expected).abs() <= 1e-6 * scale,
            "element {index}: {g} instead of {expected} (greatest {greatest}, value {value})"
        );
    }
}

/// Asserts that two numbers are within this relative distance.
#[track_caller]
pub(crate) fn close(found: f64, expected: f64, relative: f64) {
    let bound = relative * expected.abs().max(found.abs());
    assert!(
        (found - expected).abs() <= bound,
        "{found} instead of {expected}"
    );
}
