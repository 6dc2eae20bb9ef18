//! Requantisation: an exact int32 sum becomes an 8-bit value of another scale.
//!
//! Runtimes round differently; each rule here has the bits of its runtime:
//!
//! * [`RequantRule::OnnxRuntime`]: `round_ties_even(clamp(f32(sum) * m)) + z`, all in f32, with
//!   `m = x_scale * w_scale / y_scale` (the MLAS library's output step);
//! * [`RequantRule::TfliteDoubleRounding`]: `m` as a 31-bit fixed-point number and a power of two;
//!   a rounding doubling high multiplication, then a rounding right shift (gemmlowp; Jacob et al.
//!   2018, arXiv:1712.05877, sec. 2.2);
//! * [`RequantRule::TfliteSingleRounding`]: the same number with one 64-bit rounding shift.

use super::output::sealed::StoreSums;
use super::output::{IntegerEpilogue, QuantByte, SumRule, SumTile};
use crate::KernelError;
use crate::error::check_extent;
use crate::threads::TileMut;

/// How a scaled sum is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RequantRule {
    /// ONNX Runtime: f32 multiplication, half to even.
    #[default]
    OnnxRuntime,
    /// TFLite and gemmlowp: fixed point, rounded twice, halves away from zero.
    TfliteDoubleRounding,
    /// TFLite built with single rounding: fixed point, rounded once, halves up.
    TfliteSingleRounding,
}

/// Scales, zero point and rule with which sums become `u8` or `i8`.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantization {
    rule: RequantRule,
    /// `m` per channel, or one for all.
    pub(crate) multipliers: Vec<f32>,
    fixed: Vec<FixedPoint>,
    pub(crate) zero_point: i32,
    pub(super) q_min: i32,
    pub(super) q_max: i32,
    /// Whether every scaled sum is far within `i32`, and the zero point and the range are of 8 bits.
    packs: bool,
}

/// With multipliers up to this one no sum leaves `i32` when it is scaled.
const PACKING: f32 = 0.5;

/// `multiplier / 2^31 * 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FixedPoint {
    multiplier: i32,
    shift: i32,
}

impl Requantization {
    /// The step from `x_scale * w_scale[c]` (real units per step of the sum) to `y_scale`.
    ///
    /// `w_scales` holds one scale, or one per channel. `q_min..=q_max` is the range of the result:
    /// that of its type, or less where an activation (ReLU, Clip) is fused.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] if there is no weight scale; [`KernelError::NotAScale`] for the fixed-point rules.
    pub fn new(
        rule: RequantRule,
        x_scale: f32,
        w_scales: &[f32],
        y_scale: f32,
        zero_point: i32,
        (q_min, q_max): (i32, i32),
    ) -> Result<Self, KernelError> {
        if w_scales.is_empty() {
            return Err(KernelError::Invalid {
                what: "number of weight scales",
                value: 0,
            });
        }
        if rule != RequantRule::OnnxRuntime {
            let is_scale = |s: &f32| s.is_finite() && *s > 0.0;
            for (operand, scales) in [
                ("scale of the input", &[x_scale][..]),
                ("scale of the weights", w_scales),
                ("scale of the result", &[y_scale]),
            ] {
                if !scales.iter().all(is_scale) {
                    return Err(KernelError::NotAScale { operand });
                }
            }
        }
        let multipliers: Vec<f32> = w_scales.iter().map(|&w| x_scale * w / y_scale).collect();
        let exact = |&w: &f32| f64::from(x_scale) * f64::from(w) / f64::from(y_scale);
        let fixed = match rule {
            RequantRule::OnnxRuntime => Vec::new(),
            _ => w_scales.iter().map(exact).map(FixedPoint::new).collect(),
        };
        let q_max = q_max.max(q_min);
        let packs = rule == RequantRule::OnnxRuntime
            && multipliers.iter().all(|m| m.abs() <= PACKING)
            && (-128..=255).contains(&zero_point);
        Ok(Self {
            rule,
            multipliers,
            fixed,
            zero_point,
            q_min,
            q_max,
            packs,
        })
    }

    /// The rule.
    pub fn rule(&self) -> RequantRule {
        self.rule
    }

    /// Whether sums are scaled in f32.
    #[inline(always)]
    pub(super) fn is_float(&self) -> bool {
        self.rule == RequantRule::OnnxRuntime
    }

    /// Whether the results can be rounded first, then saturated, and brought into their range as bytes of type `T`.
    #[inline(always)]
    pub(crate) fn packs<T: QuantByte>(&self) -> bool {
        self.packs && T::MIN <= self.q_min && self.q_max <= T::MAX
    }

    /// The result of one sum of channel `channel`; the reference for the vector code.
    pub fn apply(&self, sum: i32, channel: usize) -> i32 {
        let c = if self.multipliers.len() == 1 {
            0
        } else {
            channel
        };
        let (low, high) = (
            self.q_min.saturating_sub(self.zero_point),
            self.q_max.saturating_sub(self.zero_point),
        );
        let q = match self.rule {
            RequantRule::OnnxRuntime => {
                let m = self.multipliers.get(c).copied().unwrap_or(0.0);
                (sum as f32 * m)
                    .max(low as f32)
                    .min(high as f32)
                    .round_ties_even() as i32
            }
            rule => {
                let fixed = self.fixed.get(c).copied().unwrap_or(FixedPoint {
                    multiplier: 0,
                    shift: 0,
                });
                fixed.multiply(sum, rule).clamp(low, high)
            }
        };
        q.saturating_add(self.zero_point)
    }
}

