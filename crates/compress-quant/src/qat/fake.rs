//! Fake quantization and its gradients.

use super::range::CodeRange;
use crate::QuantError;
use ndarray::{ArrayD, ArrayViewD};
use runtime_kernels::quantized::{Estimator, Grid, fake_quantize, fake_quantize_grad};
use runtime_kernels::{Context, Scratch};

/// What stands for the gradient of rounding, and how steps are learned.
///
/// With `v = x / s + z`, `q = clamp(round(v), q_min, q_max)` and the gradient `dy` of the result, `x` has `dy` times a slope where
/// `q_min <= v <= q_max` and 0 outside. Steps have a sum over the elements that share them, times `g = 1 / sqrt(n Q_P)` with
/// `Q_P = q_max - z` and the `n` elements that share a step (of one sample, where the first axis is that of samples).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum StepMethod {
    /// The straight-through estimator with clipping: slope 1; the step's sum is that of [`StepMethod::Lsq`] with `g = 1`
    /// (Bengio et al. 2013, arXiv:1308.3432).
    StraightThrough,
    /// LSQ: slope 1, step `Σ dy (q - v)` inside and `Σ dy (q - z)` outside, times `g` (Esser et al. 2020, arXiv:1902.08153, eq. 3).
    Lsq,
    /// LSQ+: as LSQ, with an offset `β`, `z = clamp(round(-β / s), q_min, q_max)`, whose gradient is `g Σ dy` over what lies outside
    /// (Bhalgat et al. 2020, arXiv:2004.09576, eq. 4 and 5).
    LsqPlus,
    /// PACT: slope 1; of the range's end `α = Q_P s` the gradient is `Σ dy` over what lies above it. The step's is given times
    /// `1 / Q_P²`, so that a step of descent by it moves `α` as one by `α`'s own (Choi et al. 2018, arXiv:1805.06085, eq. 3).
    Pact,
    /// EWGS: slope `1 + δ sign(dy) (v - q) / (q_max - q_min)`, and by the chain rule through `v` the step's sum
    /// `Σ dy (q - z) - dx (v - z)`, times `g` (Lee et al. 2021, arXiv:2104.00903, eq. 6; δ stands for numbers of a range of 0 to 1, as
    /// there).
    Ewgs {
        /// `δ`, 0 or more; the paper's code uses 0.001 or the Hessian's trace.
        delta: f32,
    },
    /// DSQ: all gradients are those of the staircase `s (i + (1 + tanh(κ (v - i - ½)) / (1 - α)) / 2 - z)`, `i = floor(v)`,
    /// `κ = ln(2 / α - 1)`; the step's times `g` (Gong et al. 2019, arXiv:1908.05033, eq. 4 to 8; `α` is a setting here, not learned).
    Dsq {
        /// `α` of `0 < α < 1`: how soft the stairs are; the paper goes from 0.2 down.
        alpha: f32,
    },
}

/// Fake quantization of one tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FakeQuantizer {
    /// The codes.
    pub range: CodeRange,
    /// The method.
    pub method: StepMethod,
    /// The axis along which steps go; `None` for one step.
    pub axis: Option<usize>,
    /// `z`, where there is no offset.
    pub zero_point: i32,
    /// Whether the first axis is that of samples: it does not count for `n`.
    pub batched: bool,
}

/// Gradients of fake quantization.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gradient {
    /// Of the input, of its shape.
    pub input: ArrayD<f32>,
    /// Of each step.
    pub step: Vec<f32>,
    /// Of each offset; what it would be where there is none.
    pub offset: Vec<f32>,
}

impl FakeQuantizer {
    /// One step, zero point 0.
    pub fn new(range: CodeRange, method: StepMethod) -> Self {
        Self {
            range,
            method,
            axis: None,
            zero_point: 0,
            batched: false,
        }
    }

    /// The same with a step for each index of an axis.
    #[must_use]
    pub fn along(mut self, axis: usize) -> Self {
        self.axis = Some(axis);
        self
    }

    /// The same with another code for 0.
    #[must_use]
    pub fn with_zero_point(mut self, zero_point: i32) -> Self {
        self.zero_point = zero_point;
        self
    }

    /// `x' = (q - z) s`, in real units; NaN becomes the least value.
    ///
    /// # Shapes and units
    /// `step` (and `offset`, if there is one): one number, or one for each index of the axis; steps in real units per code, above 0.
    ///
    /// # Errors
    /// [`QuantError::AxisOutOfRange`], [`QuantError::Length`] for other numbers of steps, [`QuantError::Setting`] for a step that is not
    /// positive, a zero point beyond the codes, or a setting of the method that breaks its rule.
    pub fn forward(
        &self,
        x: ArrayViewD<'_, f32>,
        step: &[f32],
        offset: Option<&[f32]>,
    ) -> Result<ArrayD<f32>, QuantError> {
        let grids = self.grids(x.shape(), step, offset)?;
        let inner = self.inner(x.shape());
        let x = x.as_standard_layout();
        let mut y = ArrayD::zeros(x.raw_dim());
        if let (Some(x), Some(y)) = (x.as_slice(), y.as_slice_mut())
            && !x.is_empty()
        {
            let done = fake_quantize(&Context::default(), &grids, inner, x, y);
            // All were sized above: there is no input for which this fails.
            debug_assert!(done.is_ok(), "{done:?}");
        }
        Ok(y)
    }

