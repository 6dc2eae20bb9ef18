//! How far two arrays of numbers are apart.
//!
//! All sums are taken in `f64`, in C order, so a result depends on nothing but the numbers.

mod ulp;

use ndarray::{ArrayView, ArrayView2, Dimension, Zip};
pub use ulp::{Real, max_ulp_distance, ulp_distance};

/// Two arrays that were to be compared have different shapes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot compare shape {expected:?} with shape {found:?}")]
pub struct ShapeMismatch {
    /// The shape of the first array.
    pub expected: Vec<usize>,
    /// The shape of the second array.
    pub found: Vec<usize>,
}

/// Compares `found` with `expected`, element by element.
///
/// # Errors
/// [`ShapeMismatch`].
///
/// # Examples
/// ```
/// use compress_tensor::metrics::compare;
/// use ndarray::arr1;
/// let c = compare(arr1(&[3.0f32, 4.0]).view(), arr1(&[3.0f32, 3.5]).view())?;
/// assert_eq!((c.max_abs(), c.max_rel(), c.mse()), (0.5, 0.125, 0.125));
/// assert_eq!(c.sqnr_db(), 20.0);
/// # Ok::<(), compress_tensor::metrics::ShapeMismatch>(())
/// ```
pub fn compare<T: Real, D: Dimension>(
    expected: ArrayView<'_, T, D>,
    found: ArrayView<'_, T, D>,
) -> Result<Comparison, ShapeMismatch> {
    check_shapes(expected.shape(), found.shape())?;
    let mut comparison = Comparison::default();
    for (&e, &f) in expected.iter().zip(found.iter()) {
        comparison.add(e.to_f64(), f.to_f64());
    }
    Ok(comparison)
}

/// Sums over pairs of numbers, an expected and a found one, of fixed size however many pairs there
/// are, from which the usual measures follow.
///
/// **Numbers that are not finite.** A pair of two NaN or of the same infinity agrees: it counts as a
/// pair without error and is left out of the sums. Any other pair with NaN or an infinity
/// disagrees: it makes every error infinite, the SQNR `-inf` and the cosine NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    count: u64,
    disagreements: u64,
    max_abs: f64,
    max_rel: f64,
    max_expected: f64,
    sum_expected_squared: f64,
    sum_found_squared: f64,
    sum_product: f64,
    sum_error_squared: f64,
}

impl Comparison {
    /// Adds a pair.
    pub fn add(&mut self, expected: f64, found: f64) {
        self.count += 1;
        if !(expected.is_finite() && found.is_finite()) {
            let agree = expected == found || (expected.is_nan() && found.is_nan());
            self.disagreements += u64::from(!agree);
            return;
        }
        let error = (expected - found).abs();
        self.max_abs = self.max_abs.max(error);
        if error > 0.0 {
            self.max_rel = self.max_rel.max(error / expected.abs());
        }
        self.max_expected = self.max_expected.max(expected.abs());
        self.sum_expected_squared += expected * expected;
        self.sum_found_squared += found * found;
        self.sum_product += expected * found;
        self.sum_error_squared += error * error;
    }

