//! Operators that move whole elements: `Transpose`, `Concat`, `Slice`, `Gather`, `Expand` of 1-, 4- and 8-byte types.

use super::guarded::{self, Partial};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, FROM_LAST, Selector, TO_LAST};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId, Value};
use runtime_kernels::layout::{gather_rows, permute};
use std::sync::Arc;

/// Calls a generic function for the element type of a tensor.
macro_rules! for_element {
    ($dtype:expr, $call:ident ( $self:expr, $cx:expr )) => {
        match $dtype {
            DType::F32 => $self.$call::<f32>($cx),
            DType::U8 => $self.$call::<u8>($cx),
            DType::I8 => $self.$call::<i8>($cx),
            DType::I32 => $self.$call::<i32>($cx),
            DType::I64 => $self.$call::<i64>($cx),
            dtype => Err(EvalError::DType { dtype }.into()),
        }
    };
}

/// Binds an operator that moves elements; `None` for others.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    match node.op_type.as_str() {
        "Transpose" => {
            let perm = Attrs::new(&node.attributes, 1, 0, 0)
                .ints_opt("perm")
                .unwrap_or_default();
            guarded::bind(selector, id, Transpose { perm }).map(Some)
        }
        "Concat" => match axis(node, None) {
            Some(axis) => guarded::bind(selector, id, Concat { axis }).map(Some),
            None => Ok(None),
        },
        "Gather" => match axis(node, Some(0)) {
            Some(axis) => guarded::bind(selector, id, Gather { axis }).map(Some),
            None => Ok(None),
        },
        "Slice" => guarded::bind(selector, id, Slice::of(node)).map(Some),
        _ => Ok(None),
    }
}

fn axis(node: &Node, default: Option<i64>) -> Option<i64> {
    Attrs::new(&node.attributes, 1, 0, 0)
        .int_opt("axis")
        .ok()?
        .or(default)
}

/// Whether the kernels move this tensor. Of no elements its sizes may be anything, and products of them overflow.
fn is_moved(x: &Tensor) -> bool {
    let dtype = matches!(
        x.dtype(),
        DType::F32 | DType::U8 | DType::I8 | DType::I32 | DType::I64
    );
    dtype && !x.is_empty()
}

struct Transpose {
    perm: Option<Vec<i64>>,
}

impl Transpose {
    /// The permutation for a rank; reversed where the node names none.
    fn perm(&self, rank: usize) -> Option<Vec<usize>> {
        let Some(perm) = &self.perm else {
            return Some((0..rank).rev().collect());
        };
        let perm: Vec<usize> = perm
            .iter()
            .map(|&a| usize::try_from(a).ok())
            .collect::<Option<_>>()?;
        let mut seen = perm.clone();
        seen.sort_unstable();
        seen.iter().copied().eq(0..rank).then_some(perm)
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let perm = self.perm(x.rank()).unwrap_or_default();
        let shape: Vec<usize> = perm.iter().map(|&a| x.shape()[a]).collect();
        // Axes of size 1 may stand anywhere: without them many permutations are none.
        let order = || perm.iter().filter(|&&a| x.shape()[a] != 1);
        if order().is_sorted() {
            cx.outputs.set(0, x.reshape(&shape)?);
            return Ok(());
        }
        let mut out = cx.state.memory.buffer::<T>(&shape)?;
        permute(
            &cx.state.context,
            x.shape(),
            &perm,
            &x.data::<T>()?,
            &mut out,
        )?;
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

impl Partial for Transpose {
    fn kernel(&self) -> &'static str {
        "permute"
    }
    fn image_order(&self) -> ImageOrder {
        match self.perm(4).and_then(|perm| perm.try_into().ok()) {
            Some(TO_LAST) => ImageOrder::FromLast,
            Some(FROM_LAST) => ImageOrder::ToLast,
            _ => ImageOrder::Model,
        }
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        inputs
            .tensor(0)
            .is_ok_and(|x| is_moved(x) && self.perm(x.rank()).is_some())
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(self, cx))
    }
}

struct Concat {
    axis: i64,
}