impl FixedPoint {
    /// The nearest `multiplier / 2^31 * 2^shift`, `multiplier` in `2^30..2^31`.
    fn new(real: f64) -> Self {
        if real.is_nan() || real <= 0.0 {
            return Self {
                multiplier: 0,
                shift: 0,
            };
        }
        let mut shift = real.log2().floor() as i32 + 1;
        let mut q = (real * 2f64.powi(31 - shift)).round() as i64;
        if q < 1 << 30 {
            shift -= 1;
            q = (real * 2f64.powi(31 - shift)).round() as i64;
        }
        if q == 1 << 31 {
            q /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Self {
                multiplier: 0,
                shift: 0,
            };
        }
        if shift > 30 {
            return Self {
                multiplier: i32::MAX,
                shift: 30,
            };
        }
        Self {
            multiplier: q as i32,
            shift,
        }
    }

    fn multiply(self, x: i32, rule: RequantRule) -> i32 {
        if rule == RequantRule::TfliteSingleRounding {
            let shift = 31 - self.shift;
            let product = i64::from(x) * i64::from(self.multiplier);
            let rounded = (product + (1i64 << (shift - 1))) >> shift;
            return rounded.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        }
        let left = self.shift.max(0);
        let right = (-self.shift).max(0);
        let x = x.wrapping_shl(left as u32);
        let product = i64::from(x) * i64::from(self.multiplier);
        let nudge = if product >= 0 {
            1i64 << 30
        } else {
            1 - (1i64 << 30)
        };
        // Division (not a shift) rounds towards zero, as the rule says.
        let high = ((product + nudge) / (1i64 << 31)) as i32;
        let mask = ((1i64 << right) - 1) as i32;
        let remainder = high & mask;
        let threshold = (mask >> 1) + i32::from(high < 0);
        (high >> right) + i32::from(remainder > threshold)
    }
}

impl<T: QuantByte> IntegerEpilogue<T> for Requantization {
    fn channels(&self) -> Option<usize> {
        (self.multipliers.len() > 1).then_some(self.multipliers.len())
    }
}

impl<T: QuantByte> StoreSums<T> for Requantization {
    fn rule(&self) -> SumRule<'_> {
        SumRule::Requantize(self)
    }
    fn tile(out: TileMut<'_, T>) -> SumTile<'_> {
        T::tile(out)
    }
}

/// Checks that the parameters of an epilogue serve `channels` channels.
pub(crate) fn check_channels<T>(
    epilogue: &impl IntegerEpilogue<T>,
    channels: usize,
) -> Result<(), KernelError> {
    match epilogue.channels() {
        Some(found) => check_extent("channels of the epilogue", found, channels),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requantization(rule: RequantRule, m: f32, z: i32) -> Requantization {
        Requantization::new(rule, m, &[1.0], 1.0, z, (-128, 127)).unwrap()
    }

    #[test]
    fn onnx_runtime_rounds_halves_to_even() {
        let r = requantization(RequantRule::OnnxRuntime, 0.5, 3);
        assert_eq!([1, 3, 5, -1, -3].map(|x| r.apply(x, 0)), [3, 5, 5, 3, 1]);
        assert_eq!(r.apply(i32::MAX, 0), 127);
        assert_eq!(r.apply(i32::MIN, 0), -128);
    }

    #[test]
    fn tflite_rules_round_halves_as_gemmlowp_and_single_rounding_do() {
        let double = requantization(RequantRule::TfliteDoubleRounding, 0.5, 0);
        let single = requantization(RequantRule::TfliteSingleRounding, 0.5, 0);
        assert_eq!([1, 3, -1, -3].map(|x| double.apply(x, 0)), [1, 2, 0, -1]);
        assert_eq!([1, 3, -1, -3].map(|x| single.apply(x, 0)), [1, 2, 0, -1]);
        let small = requantization(RequantRule::TfliteDoubleRounding, 0.125, 0);
        assert_eq!([4, 12, -4, -12].map(|x| small.apply(x, 0)), [1, 2, -1, -2]);
    }

    #[test]
    fn fixed_point_needs_scales_that_are_finite_and_positive() {
        let new = |rule, x, w, y| Requantization::new(rule, x, &[w], y, 0, (0, 255));
        for (x, w, y) in [(1.0, 1.0, 0.0), (f32::NAN, 1.0, 1.0), (1.0, -1.0, 1.0)] {
            let refused = new(RequantRule::TfliteDoubleRounding, x, w, y);
            assert!(matches!(refused, Err(KernelError::NotAScale { .. })));
        }
        // Computed in f32, any scale gives what f32 gives.
        let zero = new(RequantRule::OnnxRuntime, 1.0, 1.0, 0.0).unwrap();
        assert_eq!((zero.apply(1, 0), zero.apply(-1, 0)), (255, 0));
    }

    #[test]
    fn fixed_point_multipliers_are_normalised() {
        assert_eq!(
            FixedPoint::new(0.5),
            FixedPoint {
                multiplier: 1 << 30,
                shift: 0
            }
        );
        assert_eq!(
            FixedPoint::new(1.0),
            FixedPoint {
                multiplier: 1 << 30,
                shift: 1
            }
        );
        assert_eq!(
            FixedPoint::new(0.0),
            FixedPoint {
                multiplier: 0,
                shift: 0
            }
        );
        assert_eq!(
            FixedPoint::new(1e-30),
            FixedPoint {
                multiplier: 0,
                shift: 0
            }
        );
    }
}
