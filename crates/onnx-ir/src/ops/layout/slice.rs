//! `Slice`: along each listed axis the elements `start, start + step, ...` before `end`; negative bounds
//! count from the end, bounds beyond the axis are clamped.
//! <https://onnx.ai/onnx/operators/onnx__Slice.html>
//!
//! Opset 10 made the bounds inputs and added `steps`.
//!
//! While inferring, the lengths are clamped as those of real tensors are, as sizes are put in for the symbols later:
//! `x[1:]` has the size `max(n - 1, 0)`, `x[-3:]` the size `min(n, 3)`. A symbolic bound of which it cannot be told
//! from which end it counts gives an unknown size.

use crate::operator::prelude::*;
use crate::ops::{axis, partial, select};
use crate::rewrite::NewNode;

/// The attributes of `Slice`: the bounds before opset 10, nothing since.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// The bounds, where they are attributes.
    pub bounds: Option<AttributeBounds>,
}

/// `starts`, `ends` and `axes`.
pub type AttributeBounds = (Vec<i64>, Vec<i64>, Option<Vec<i64>>);

const RULE: &str =
    "starts, ends, axes and steps must have one length, axes differ and steps not be 0";

impl Operator for Slice {
    const SIGNATURE: Signature = Signature::onnx("Slice", &[1, 10, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() >= 10 {
            return Ok(Self { bounds: None });
        }
        let (starts, ends) = (attrs.ints("starts")?, attrs.ints("ends")?);
        Ok(Self {
            bounds: Some((starts, ends, attrs.ints_opt("axes")?)),
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let Some(dims) = &x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let unknown = || TensorFact::with_shape(x.dtype, Some(vec![Dim::Unknown; dims.len()]));
        let Some((starts, ends, axes, steps)) = self.symbolic_bounds(cx, dims.len())? else {
            return Ok(vec![unknown().into()]);
        };
        let wrong = || InferError::rule(RULE, format_args!("{axes:?}, rank {}", dims.len()));
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(wrong());
        }
        let mut shape = dims.clone();
        for (i, &axis) in axes.iter().enumerate() {
            let axis = axis::infer(axis, dims.len())?;
            shape[axis] = length(&dims[axis], &starts[i], &ends[i], &steps[i]).ok_or_else(wrong)?;
        }
        let output = TensorFact::with_shape(x.dtype, Some(shape));
        let moved = x
            .elements()
            .filter(|_| dims.len() == 1 && axes.len() == 1)
            .and_then(|all| {
                let (start, end, step) = (
                    starts[0].as_known()?,
                    ends[0].as_known()?,
                    steps[0].as_known()?,
                );
                let (first, count) = clamped(all.len(), start, end, step)?;
                (0..count)
                    .map(|k| all.get(position(first, k, step)?).cloned())
                    .collect()
            });
        Ok(vec![partial::with_elements(output, moved).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (starts, ends, axes) = match &self.bounds {
            Some(bounds) => bounds.clone(),
            None => (
                cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?,
                cx.ints(2)?.ok_or(EvalError::MissingInput { index: 2 })?,
                cx.ints(3)?,
            ),
        };
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = cx.ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        let wrong = || {
            let found = format_args!("{starts:?}, {ends:?}, {axes:?}, {steps:?}").to_string();
            EvalError::rule(RULE, found)
        };
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(wrong());
        }
        let mut shape = x.shape().to_vec();
        let mut strides = select::c_strides(x.shape());
        let mut offset = 0isize;
        let mut seen = vec![false; x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = axis::eval(axis, x.rank())?;
            let twice = std::mem::replace(&mut seen[axis], true);
            let range = clamped(x.shape()[axis], starts[i], ends[i], steps[i]);
            let (first, count) = range.filter(|_| !twice).ok_or_else(wrong)?;
            shape[axis] = count;
            if count > 0 {
                offset += first as isize * strides[axis];
                strides[axis] = strides[axis].saturating_mul(steps[i] as isize);
            }
        }
        Ok(vec![select::strided(x, &shape, offset, &strides)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// Starts, ends, axes and steps.
type Bounds = (Vec<Dim>, Vec<Dim>, Vec<i64>, Vec<Dim>);

impl Slice {
    /// The bounds as far as they are known; `None` where not even the axes are.
    fn symbolic_bounds(
        &self,
        cx: &InferContext<'_>,
        rank: usize,
    ) -> Result<Option<Bounds>, InferError> {
        let ones = |n: usize| vec![Dim::Known(1); n];
        let first_axes = |n: usize| (0..n as i64).collect();
        if let Some((starts, ends, axes)) = &self.bounds {
            let dims = |v: &[i64]| v.iter().map(|&n| Dim::Known(n)).collect();
            let axes = axes.clone().unwrap_or_else(|| first_axes(starts.len()));
            return Ok(Some((dims(starts), dims(ends), axes, ones(starts.len()))));
        }
        cx.tensor(1)?;
        cx.tensor(2)?;
        let axes = match cx.fact(3) {
            None => None,
            Some(_) => match cx.const_ints(3) {
                Some(axes) => Some(axes),
                None => return Ok(None),
            },
        };
        let elements = |i: usize| cx.elements(i);
        let given = elements(1).map(|v| v.len()).or(axes.as_ref().map(Vec::len));
        let Some(count) = given.filter(|&n| n <= rank.max(1)) else {
            return Ok(None);
        };
        let or_unknown = |i: usize| elements(i).unwrap_or_else(|| vec![Dim::Unknown; count]);
        let steps = if cx.fact(4).is_some() {
            or_unknown(4)
        } else {
            ones(count)
        };
        let axes = axes.unwrap_or_else(|| first_axes(count));
        Ok(Some((or_unknown(1), or_unknown(2), axes, steps)))
    }
}

/// The first position and the number of positions of a slice; `None` for a step of 0.
fn clamped(size: usize, start: i64, end: i64, step: i64) -> Option<(usize, usize)> {
    let n = i64::try_from(size).ok()?;
    let from_end = |b: i64| if b < 0 { b.saturating_add(n) } else { b };
    let (start, end) = (from_end(start), from_end(end));
    let (first, span) = match step {
        0 => return None,
        1.. => {
            let first = start.clamp(0, n);
            (first, end.clamp(0, n) - first)
        }
        _ => {
            // Unlike NumPy: a start before the axis is its first position.
            let first = start.max(0).min(n - 1);
            (first, first - end.clamp(-1, n - 1))
        }
    };
    if span <= 0 || first < 0 {
        return Some((0, 0));
    }
    let count = (span as u64).div_ceil(step.unsigned_abs());
    Some((usize::try_from(first).ok()?, usize::try_from(count).ok()?))
}

fn position(first: usize, k: usize, step: i64) -> Option<usize> {
    let moved = i64::try_from(k).ok()?.checked_mul(step)?;
    usize::try_from(i64::try_from(first).ok()?.checked_add(moved)?).ok()
}

/// Bounds beyond which no symbolic axis goes: exporters write the limits of i32 and i64, or a round
/// billion, for "to the end".
const BEYOND: i64 = 1_000_000_000;
const BEFORE: i64 = -BEYOND;

/// The length of a slice of a symbolic axis; `None` for a step of 0.
fn length(size: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Option<Dim> {
    let Some(step) = step.as_known() else {
        return Some(Dim::Unknown);
    };
    if let (Some(n), Some(start), Some(end)) = (size.as_size(), start.as_known(), end.as_known()) {
        return clamped(n, start, end, step).map(|(_, count)| count.into());
    }
    let span = match step {
        0 => return None,
        1.. => forward(size, start, end),
        _ => match (start.as_known(), end.as_known()) {
            (Some(-1 | BEYOND..), Some(i64::MIN..=BEFORE)) => size.clone(),
            _ => Dim::Unknown,
        },
    };
    let stride = i64::try_from(step.unsigned_abs()).ok();
    Some(stride.map_or(Dim::Unknown, |s| span.ceil_div(&Dim::Known(s))))
}

/// `max(0, min(size, end) - max(0, start))`, where the bounds are counted from the start of the axis.
fn forward(size: &Dim, start: &Dim, end: &Dim) -> Dim {
    let zero = Dim::Known(0);
    let (Some(start), Some(end)) = (position_of(size, start), position_of(size, end)) else {
        return Dim::Unknown;
    };
    let span = end.clone() - start.clone();
    if (zero.clone() - span.clone()).is_non_negative() {
        return zero;
    }
    if !span.is_non_negative() {
        return (end.max(&zero).min(size) - start.max(&zero)).max(&zero);
    }
    // The window holds `span` positions: those before 0 and those from `size` on are cut off, and of most windows
    // one of the ends at least is known to lie within.
    let from_start = if start.is_non_negative() {
        span
    } else {
        end.max(&zero).min(&span)
    };
    if (size.clone() - end.clone()).is_non_negative() {
        return from_start;
    }
    match start.is_non_negative() {
        true => from_start.min(&(size.clone() - start).max(&zero)),
        false => (end.max(&zero).min(size) - start.max(&zero)).max(&zero),
    }
}

/// A bound counted from the start of the axis; it may lie outside of it. `None` where it cannot be told from which
/// end it counts.
fn position_of(size: &Dim, bound: &Dim) -> Option<Dim> {
    match bound.as_known() {
        Some(BEYOND..) => Some(size.clone()),
        Some(i64::MIN..=BEFORE) => Some(Dim::Known(0)),
        _ if bound.is_non_negative() => Some(bound.clone()),
        _ if (Dim::Known(-1) - bound.clone()).is_non_negative() => {
            Some(size.clone() + bound.clone())
        }
        _ => None,
    }
}

/// Zeros around the adjoint where it is known at once how many, else the way of every operator that moves elements.
fn gradient(_: &Slice, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    if let Some(pads) = padding(cx) {
        cx.give(0, cx.dy().apply(NewNode::new("Pad"), &[cx.ints(&pads)]));
        return Ok(());
    }
    let others: Vec<Option<Var<'_>>> = (1..cx.node().inputs().len())
        .map(|i| cx.optional_input(i))
        .collect();
    cx.give_moved(&others);
    Ok(())
}

/// What a slice without steps leaves out before and behind it.
fn padding(cx: &GradientContext<'_>) -> Option<Vec<i64>> {
    let dims = cx.input(0).dims()?;
    let bounds = |i: usize| cx.input(i).const_ints();
    let (starts, ends) = (bounds(1)?, bounds(2)?);
    let axes = match cx.optional_input(3) {
        Some(axes) => axes.const_ints()?,
        None => (0..starts.len() as i64).collect(),
    };
    if let Some(steps) = cx.optional_input(4)
        && steps.const_ints()?.iter().any(|&step| step != 1)
    {
        return None;
    }
    let mut pads = vec![0; 2 * dims.len()];
    for ((start, end), axis) in starts.into_iter().zip(ends).zip(axes) {
        let axis = axis::resolve(axis, dims.len())?;
        let size = dims[axis].as_known()?;
        let place = |bound: i64| {
            let from_front = if bound < 0 {
                bound.saturating_add(size)
            } else {
                bound
            };
            from_front.clamp(0, size)
        };
        let (start, end) = (place(start), place(end));
        if end < start {
            return None;
        }
        pads[axis] = start;
        pads[dims.len() + axis] = size - end;
    }
    Some(pads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_clamped_as_the_specification_says() {
        assert_eq!(clamped(5, -3, i64::MAX, 1), Some((2, 3)));
        assert_eq!(clamped(5, 20, i64::MIN, -2), Some((4, 3)));
        assert_eq!(clamped(5, 3, 3, 1), Some((0, 0)));
        assert_eq!(clamped(0, -1, i64::MIN, -1), Some((0, 0)));
        assert_eq!(clamped(1, -2, -2, -2), Some((0, 1)));
        assert_eq!(clamped(5, -100, -100, -1), Some((0, 1)));
        assert_eq!(clamped(5, 0, 5, 0), None);
        assert_eq!(clamped(5, 4, i64::MIN, i64::MIN), Some((4, 1)));
    }

    #[test]
    fn symbolic_axes_keep_their_symbol() {
        let n = Dim::symbol("n");
        let len = |start: i64, end: Dim| {
            length(&n, &start.into(), &end, &Dim::Known(1))
                .unwrap()
                .to_string()
        };
        assert_eq!(len(0, Dim::Known(i64::MAX)), "n");
        assert_eq!(len(0, Dim::Known(1_000_000_000)), "n");
        assert_eq!(len(1, Dim::Known(i64::MAX)), "max(0, n - 1)");
        assert_eq!(len(-2, Dim::Known(i64::MAX)), "min(2, n)");
        assert_eq!(len(0, Dim::Known(1)), "min(1, n)");
        assert_eq!(len(0, Dim::symbol("m")), "min(m, n)");
        // For `m = 0` this is `x[0:0]`, otherwise `m` counts from the end.
        assert_eq!(len(0, Dim::Known(0) - Dim::symbol("m")), "?");
    }

    #[test]
    fn lengths_with_sizes_put_in_are_those_of_real_slices() {
        let (n, m) = (Dim::symbol("n"), Dim::symbol("m"));
        let k = Dim::Known;
        let mut bounds: Vec<Dim> = (-4..=4).map(k).collect();
        bounds.extend([k(i64::MAX), k(i64::MIN), n.clone(), m.clone()]);
        bounds.extend([
            n.clone() + m.clone(),
            k(-1) - m.clone(),
            k(-2) - n.clone(),
            n.clone() - k(1),
        ]);
        let mut told = 0;
        for size in [n.clone(), n.clone() + k(2), k(3)] {
            for start in &bounds {
                for end in &bounds {
                    for step in [1, 2, 3] {
                        let symbolic = length(&size, start, end, &k(step)).unwrap();
                        if symbolic.is_unknown() {
                            continue;
                        }
                        told += 1;
                        for (sn, sm) in (0..7).flat_map(|a| (0..7).map(move |b| (a, b))) {
                            let at = |d: &Dim| d.eval(&|s| Some(if s == "n" { sn } else { sm }));
                            let sizes = [&size, start, end].map(|d| at(d).unwrap());
                            let [axis, start_at, end_at] = sizes;
                            let axis = usize::try_from(axis).unwrap();
                            let (_, count) = clamped(axis, start_at, end_at, step).unwrap();
                            assert_eq!(
                                at(&symbolic),
                                i64::try_from(count).ok(),
                                "{size}[{start}:{end}:{step}] = {symbolic}, n = {sn}, m = {sm}"
                            );
                        }
                    }
                }
            }
        }
        assert!(told > 1500, "only {told} lengths are known");
    }
}