impl Concat {
    /// Whether all inputs are tensors of one type, with the same sizes but for the axis.
    fn agrees(&self, inputs: Inputs<'_>) -> bool {
        let Ok(first) = inputs.tensor(0) else {
            return false;
        };
        let Some(axis) = position(self.axis, first.rank()) else {
            return false;
        };
        let fits = |value: &Option<&Value>| {
            let tensor = value.and_then(Value::as_tensor);
            tensor.is_some_and(|t| {
                let mut sizes = t.shape().iter().zip(first.shape()).enumerate();
                let same = t.dtype() == first.dtype() && t.rank() == first.rank();
                same && sizes.all(|(i, (a, b))| i == axis || a == b)
            })
        };
        inputs.values.iter().all(fits)
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let first = cx.inputs.tensor(0)?;
        let axis = position(self.axis, first.rank()).unwrap_or(0);
        let mut shape = first.shape().to_vec();
        let count = cx.inputs.values.len();
        let mut parts = Vec::with_capacity(count);
        shape[axis] = 0;
        for i in 0..count {
            let x = cx.inputs.tensor(i)?;
            shape[axis] += x.shape()[axis];
            parts.push((x.data::<T>()?, x.shape()[axis..].iter().product::<usize>()));
        }
        let mut out = cx.state.memory.buffer::<T>(&shape)?;
        let row: usize = shape[axis..].iter().product();
        for (i, mut out) in out.chunks_exact_mut(row.max(1)).enumerate() {
            for (data, len) in &parts {
                let (part, rest) = out.split_at_mut(*len);
                part.copy_from_slice(&data[i * len..(i + 1) * len]);
                out = rest;
            }
        }
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

impl Partial for Concat {
    fn kernel(&self) -> &'static str {
        "copy"
    }
    fn image_order(&self) -> ImageOrder {
        let last = position(self.axis, 4).and_then(|axis| TO_LAST.iter().position(|&a| a == axis));
        match last.and_then(|axis| i64::try_from(axis).ok()) {
            Some(axis) => ImageOrder::LastBy(Arc::new(ConcatLast(Concat { axis }))),
            None => ImageOrder::Model,
        }
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let moved = |value: &Option<&Value>| value.and_then(Value::as_tensor).is_some_and(is_moved);
        inputs.values.iter().all(moved) && self.agrees(inputs)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(self, cx))
    }
}

/// `Concat` of images with their channels last, with the axis counted in that order.
struct ConcatLast(Concat);

impl Step for ConcatLast {
    fn kernel(&self) -> &'static str {
        "copy"
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        if !self.0.agrees(cx.inputs) {
            let rule = "the images of a Concat have the same type and sizes but for the axis";
            return Err(EvalError::rule(rule, format_args!("axis {}", self.0.axis)).into());
        }
        let concat = &self.0;
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(concat, cx))
    }
}

struct Gather {
    axis: i64,
}

impl Gather {
    fn indices(&self, inputs: Inputs<'_>) -> Option<Vec<usize>> {
        let (x, indices) = (inputs.tensor(0).ok()?, inputs.tensor(1).ok()?);
        let size = *x.shape().get(position(self.axis, x.rank())?)?;
        let index = |i: i64| position(i, size);
        match indices.dtype() {
            DType::I64 => indices
                .data::<i64>()
                .ok()?
                .iter()
                .map(|&i| index(i))
                .collect(),
            DType::I32 => indices
                .data::<i32>()
                .ok()?
                .iter()
                .map(|&i| index(i.into()))
                .collect(),
            _ => None,
        }
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (x, indices) = (
            cx.inputs.tensor(0)?,
            self.indices(cx.inputs).unwrap_or_default(),
        );
        let axis = position(self.axis, x.rank()).unwrap_or(0);
        let (outer, inner) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
        let shape = [outer, cx.inputs.tensor(1)?.shape(), inner].concat();
        let row: usize = inner.iter().product();
        let mut out = cx.state.memory.buffer::<T>(&shape)?;
        let (from, to) = (x.shape()[axis] * row, indices.len() * row);
        if let (true, Ok(data)) = (from > 0 && to > 0, x.as_slice::<T>()) {
            for (x, y) in data.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
                gather_rows(&cx.state.context, row, x, &indices, y)?;
            }
        } else if from > 0 && to > 0 {
            // A table in a file, misaligned: only the rows that are asked for are copied into place.
            let (size, bytes) = (row * size_of::<T>(), x.bytes());
            let tables = bytes.chunks_exact(x.shape()[axis] * size);
            for (x, y) in tables.zip(out.chunks_exact_mut(to)) {
                for (y, &i) in y.chunks_exact_mut(row).zip(&indices) {
                    y.copy_from_slice(&T::read(&x[i * size..(i + 1) * size]));
                }
            }
        }
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

impl Partial for Gather {
    fn kernel(&self) -> &'static str {
        "gather"
    }
    fn reads_misaligned(&self, index: usize) -> bool {
        index == 0
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        inputs.tensor(0).is_ok_and(is_moved) && self.indices(inputs).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(self, cx))
    }
}