    /// Adds all pairs of another comparison.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.disagreements += other.disagreements;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.max_rel = self.max_rel.max(other.max_rel);
        self.max_expected = self.max_expected.max(other.max_expected);
        self.sum_expected_squared += other.sum_expected_squared;
        self.sum_found_squared += other.sum_found_squared;
        self.sum_product += other.sum_product;
        self.sum_error_squared += other.sum_error_squared;
    }

    /// The number of pairs.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of pairs of which one alone is NaN, or that differ by an infinity.
    pub fn disagreements(&self) -> u64 {
        self.disagreements
    }

    /// The largest `|e - f|`; 0 for no pairs.
    pub fn max_abs(&self) -> f64 {
        self.or_infinite(self.max_abs)
    }

    /// The largest `|e - f| / |e|`, where equal numbers count 0 and a number found in place of zero
    /// counts infinity.
    pub fn max_rel(&self) -> f64 {
        self.or_infinite(self.max_rel)
    }

    /// The largest error as a share of the largest magnitude, `max |e - f| / max |e|`: finite also where single numbers
    /// are zero; 0 for equal arrays, infinite for an error where all numbers should be zero.
    pub fn max_rel_to_peak(&self) -> f64 {
        if self.max_abs == 0.0 {
            return self.or_infinite(0.0);
        }
        self.or_infinite(self.max_abs / self.max_expected)
    }

    /// The mean of `(e - f)^2`; 0 for no pairs.
    pub fn mse(&self) -> f64 {
        self.or_infinite(self.sum_error_squared / self.count.max(1) as f64)
    }

    /// The signal to quantization noise ratio `10 log10(sum e^2 / sum (e - f)^2)`, in dB: `inf`
    /// without noise, `-inf` with noise and without a signal.
    pub fn sqnr_db(&self) -> f64 {
        if self.disagreements > 0 {
            f64::NEG_INFINITY
        } else if self.sum_error_squared == 0.0 {
            f64::INFINITY
        } else {
            10.0 * (self.sum_expected_squared / self.sum_error_squared).log10()
        }
    }

    /// The cosine of the angle between the two arrays, `sum e f / (|e| |f|)`: 1 for two arrays of
    /// zeros, 0 if one alone is of zeros.
    pub fn cosine(&self) -> f64 {
        if self.disagreements > 0 {
            return f64::NAN;
        }
        // One root of the product, so that equal arrays give exactly 1.
        let norms = (self.sum_expected_squared * self.sum_found_squared).sqrt();
        if norms > 0.0 {
            (self.sum_product / norms).clamp(-1.0, 1.0)
        } else if self.sum_expected_squared == self.sum_found_squared {
            1.0
        } else {
            0.0
        }
    }

    fn or_infinite(&self, measure: f64) -> f64 {
        if self.disagreements > 0 {
            f64::INFINITY
        } else {
            measure
        }
    }
}

/// How many of some rows agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Rows that agree.
    pub equal: usize,
    /// All rows.
    pub total: usize,
}

impl Agreement {
    /// The share of rows that agree; 1 for no rows.
    pub fn share(&self) -> f64 {
        if self.total == 0 {
            1.0
        } else {
            self.equal as f64 / self.total as f64
        }
    }
}

/// Counts the rows, of `[rows, classes]` each, whose largest element is at the same place.
///
/// Of several largest ones the first counts, and NaN is never the largest. Rows without one (empty,
/// or all NaN) agree with each other only.
///
/// # Errors
/// [`ShapeMismatch`].
pub fn argmax_agreement<T: Real>(
    expected: ArrayView2<'_, T>,
    found: ArrayView2<'_, T>,
) -> Result<Agreement, ShapeMismatch> {
    check_shapes(expected.shape(), found.shape())?;
    let mut agreement = Agreement::default();
    Zip::from(expected.rows())
        .and(found.rows())
        .for_each(|e, f| {
            agreement.total += 1;
            agreement.equal += usize::from(argmax(e.iter().copied()) == argmax(f.iter().copied()));
        });
    Ok(agreement)
}

fn argmax<T: Real>(values: impl Iterator<Item = T>) -> Option<usize> {
    let mut largest: Option<(usize, T)> = None;
    for (index, value) in values.enumerate() {
        let larger = largest.is_none_or(|(_, best)| value > best);
        if larger && !value.to_f64().is_nan() {
            largest = Some((index, value));
        }
    }
    largest.map(|(index, _)| index)
}