    /// The gradients from the gradient `dy` of the result.
    ///
    /// # Shapes and units
    /// `dy` as `x`; the others as in [`FakeQuantizer::forward`].
    ///
    /// # Errors
    /// As [`FakeQuantizer::forward`]; [`QuantError::Length`] where `dy` is not of the shape of `x`.
    pub fn backward(
        &self,
        dy: ArrayViewD<'_, f32>,
        x: ArrayViewD<'_, f32>,
        step: &[f32],
        offset: Option<&[f32]>,
    ) -> Result<Gradient, QuantError> {
        let grids = self.grids(x.shape(), step, offset)?;
        if dy.shape() != x.shape() {
            return Err(length("gradients", dy.len(), x.len()));
        }
        let inner = self.inner(x.shape());
        let (dy, x) = (dy.as_standard_layout(), x.as_standard_layout());
        let mut gradient = Gradient {
            input: ArrayD::zeros(x.raw_dim()),
            step: vec![0.0; step.len()],
            offset: vec![0.0; step.len()],
        };
        let slices = (dy.as_slice(), x.as_slice(), gradient.input.as_slice_mut());
        if let (Some(dy), Some(x), Some(dx)) = slices
            && !x.is_empty()
        {
            let done = fake_quantize_grad(
                &Context::default(),
                &mut Scratch::new(),
                self.estimator(),
                &grids,
                inner,
                (dy, x),
                (dx, &mut gradient.step, &mut gradient.offset),
            );
            debug_assert!(done.is_ok(), "{done:?}");
        }
        let pairs = gradient.step.iter_mut().zip(&mut gradient.offset);
        for (i, (of_step, of_offset)) in pairs.enumerate() {
            let high = f64::from(grids[i].high);
            let scale = self.gradient_scale(x.shape(), step.len(), high);
            let moved = offset.map_or(0.0, |beta| -f64::from(beta[i]) / f64::from(step[i]));
            let whole = f64::from(*of_step) + moved * f64::from(*of_offset);
            *of_step = (scale * whole) as f32;
            *of_offset = (scale * f64::from(*of_offset)) as f32;
        }
        Ok(gradient)
    }

    fn estimator(&self) -> Estimator {
        match self.method {
            StepMethod::StraightThrough | StepMethod::Lsq | StepMethod::LsqPlus => {
                Estimator::StraightThrough
            }
            StepMethod::Pact => Estimator::Clipping,
            StepMethod::Ewgs { delta } => Estimator::Scaled {
                strength: delta / (self.range.q_max - self.range.q_min) as f32,
            },
            StepMethod::Dsq { alpha } => Estimator::Soft { alpha },
        }
    }

    /// `g`, or what stands in its place.
    fn gradient_scale(&self, shape: &[usize], steps: usize, high: f64) -> f64 {
        let most = high.max(1.0);
        let samples = if self.batched { shape.first() } else { None };
        let all: usize = shape.iter().product();
        let sharing = all / steps.max(1) / samples.copied().unwrap_or(1).max(1);
        match self.method {
            StepMethod::StraightThrough => 1.0,
            StepMethod::Pact => 1.0 / (most * most),
            _ => 1.0 / (sharing.max(1) as f64 * most).sqrt(),
        }
    }

    /// Elements between two steps.
    fn inner(&self, shape: &[usize]) -> usize {
        let behind = self.axis.map_or(0, |axis| axis + 1);
        shape[behind..].iter().product()
    }

    fn grids(
        &self,
        shape: &[usize],
        step: &[f32],
        offset: Option<&[f32]>,
    ) -> Result<Vec<Grid>, QuantError> {
        self.validate()?;
        let expected = match self.axis {
            None => 1,
            Some(axis) => *shape.get(axis).ok_or(QuantError::AxisOutOfRange {
                axis,
                rank: shape.len(),
            })?,
        };
        if step.len() != expected {
            return Err(length("steps", step.len(), expected));
        }
        if let Some(offset) = offset
            && offset.len() != expected
        {
            return Err(length("offsets", offset.len(), expected));
        }
        let CodeRange { q_min, q_max } = self.range;
        let grid = |(i, &step): (usize, &f32)| {
            if !(step > 0.0 && step.is_finite()) {
                return Err(QuantError::Setting {
                    setting: "a step",
                    found: step.into(),
                    rule: "it must be a positive number",
                });
            }
            let zero = match offset {
                None => self.zero_point,
                Some(beta) => {
                    let zero = (-f64::from(beta[i]) / f64::from(step)).round_ties_even();
                    zero.max(q_min.into()).min(q_max.into()) as i32
                }
            };
            Ok(Grid {
                step,
                low: (q_min - zero) as f32,
                high: (q_max - zero) as f32,
            })
        };
        step.iter().enumerate().map(grid).collect()
    }

    fn validate(&self) -> Result<(), QuantError> {
        let refuse = |setting, found: f64, rule| {
            Err(QuantError::Setting {
                setting,
                found,
                rule,
            })
        };
        let CodeRange { q_min, q_max } = self.range;
        if !(-128 <= q_min && q_min < q_max && q_max <= 255) {
            let rule = "the codes must be of 8 bits at most, and two at least";
            return refuse("the greatest code", q_max.into(), rule);
        }
        if !(q_min..=q_max).contains(&self.zero_point) {
            let rule = "it must be one of the codes";
            return refuse("the zero point", self.zero_point.into(), rule);
        }
        match self.method {
            StepMethod::Dsq { alpha } if !(alpha > 0.0 && alpha < 1.0) => {
                refuse("alpha", alpha.into(), "it must lie in (0, 1)")
            }
            StepMethod::Ewgs { delta } if !(delta >= 0.0 && delta.is_finite()) => {
                refuse("delta", delta.into(), "it must be a number, 0 or more")
            }
            _ => Ok(()),
        }
    }
}

fn length(what: &'static str, found: usize, expected: usize) -> QuantError {
    QuantError::Length {
        what,
        found,
        expected,
    }
}
