//! `LearnedFakeQuantize`: reals rounded to the values that integer codes stand for, by a step that is learned,
//! `y = (clamp(round_ties_even(x / s) + z, q_min, q_max) - z) s`. To the bit it is `QuantizeLinear` and `DequantizeLinear` of scale `s` and zero
//! point `z` with codes of `q_min..=q_max`.
//!
//! Inputs: `x`; `step`, of the rank of `x` and 1 along all axes but one at most, or a single number; `offset`, of as many numbers, which
//! may be left out. `s = max(step, floor)`; `z` is the attribute `zero_point`, or with an offset `β`
//! `z = clamp(round_ties_even(-β / s), q_min, q_max)`, so that code `z` stands for 0 exactly.
//!
//! Attributes beside: `method` (below), `batched` (whether the first axis of `x` is that of samples), `delta` and `alpha` (of a method),
//! `floor` (below which no step counts; there its gradient lets it grow only).
//!
//! | `method` | gradient of `x` within the range | of the step | source |
//! |---|---|---|---|
//! | `ste` | 1 | none: it stays | Bengio et al. 2013, arXiv:1308.3432 |
//! | `lsq` | 1 | `g (q - v)`, outside `g q` | Esser et al. 2020, arXiv:1902.08153 |
//! | `lsq+` | 1 | the same, and of the offset | Bhalgat et al. 2020, arXiv:2004.09576 |
//! | `pact` | 1 | outside `q / Q_P²`, that of `α = Q_P s` | Choi et al. 2018, arXiv:1805.06085 |
//! | `ewgs` | `1 + δ sign(dy) (v - q) / (q_max - q_min)` | `g (q - v dx/dy)`, outside `g q` | Lee et al. 2021, arXiv:2104.00903 |
//! | `dsq` | that of a soft staircase | that of the staircase times `g` | Gong et al. 2019, arXiv:1908.05033 |
//!
//! Here `v = x / s`, `q` is the code less the zero point, `g = 1 / sqrt(n Q_P)`, `Q_P = q_max - z` (at least 1), and `n` is the number of elements that
//! share a step, where `batched` those of a sample. Outside of the range the gradient of `x` is 0.

use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};

/// How rounding is differentiated, and what is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LearnedMethod {
    /// Straight through; the step stays.
    Ste,
    /// A learned step.
    #[default]
    Lsq,
    /// A learned step and a learned offset.
    LsqPlus,
    /// A learned end of the range.
    Pact,
    /// Gradients scaled element by element.
    Ewgs,
    /// A soft staircase.
    Dsq,
}

impl LearnedMethod {
    /// All methods.
    pub const ALL: [Self; 6] = [
        Self::Ste,
        Self::Lsq,
        Self::LsqPlus,
        Self::Pact,
        Self::Ewgs,
        Self::Dsq,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ste => "ste",
            Self::Lsq => "lsq",
            Self::LsqPlus => "lsq+",
            Self::Pact => "pact",
            Self::Ewgs => "ewgs",
            Self::Dsq => "dsq",
        }
    }
}

/// The attributes of `LearnedFakeQuantize` and of its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedFakeQuantize {
    /// How rounding is differentiated.
    pub method: LearnedMethod,
    /// The least code.
    pub q_min: i32,
    /// The greatest code.
    pub q_max: i32,
    /// The code of 0, where there is no offset.
    pub zero_point: i32,
    /// Whether the first axis is that of samples.
    pub batched: bool,
    /// `δ` of EWGS.
    pub delta: f32,
    /// `α` of DSQ.
    pub alpha: f32,
    /// The least step.
    pub floor: f32,
}

/// A step and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearnedGrid {
    /// `s`.
    pub step: f64,
    /// `z`.
    pub zero_point: i32,
    /// `-β / s` before it was rounded; 0 without an offset.
    pub offset: f64,
    /// Whether the step is at the floor or below.
    pub is_at_floor: bool,
}

impl LearnedGrid {
    /// The gradient of the step, which does not lead below the floor.
    pub fn kept(&self, gradient: f64) -> f64 {
        match self.is_at_floor {
            true => gradient.min(0.0),
            false => gradient,
        }
    }
}

/// Steps over the elements of a tensor: neighbouring runs of `inner` elements have the grids in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedGrids {
    /// One for each step.
    pub grids: Vec<LearnedGrid>,
    /// Elements of a run.
    pub inner: usize,
}

impl LearnedGrids {
    /// The grid of element `i` in C order.
    pub fn of(&self, i: usize) -> (usize, LearnedGrid) {
        let at = i / self.inner.max(1) % self.grids.len().max(1);
        (at, self.grids[at])
    }
}