fn check_shapes(expected: &[usize], found: &[usize]) -> Result<(), ShapeMismatch> {
    if expected == found {
        Ok(())
    } else {
        Err(ShapeMismatch {
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{arr1, arr2};
    use proptest::prelude::*;

    fn of(expected: &[f64], found: &[f64]) -> Comparison {
        compare(arr1(expected).view(), arr1(found).view()).unwrap()
    }

    #[test]
    fn the_measures_are_those_of_a_small_table() {
        let c = of(&[3.0, 4.0, 0.0], &[3.0, 3.5, 0.0]);
        assert_eq!(c.count(), 3);
        assert_eq!(c.max_abs(), 0.5);
        assert_eq!(c.max_rel(), 0.125);
        assert_eq!(c.mse(), 0.25 / 3.0);
        assert_eq!(c.sqnr_db(), 20.0);
        let cosine = (9.0 + 14.0) / (5.0 * (9.0f64 + 12.25).sqrt());
        assert!((c.cosine() - cosine).abs() < 1e-15);
    }

    #[test]
    fn equal_arrays_have_no_error() {
        let x = [1.0, -2.0, f64::NAN, f64::INFINITY];
        let c = of(&x, &x);
        assert_eq!((c.max_abs(), c.max_rel(), c.mse()), (0.0, 0.0, 0.0));
        assert_eq!((c.sqnr_db(), c.cosine()), (f64::INFINITY, 1.0));
    }

    #[test]
    fn zeros_have_defined_ratios() {
        let both = of(&[0.0], &[0.0]);
        assert_eq!(
            (both.sqnr_db(), both.cosine(), both.max_rel()),
            (f64::INFINITY, 1.0, 0.0)
        );
        let noise = of(&[0.0], &[1.0]);
        assert_eq!((noise.sqnr_db(), noise.cosine()), (f64::NEG_INFINITY, 0.0));
        assert_eq!(noise.max_rel(), f64::INFINITY);
        assert_eq!(noise.max_rel_to_peak(), f64::INFINITY);
        let in_one_place = of(&[0.0, -4.0], &[1.0, -4.0]);
        assert_eq!(in_one_place.max_rel(), f64::INFINITY);
        assert_eq!(in_one_place.max_rel_to_peak(), 0.25);
        let lost = of(&[1.0], &[0.0]);
        assert_eq!(
            (lost.sqnr_db(), lost.cosine(), lost.max_rel()),
            (0.0, 0.0, 1.0)
        );
        assert_eq!(of(&[], &[]).mse(), 0.0);
    }

    #[test]
    fn one_nan_or_infinity_alone_makes_every_error_infinite() {
        for (e, f) in [
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            (f64::INFINITY, f64::NEG_INFINITY),
        ] {
            let c = of(&[1.0, e], &[1.0, f]);
            assert_eq!(c.disagreements(), 1);
            assert_eq!((c.max_abs(), c.max_rel()), (f64::INFINITY, f64::INFINITY));
            assert_eq!((c.mse(), c.sqnr_db()), (f64::INFINITY, f64::NEG_INFINITY));
            assert!(c.cosine().is_nan());
        }
    }

    #[test]
    fn different_shapes_are_not_compared() {
        let error = compare(arr1(&[1.0f32]).view(), arr1(&[1.0f32, 2.0]).view()).unwrap_err();
        assert_eq!(error.to_string(), "cannot compare shape [1] with shape [2]");
    }

    #[test]
    fn views_are_compared_by_position_not_by_memory_order() {
        let a = arr2(&[[1.0f32, 2.0], [3.0, 4.0]]);
        let b = arr2(&[[1.0f32, 3.0], [2.0, 4.0]]);
        assert_eq!(compare(a.view(), b.t()).unwrap().max_abs(), 0.0);
    }

    #[test]
    fn rows_agree_by_their_first_largest_element() {
        let nan = f32::NAN;
        let e = arr2(&[
            [1.0, 3.0, 3.0],
            [nan, 1.0, 0.0],
            [nan, nan, nan],
            [0.0, 1.0, 2.0],
        ]);
        let f = arr2(&[
            [0.0, 9.0, 8.0],
            [0.0, 1.0, 0.5],
            [nan, nan, nan],
            [2.0, 1.0, 0.0],
        ]);
        let a = argmax_agreement(e.view(), f.view()).unwrap();
        assert_eq!((a.equal, a.total, a.share()), (3, 4, 0.75));
    }

    proptest! {
        #[test]
        fn merging_parts_is_comparing_the_whole(
            pairs in prop::collection::vec((-1e3f64..1e3, -1e3f64..1e3), 1..20),
            cut in 0usize..20,
        ) {
            let cut = cut.min(pairs.len());
            let all = |pairs: &[(f64, f64)]| {
                let mut c = Comparison::default();
                pairs.iter().for_each(|&(e, f)| c.add(e, f));
                c
            };
            let mut merged = all(&pairs[..cut]);
            merged.merge(&all(&pairs[cut..]));
            let whole = all(&pairs);
            prop_assert_eq!(merged.count(), whole.count());
            prop_assert_eq!(merged.max_abs(), whole.max_abs());
            prop_assert!((merged.mse() - whole.mse()).abs() <= 1e-12 * whole.mse());
            prop_assert!((merged.cosine() - whole.cosine()).abs() <= 1e-9);
        }
    }
}
