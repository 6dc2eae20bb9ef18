//! `FakeQuantizeBias`: a bias as the int32 codes of an integer layer hold it, `y = round_ties_even(b / s) s` with `s = s_x s_w`.
//!
//! Inputs: `b`; `step_x`, a single number, the step of what the layer reads; `step_w`, that of its weight, a single number or one for each element of
//! `b`. Attributes `floor_x` and `floor_w`: below them no step counts, as with `LearnedFakeQuantize`.
//!
//! Where a code would take more than half of int32, which leaves no room for the sum of products, no element is rounded: such a bias stays float
//! in the file too. The gradient of `b` is that of `y`, straight through; steps learn from what they quantize, and from here nothing.

use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};

/// The greatest code.
const MOST: f64 = i32::MAX as f64 / 2.0;

/// The attributes of `FakeQuantizeBias`.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantizeBias {
    /// The least step of what the layer reads.
    pub floor_x: f32,
    /// The least step of its weight.
    pub floor_w: f32,
}

impl Operator for FakeQuantizeBias {
    const SIGNATURE: Signature = Signature::private("FakeQuantizeBias");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mut floor = |name: &'static str| {
            let found = attrs.f32_or(name, f32::MIN_POSITIVE)?;
            match found >= f32::MIN_POSITIVE && found.is_finite() {
                true => Ok(found),
                false => Err(AttrError::Invalid {
                    name,
                    found: found.to_string(),
                    rule: "it must be a positive number",
                }),
            }
        };
        Ok(Self {
            floor_x: floor("floor_x")?,
            floor_w: floor("floor_w")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let b = cx.tensor(0)?;
        cx.tensor(1)?;
        cx.tensor(2)?;
        Ok(vec![TensorFact::with_shape(b.dtype, b.shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (b, step_x, step_w) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        if step_x.len() != 1 || ![1, b.len()].contains(&step_w.len()) {
            return Err(EvalError::rule(
                "there is one step of the input, and one of the weight for each element or for all",
                format_args!(
                    "{} and {} steps, {} elements",
                    step_x.len(),
                    step_w.len(),
                    b.len()
                ),
            ));
        }
        // A step that is no number is the floor.
        let step_x = floats(step_x)?[0].max(self.floor_x.into());
        let step_w = floats(step_w)?;
        let step_w = step_w.into_iter().map(|s| s.max(self.floor_w.into()));
        let is_single = b.dtype() != DType::F64;
        let values = floats(b)?;
        let codes = values.iter().zip(step_w.cycle()).map(|(b, step_w)| {
            // The scale of the file is binary32.
            let step = match is_single {
                true => f64::from(step_x as f32 * step_w as f32),
                false => step_x * step_w,
            };
            let fits = (b / (step_x * step_w)).abs() <= MOST;
            // A code of 0 has no sign.
            fits.then(|| ((b / step).round_ties_even() + 0.0) * step)
        });
        let values = codes.collect::<Option<Vec<f64>>>().unwrap_or(values);
        Ok(vec![rounded(b.dtype(), b.shape(), values)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("it rounds a bias already")
    }
}