impl LearnedFakeQuantize {
    pub(crate) fn read(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let method = attrs.string_or("method", "lsq".into())?;
        let code = |found: i64, name| {
            let fits = i32::try_from(found)
                .ok()
                .filter(|q| (-128..=255).contains(q));
            fits.ok_or_else(|| AttrError::Invalid {
                name,
                found: found.to_string(),
                rule: "it must be a code of 8 bits",
            })
        };
        let read = Self {
            method: LearnedMethod::ALL
                .into_iter()
                .find(|known| known.name() == method)
                .ok_or(AttrError::Invalid {
                    name: "method",
                    found: method,
                    rule: "it must be ste, lsq, lsq+, pact, ewgs or dsq",
                })?,
            q_min: code(attrs.int("q_min")?, "q_min")?,
            q_max: code(attrs.int("q_max")?, "q_max")?,
            zero_point: code(attrs.int_or("zero_point", 0)?, "zero_point")?,
            batched: attrs.flag_or("batched", false)?,
            delta: attrs.f32_or("delta", 1e-3)?,
            alpha: attrs.f32_or("alpha", 0.2)?,
            floor: attrs.f32_or("floor", f32::MIN_POSITIVE)?,
        };
        let invalid = |name, found: String, rule| Err(AttrError::Invalid { name, found, rule });
        if read.q_min >= read.q_max {
            let rule = "it must be above q_min";
            return invalid("q_max", read.q_max.to_string(), rule);
        }
        if !(read.q_min..=read.q_max).contains(&read.zero_point) {
            let rule = "it must lie in q_min..=q_max";
            return invalid("zero_point", read.zero_point.to_string(), rule);
        }
        if !(read.floor >= f32::MIN_POSITIVE && read.floor.is_finite()) {
            let rule = "it must be a positive number";
            return invalid("floor", read.floor.to_string(), rule);
        }
        if !(read.alpha > 0.0 && read.alpha < 1.0) {
            let rule = "it must lie in (0, 1)";
            return invalid("alpha", read.alpha.to_string(), rule);
        }
        if !read.delta.is_finite() {
            return invalid("delta", read.delta.to_string(), "it must be finite");
        }
        Ok(read)
    }

    /// The steps and zero points over a tensor of this shape.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where the shapes do not go together.
    pub fn grids(
        &self,
        x: &[usize],
        step: &Tensor,
        offset: Option<&Tensor>,
    ) -> Result<LearnedGrids, EvalError> {
        let inner = self.inner(x, step.shape())?;
        if let Some(offset) = offset
            && offset.len() != step.len()
        {
            return Err(EvalError::rule(
                "there is an offset for each step",
                format_args!("{} offsets, {} steps", offset.len(), step.len()),
            ));
        }
        let steps = floats(step)?;
        let offsets = offset.map(floats).transpose()?;
        let floor = f64::from(self.floor);
        let grid = |(i, step): (usize, f64)| {
            // A step that is no number is the floor.
            let is_at_floor = step.is_nan() || step <= floor;
            let step = step.max(floor);
            let Some(beta) = offsets.as_ref().map(|all| all[i]) else {
                return LearnedGrid {
                    step,
                    zero_point: self.zero_point,
                    offset: 0.0,
                    is_at_floor,
                };
            };
            let offset = -beta / step;
            let (low, high) = (f64::from(self.q_min), f64::from(self.q_max));
            LearnedGrid {
                step,
                zero_point: offset.round_ties_even().max(low).min(high) as i32,
                offset,
                is_at_floor,
            }
        };
        let grids = steps.into_iter().enumerate().map(grid).collect();
        Ok(LearnedGrids { grids, inner })
    }

    /// Elements of a run: those behind the axis that the steps go along.
    fn inner(&self, x: &[usize], step: &[usize]) -> Result<usize, EvalError> {
        if step.iter().all(|&d| d == 1) {
            return Ok(x.iter().product());
        }
        let mut along = step.iter().enumerate().filter(|(_, d)| **d != 1);
        let axis = along.next().map(|(axis, _)| axis);
        match axis {
            Some(axis)
                if along.next().is_none() && step.len() == x.len() && step[axis] == x[axis] =>
            {
                Ok(x[axis + 1..].iter().product())
            }
            _ => Err(EvalError::rule(
                "steps go along one axis of what they quantize",
                format_args!("steps {step:?}, tensor {x:?}"),
            )),
        }
    }

    /// What the gradients of a step and of its offset are multiplied by, for a tensor of this shape with so many steps; 0 where they stay.
    pub fn gradient_scale(&self, x: &[usize], steps: usize, zero_point: i32) -> f64 {
        let most = f64::from((self.q_max - zero_point).max(1));
        let samples = match (self.batched, x.first()) {
            (true, Some(&samples)) => samples.max(1),
            _ => 1,
        };
        let sharing = x.iter().product::<usize>() / steps.max(1) / samples;
        match self.method {
            LearnedMethod::Ste => 0.0,
            LearnedMethod::Pact => 1.0 / (most * most),
            _ => 1.0 / (sharing.max(1) as f64 * most).sqrt(),
        }
    }
}

