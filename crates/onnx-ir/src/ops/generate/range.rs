//! `Range`: `start, start + delta, ...` before `limit`: `max(ceil((limit - start) / delta), 0)` elements.
//! <https://onnx.ai/onnx/operators/onnx__Range.html>
//!
//! Opset 27 added the 16-bit floats.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// `Range` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Range;

const RULE: &str = "start, limit and delta must be finite scalars, delta not 0";

impl Operator for Range {
    const SIGNATURE: Signature = Signature::onnx("Range", &[11, 27]);
    const GRADIENT: Gradient<Self> = Gradient::Undefined("its length depends on its operands");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("stash_type");
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let parts = [cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?];
        let dtype = parts.iter().find_map(|p| p.dtype);
        let constants = [cx.constant(0), cx.constant(1), cx.constant(2)];
        let size = match constants {
            [Some(start), Some(limit), Some(delta)] => match count_of(start, limit, delta) {
                Ok(n) => n.into(),
                Err(e) => return Err(InferError::rule(RULE, e)),
            },
            _ => symbolic_count(&parts).unwrap_or_else(|| cx.fresh_symbol()),
        };
        Ok(vec![TensorFact::with_shape(dtype, Some(vec![size])).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (start, limit, delta) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let count = count_of(start, limit, delta)?;
        let count = cx.check_size(&[count], start.dtype())?;
        let dtype = start.dtype();
        let values = if dtype.is_float() {
            dispatch!(dtype, T in floats => {
                let (a, d) = (scalar::<T>(start)?.to_f64(), scalar::<T>(delta)?.to_f64());
                Ok(Tensor::vector((0..count).map(|i| T::from_f64(a + i as f64 * d)).collect()))
            })
        } else {
            dispatch!(dtype, T in signed => {
                let (a, d) = (scalar::<T>(start)?, scalar::<T>(delta)?);
                let values = std::iter::successors(Some(a), |v| Some(v.plus(d)));
                Ok(Tensor::vector(values.take(count).collect()))
            })
        };
        Ok(vec![values?.into()])
    }
}

fn scalar<T: Element>(x: &Tensor) -> Result<T, EvalError> {
    let data = x.data::<T>()?;
    match data.as_ref() {
        [value] => Ok(*value),
        _ => Err(EvalError::rule(RULE, format_args!("{:?}", x.shape()))),
    }
}

/// The number of elements.
fn count_of(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<usize, EvalError> {
    let dtype = start.dtype();
    if dtype.is_float() {
        return dispatch!(dtype, T in floats => {
            let [a, b, d] = [scalar::<T>(start)?, scalar(limit)?, scalar(delta)?].map(Number::to_f64);
            let count = ((b - a) / d).ceil();
            if d == 0.0 || !count.is_finite() {
                return Err(EvalError::rule(RULE, format_args!("{a}, {b}, {d}")));
            }
            // The cast saturates; the limits refuse what is too large.
            Ok(count.max(0.0) as usize)
        });
    }
    dispatch!(dtype, T in signed => {
        let [a, b, d] = [scalar::<T>(start)?, scalar(limit)?, scalar(delta)?].map(i128::from);
        let (span, d) = if d < 0 { (a - b, -d) } else { (b - a, d) };
        if d == 0 {
            return Err(EvalError::rule(RULE, "delta is 0"));
        }
        Ok(usize::try_from((span.max(0) + d - 1) / d).unwrap_or(usize::MAX))
    })
}

/// The number of elements of an integer range with symbolic bounds, taken not to be empty.
fn symbolic_count(parts: &[TensorFact; 3]) -> Option<Dim> {
    if !parts.iter().any(|p| p.dtype.is_some_and(DType::is_integer)) {
        return None;
    }
    let element = |p: &TensorFact| p.elements()?.into_iter().next();
    let (start, limit) = (element(&parts[0])?, element(&parts[1])?);
    let size = match element(&parts[2])?.as_known()? {
        0 => return None,
        d if d > 0 => (limit - start).ceil_div(&Dim::Known(d)),
        d => (start - limit).ceil_div(&Dim::Known(d.checked_neg()?)),
    };
    (!size.is_unknown()).then_some(size)
}
