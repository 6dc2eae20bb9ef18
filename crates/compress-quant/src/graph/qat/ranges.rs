//! The steps that activations begin with.

use crate::graph::calibrate::Calibration;
use crate::graph::config::QuantizeConfig;
use crate::graph::error::QuantizeError;
use crate::graph::plan::Plan;
use crate::observer::{Codes, search};
use crate::qat::CodeRange;
use crate::{DType, Method, QuantError, QuantParams, Range, RangeRule};
use onnx_ir::{Graph, ValueId};
use std::collections::BTreeMap;

/// The codes of an activation and what they stand for at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FirstCodes {
    pub codes: CodeRange,
    pub step: f32,
    pub zero_point: i32,
}

/// The first codes of every group of activations: with 8 bits those of static quantization.
pub(super) fn first_codes(
    graph: &Graph,
    plan: &Plan,
    params: &BTreeMap<ValueId, QuantParams>,
    bits: &BTreeMap<ValueId, u32>,
    calibration: &Calibration,
    config: &QuantizeConfig,
) -> Result<BTreeMap<ValueId, FirstCodes>, QuantizeError> {
    let mut ranges: BTreeMap<ValueId, Range> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (&value, &root) in &plan.quantized {
        let name = graph.name_of(value);
        let bits = bits.get(&root).copied().unwrap_or(8);
        if bits == 8 {
            if let Some(params) = params.get(&value) {
                found.insert(root, of_params(params));
            }
            continue;
        }
        let stats = calibration
            .get(name)
            .ok_or_else(|| QuantizeError::NotCalibrated {
                tensor: name.to_owned(),
            })?;
        let codes = codes_of(bits, config)?;
        let range = range(stats, codes, config).map_err(|error| QuantizeError::Values {
            tensor: name.to_owned(),
            error,
        })?;
        let whole = ranges.entry(root).or_insert(range);
        *whole = whole.union(range);
        let (step, zero_point) = laid(*whole, codes, config.range_rule());
        found.insert(
            root,
            FirstCodes {
                codes,
                step,
                zero_point,
            },
        );
    }
    Ok(found)
}

fn of_params(params: &QuantParams) -> FirstCodes {
    let (q_min, q_max) = params.dtype.integer_range().unwrap_or((0, 255));
    FirstCodes {
        codes: CodeRange {
            q_min: q_min as i32,
            q_max: q_max as i32,
        },
        step: params.scale[0],
        zero_point: params.zero_point[0],
    }
}

/// Codes of so many bits, signed where the activations are.
fn codes_of(bits: u32, config: &QuantizeConfig) -> Result<CodeRange, QuantError> {
    match config.activation_dtype() {
        DType::I8 => CodeRange::signed(bits),
        _ => CodeRange::unsigned(bits),
    }
}

fn range(
    stats: &crate::TensorStats,
    codes: CodeRange,
    config: &QuantizeConfig,
) -> Result<Range, QuantError> {
    let rule = config.range_rule();
    match (config.method, stats.histogram(), stats.min_max()) {
        (Method::Mse, Some(histogram), Some(full)) => {
            search(histogram, full, rule == RangeRule::Symmetric, |range| {
                let (step, zero_point) = laid(range, codes, rule);
                Ok(Codes {
                    scale: step.into(),
                    zero_point: zero_point.into(),
                    low: codes.q_min.into(),
                    high: codes.q_max.into(),
                })
            })
        }
        _ => config.method.range(stats, config.activation_dtype(), rule),
    }
}

/// Step and zero point of a range that holds 0.
fn laid(range: Range, codes: CodeRange, rule: RangeRule) -> (f32, i32) {
    let (min, max) = (range.min.min(0.0), range.max.max(0.0));
    let (q_min, q_max) = (codes.q_min as f32, codes.q_max as f32);
    let (step, zero) = match rule {
        RangeRule::Symmetric => {
            let zero = if codes.q_min < 0 {
                0.0
            } else {
                (q_max + 1.0) / 2.0
            };
            (max.max(-min) / (q_max - zero), zero)
        }
        _ => {
            let step = (max - min) / (q_max - q_min);
            (step, (q_min - min / step).round_ties_even())
        }
    };
    if step >= f32::MIN_POSITIVE && step.is_finite() {
        (step, zero.clamp(q_min, q_max) as i32)
    } else {
        (1.0, codes.q_min.max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_laid_on_few_codes() {
        let codes = CodeRange::unsigned(4).unwrap();
        let range = |min, max| Range { min, max };
        assert_eq!(
            laid(range(0.0, 6.0), codes, RangeRule::Asymmetric),
            (0.4, 0)
        );
        assert_eq!(
            laid(range(-1.0, 2.0), codes, RangeRule::Asymmetric),
            (0.2, 5)
        );
        let signed = CodeRange::signed(4).unwrap();
        assert_eq!(
            laid(range(-1.4, 0.7), signed, RangeRule::Symmetric),
            (0.2, 0)
        );
        assert_eq!(
            laid(range(0.0, 0.0), codes, RangeRule::Asymmetric),
            (1.0, 0)
        );
    }
}
