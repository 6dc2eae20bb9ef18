//! `Pad`: adds elements before and after along each axis; negative pads take elements away.
//! <https://onnx.ai/onnx/operators/onnx__Pad.html>
//!
//! Opset 11 made pads and value inputs; opset 18 added `axes`, opset 19 the mode `wrap`. Negative pads
//! crop first, the added elements are taken from what is left, as ONNX Runtime does.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::{axis, select};
use crate::rewrite::NewNode;

/// Where the added elements come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode {
    /// One value.
    Constant,
    /// The mirror image, without the edge itself.
    Reflect,
    /// The nearest element.
    Edge,
    /// The other end, as on a torus.
    Wrap,
}

/// The attributes of `Pad`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// Where the added elements come from.
    pub mode: PadMode,
    /// The pads (`[begins.., ends..]`) and the value, where they are attributes (before opset 11).
    pub fixed: Option<(Vec<i64>, f32)>,
}

const RULE: &str = "there must be two pads for each axis, and no axis become negative";

impl Operator for Pad {
    const SIGNATURE: Signature = Signature::onnx("Pad", &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "constant".into())?;
        let mode = match mode.as_str() {
            "constant" => PadMode::Constant,
            "reflect" => PadMode::Reflect,
            "edge" => PadMode::Edge,
            "wrap" => PadMode::Wrap,
            _ => {
                return Err(AttrError::Invalid {
                    name: "mode",
                    found: mode,
                    rule: "it must be constant, reflect, edge or wrap",
                });
            }
        };
        let pads = match attrs.version() {
            1 => Some(attrs.ints("paddings")?),
            2..11 => Some(attrs.ints("pads")?),
            _ => None,
        };
        let fixed = match pads {
            Some(pads) => Some((pads, attrs.f32_or("value", 0.0)?)),
            None => None,
        };
        Ok(Self { mode, fixed })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let Some(mut shape) = x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let rank = shape.len();
        let pads = match &self.fixed {
            Some((pads, _)) => Some(pads.iter().map(|&p| p.into()).collect()),
            None => {
                cx.tensor(1)?;
                cx.elements(1)
            }
        };
        let axes = match cx.fact(3) {
            None => Some((0..rank as i64).collect()),
            Some(_) => cx.const_ints(3),
        };
        let (Some(pads), Some(axes)) = (pads, axes) else {
            let unknown = vec![Dim::Unknown; rank];
            return Ok(vec![TensorFact::with_shape(x.dtype, Some(unknown)).into()]);
        };
        let pads: Vec<Dim> = pads;
        if pads.len() != 2 * axes.len() {
            let found = format_args!("{} for {} axes", pads.len(), axes.len());
            return Err(InferError::rule(RULE, found));
        }
        for (i, &axis) in axes.iter().enumerate() {
            let at = axis::infer(axis, rank)?;
            shape[at] = shape[at].clone() + pads[i].clone() + pads[axes.len() + i].clone();
            if shape[at].as_known().is_some_and(|d| d < 0) {
                return Err(InferError::rule(RULE, format_args!("axis {axis}")));
            }
        }
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let pads = match &self.fixed {
            Some((pads, _)) => pads.clone(),
            None => cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?,
        };
        let axes = cx
            .ints(3)?
            .unwrap_or_else(|| (0..x.rank() as i64).collect());
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, pads {pads:?}", x.shape()));
        if Some(pads.len()) != axes.len().checked_mul(2) {
            return Err(wrong());
        }
        let mut ends = vec![(0i64, 0i64); x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            ends[axis::eval(axis, x.rank())?] = (pads[i], pads[axes.len() + i]);
        }
        let mut shape = Vec::with_capacity(x.rank());
        for (&d, &(begin, end)) in x.shape().iter().zip(&ends) {
            let size = i64::try_from(d)
                .ok()
                .and_then(|d| d.checked_add(begin)?.checked_add(end));
            shape.push(
                size.and_then(|n| usize::try_from(n).ok())
                    .ok_or_else(wrong)?,
            );
        }
        if cx.check_size(&shape, x.dtype())? == 0 {
            // The other sizes may be too large for a table along their axes.
            return Ok(vec![select::zeros(x.dtype(), &shape)?.into()]);
        }
        let tables: Option<Vec<_>> = (0..x.rank())
            .map(|a| table(self.mode, x.shape()[a], ends[a], shape[a]))
            .collect();
        let tables = tables.ok_or_else(wrong)?;
        let fill = match (&self.fixed, cx.optional_tensor(2)?) {
            (Some((_, value)), _) => {
                dispatch!(x.dtype(), T in numbers => Ok(Tensor::scalar(T::from_f64((*value).into()))))?
            }
            (None, Some(value)) if !value.is_empty() => value.clone(),
            _ => select::zeros(x.dtype(), &[])?,
        };
        Ok(vec![select::mapped(x, &tables, &fill)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// The source of each of `padded` positions along an axis of `size`; `None` where elements would have
/// to be taken from an empty axis.
fn table(
    mode: PadMode,
    size: usize,
    (begin, end): (i64, i64),
    padded: usize,
) -> Option<Vec<Option<usize>>> {
    let n = i64::try_from(size).ok()?;
    // What negative pads leave: positions `low..high`.
    let (low, high) = ((-begin).max(0), n - (-end).max(0));
    let source = |i: usize| {
        let at = i64::try_from(i).ok()? - begin;
        let inside = (low..high).contains(&at);
        let len = high - low;
        let at = match mode {
            _ if inside => Some(at),
            PadMode::Constant => None,
            _ if len <= 0 => return None,
            PadMode::Edge => Some(at.clamp(low, high - 1)),
            PadMode::Wrap => Some(low + (at - low).rem_euclid(len)),
            PadMode::Reflect if len == 1 => Some(low),
            PadMode::Reflect => {
                let period = 2 * (len - 1);
                let phase = (at - low).rem_euclid(period);
                Some(low + phase.min(period - phase))
            }
        };
        Some(at.and_then(|at| usize::try_from(at).ok()))
    };
    (0..padded).map(source).collect()
}

/// Constants are cut off again; the other modes repeat elements, to which all copies' adjoints go.
fn gradient(op: &Pad, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let (pads, axes) = (cx.input(1), cx.optional_input(3));
    if op.mode != PadMode::Constant {
        cx.give_moved(&[Some(pads), None, axes]);
        return Ok(());
    }
    if cx.wants(2) {
        let inside = cx.tensor(Tensor::scalar(true)).expand_like(cx.input(0));
        let outside = cx.again(&[Some(inside), Some(pads), None, axes]).negated();
        let sum = outside.choose(cx.dy(), 0.0).sum_all();
        cx.give(2, sum.reshape_like(cx.input(2)));
    }
    // Cropped elements come back as zeros.
    let node = NewNode::new("Pad");
    cx.give(0, cx.apply(node, &[Some(cx.dy()), Some(-pads), None, axes]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(mode: PadMode, size: usize, pads: (i64, i64)) -> Vec<usize> {
        let padded = (size as i64 + pads.0 + pads.1) as usize;
        let table = table(mode, size, pads, padded).unwrap();
        table.into_iter().map(|s| s.unwrap_or(99)).collect()
    }

    #[test]
    fn each_mode_takes_its_own_elements() {
        assert_eq!(sources(PadMode::Constant, 2, (1, 1)), [99, 0, 1, 99]);
        assert_eq!(sources(PadMode::Edge, 3, (2, 1)), [0, 0, 0, 1, 2, 2]);
        assert_eq!(sources(PadMode::Wrap, 3, (2, 1)), [1, 2, 0, 1, 2, 0]);
        assert_eq!(
            sources(PadMode::Reflect, 3, (2, 3)),
            [2, 1, 0, 1, 2, 1, 0, 1]
        );
    }

    #[test]
    fn negative_pads_crop_before_the_rest_is_padded() {
        assert_eq!(sources(PadMode::Constant, 4, (-1, -1)), [1, 2]);
        assert_eq!(sources(PadMode::Reflect, 4, (-1, 2)), [1, 2, 3, 2, 1]);
        assert_eq!(table(PadMode::Edge, 0, (1, 0), 1), None);
    }
}