/// `Slice` with steps of 1: runs of neighbouring elements.
struct Slice {
    /// Starts, ends and axes of opsets before 10, which have them as attributes.
    attributes: Option<[Option<Vec<i64>>; 3]>,
}

impl Slice {
    fn of(node: &Node) -> Self {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let mut ints = |name| attrs.ints_opt(name).ok().flatten();
        let attributes =
            (node.inputs().len() == 1).then(|| ["starts", "ends", "axes"].map(&mut ints));
        Self { attributes }
    }

    /// The first element and the size for each axis; `None` for other steps or odd inputs.
    fn ranges(&self, inputs: Inputs<'_>) -> Option<Vec<(usize, usize)>> {
        let shape = inputs.tensor(0).ok()?.shape();
        let ints = |i: usize| -> Option<Option<Vec<i64>>> {
            if let Some(attributes) = &self.attributes {
                return Some(attributes.get(i - 1).cloned().flatten());
            }
            Some(match inputs.optional(i).ok()? {
                None => None,
                Some(t) if t.dtype() == DType::I64 => Some(t.data::<i64>().ok()?.into_owned()),
                Some(t) => Some(t.data::<i32>().ok()?.iter().map(|&n| n.into()).collect()),
            })
        };
        let (starts, ends) = (ints(1)??, ints(2)??);
        let axes = ints(3)?.unwrap_or_else(|| (0..).take(starts.len()).collect());
        let steps = ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.iter().any(|&s| s != 1)
        {
            return None;
        }
        let mut ranges: Vec<(usize, usize)> = shape.iter().map(|&n| (0, n)).collect();
        for ((&start, &end), &axis) in starts.iter().zip(&ends).zip(&axes) {
            let axis = position(axis, shape.len())?;
            let size = i64::try_from(shape[axis]).ok()?;
            let bound = |n: i64| if n < 0 { n.saturating_add(size) } else { n }.clamp(0, size);
            let (start, end) = (bound(start), bound(end));
            ranges[axis] = (
                usize::try_from(start).ok()?,
                usize::try_from((end - start).max(0)).ok()?,
            );
        }
        Some(ranges)
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let ranges = self.ranges(cx.inputs).unwrap_or_default();
        let shape: Vec<usize> = ranges.iter().map(|r| r.1).collect();
        let mut out = cx.state.memory.buffer::<T>(&shape)?;
        let data = x.data::<T>()?;
        // From the innermost axis that is cut on, elements are neighbours.
        let cut = ranges
            .iter()
            .zip(x.shape())
            .rposition(|(r, &n)| r.1 != n)
            .unwrap_or(0);
        let inner: usize = x.shape().iter().skip(cut + 1).product();
        let (start, len) = ranges.get(cut).copied().unwrap_or((0, 1));
        let mut starts = vec![start * inner];
        let mut stride = inner * x.shape().get(cut).copied().unwrap_or(1);
        for (axis, &(start, len)) in ranges.iter().enumerate().take(cut).rev() {
            starts = (start..start + len)
                .flat_map(|i| starts.iter().map(move |s| s + i * stride))
                .collect();
            stride *= x.shape()[axis];
        }
        for (out, from) in out.chunks_exact_mut((len * inner).max(1)).zip(starts) {
            out.copy_from_slice(&data[from..from + len * inner]);
        }
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

impl Partial for Slice {
    fn kernel(&self) -> &'static str {
        "copy"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        inputs.tensor(0).is_ok_and(is_moved) && self.ranges(inputs).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(self, cx))
    }
}