impl Operator for LearnedFakeQuantize {
    const SIGNATURE: Signature = Signature::private("LearnedFakeQuantize");
    const GRADIENT: Gradient<Self> = Gradient::Graph(Self::backward);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Self::read(attrs)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        Ok(vec![TensorFact::with_shape(x.dtype, x.shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, step, offset) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        let grids = self.grids(x.shape(), step, offset)?;
        let is_single = x.dtype() != DType::F64;
        let values = floats(x)?.into_iter().enumerate();
        let values = values.map(|(i, x)| {
            let (_, grid) = grids.of(i);
            let [low, high] = [self.q_min, self.q_max].map(|q| f64::from(q - grid.zero_point));
            // The quotient of `QuantizeLinear` is binary32; a NaN becomes the least value.
            let v = match is_single {
                true => f64::from(x as f32 / grid.step as f32),
                false => x / grid.step,
            };
            // A code of 0 has no sign.
            (v.max(low).min(high).round_ties_even() + 0.0) * grid.step
        });
        Ok(vec![
            rounded(x.dtype(), x.shape(), values.collect())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl LearnedFakeQuantize {
    fn backward(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
        let inputs = [
            Some(cx.dy()),
            Some(cx.input(0)),
            Some(cx.input(1)),
            cx.optional_input(2),
        ];
        let learned: &[usize] = match (self.method, cx.optional_input(2)) {
            (LearnedMethod::Ste, _) => &[0],
            (_, None) => &[0, 1],
            (_, Some(_)) => &[0, 1, 2],
        };
        cx.give_outputs(cx.private_like("LearnedFakeQuantizeGrad"), &inputs, learned);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(method: LearnedMethod) -> LearnedFakeQuantize {
        LearnedFakeQuantize {
            method,
            q_min: -8,
            q_max: 7,
            zero_point: 0,
            batched: false,
            delta: 1e-3,
            alpha: 0.2,
            floor: 1e-6,
        }
    }

    #[test]
    fn steps_go_along_one_axis() {
        let lsq = operator(LearnedMethod::Lsq);
        let steps = |shape: &[usize]| {
            let n: usize = shape.iter().product();
            Tensor::from_vec(shape, vec![0.5f32; n]).unwrap()
        };
        let inner = |x: &[usize], step: &[usize]| {
            let grids = lsq.grids(x, &steps(step), None);
            grids.map(|g| (g.grids.len(), g.inner)).ok()
        };
        assert_eq!(inner(&[4, 3, 2], &[1, 1, 1]), Some((1, 24)));
        assert_eq!(inner(&[4, 3, 2], &[4, 1, 1]), Some((4, 6)));
        assert_eq!(inner(&[4, 3], &[1, 3]), Some((3, 1)));
        assert_eq!(inner(&[4, 3, 2], &[4]), None);
        assert_eq!(inner(&[4, 3], &[4, 3]), None);
        assert_eq!(inner(&[4, 3], &[3, 1]), None);
    }

    #[test]
    fn an_offset_gives_the_zero_point_of_the_nearest_code() {
        let plus = operator(LearnedMethod::LsqPlus);
        let number = |v: f32| Tensor::from_vec(&[1], vec![v]).unwrap();
        let z = |step, beta| {
            let grids = plus.grids(&[2], &number(step), Some(&number(beta)));
            grids.unwrap().grids[0].zero_point
        };
        assert_eq!(z(0.5, -1.3), 3);
        assert_eq!(z(0.5, 100.0), -8);
        assert_eq!(z(0.5, f32::NAN), -8);
        // The step does not fall below the floor.
        assert_eq!(z(-1.0, -3e-6), 3);
    }

    #[test]
    fn gradients_of_steps_are_scaled_by_the_elements_that_share_them() {
        let mut lsq = operator(LearnedMethod::Lsq);
        assert_eq!(lsq.gradient_scale(&[8, 7], 8, 0), 1.0 / 7.0);
        lsq.batched = true;
        assert_eq!(lsq.gradient_scale(&[8, 7], 1, 0), 1.0 / 7.0);
        let pact = operator(LearnedMethod::Pact);
        assert_eq!(pact.gradient_scale(&[8, 7], 1, 0), 1.0 / 49.0);
        let ste = operator(LearnedMethod::Ste);
        assert_eq!(ste.gradient_scale(&[8, 7], 1, 0), 0.0);
    }
}
