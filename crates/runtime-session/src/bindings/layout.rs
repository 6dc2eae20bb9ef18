//! Operators that move whole elements: `Transpose`, `Concat`, `Slice`, `Gather`, `Expand` of 1-, 4- and 8-byte types.

use super::guarded::{self, Partial};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, FROM_LAST, Selector, TO_LAST};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId, Value};
use runtime_kernels::layout::{gather_rows, permute};
use std::borrow::Cow;
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
    fn perm(&self, rank: usize) -> Option<Shape> {
        let Some(perm) = &self.perm else {
            return Some((0..rank).rev().collect());
        };
        let perm: Shape = perm
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
        let shape: Shape = perm.iter().map(|&a| x.shape()[a]).collect();
        // Axes of size 1 may stand anywhere: without them many permutations are none.
        let order = || perm.iter().filter(|&&a| x.shape()[a] != 1);
        if order().is_sorted() {
            cx.outputs.set(0, x.reshape(&shape)?);
            return Ok(());
        }
        let mut out = cx.state.memory.tensor::<T>(&shape)?;
        permute(
            &cx.state.context,
            x.shape(),
            &perm,
            &x.data::<T>()?,
            out.data_mut::<T>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Partial for Transpose {
    fn kernel(&self) -> &'static str {
        "permute"
    }
    fn image_order(&self) -> ImageOrder {
        match self.perm(4).and_then(|perm| perm[..].try_into().ok()) {
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
        let mut shape = Shape::from(first.shape());
        shape[axis] = 0;
        for i in 0..cx.inputs.values.len() {
            shape[axis] += cx.inputs.tensor(i)?.shape()[axis];
        }
        let mut out = cx.state.memory.tensor::<T>(&shape)?;
        let row: usize = shape[axis..].iter().product();
        let mut at = 0;
        for i in 0..cx.inputs.values.len() {
            let x = cx.inputs.tensor(i)?;
            let (data, len) = (x.data::<T>()?, x.shape()[axis..].iter().product::<usize>());
            let rows = out.data_mut::<T>()?.chunks_exact_mut(row.max(1));
            for (row, part) in rows.zip(data.chunks_exact(len.max(1))) {
                row[at..at + len].copy_from_slice(part);
            }
            at += len;
        }
        cx.outputs.set(0, out);
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
    /// Whether each index names an element of the axis.
    fn fits(&self, inputs: Inputs<'_>) -> Option<()> {
        let (x, indices) = (inputs.tensor(0).ok()?, inputs.tensor(1).ok()?);
        let size = *x.shape().get(position(self.axis, x.rank())?)?;
        let inside = |i: i64| position(i, size).is_some();
        let all = match indices.dtype() {
            DType::I64 => indices.data::<i64>().ok()?.iter().all(|&i| inside(i)),
            DType::I32 => indices
                .data::<i32>()
                .ok()?
                .iter()
                .all(|&i| inside(i.into())),
            _ => false,
        };
        all.then_some(())
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (x, indices) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        match indices.dtype() {
            DType::I32 => {
                let indices = indices.data::<i32>()?;
                self.gather::<T>(cx, x, |i| indices.get(i).copied().map(i64::from))
            }
            _ => {
                let indices = indices.data::<i64>()?;
                self.gather::<T>(cx, x, |i| indices.get(i).copied())
            }
        }
    }

    fn gather<T: Pooled>(
        &self,
        cx: &mut StepContext<'_>,
        x: &Tensor,
        index: impl Fn(usize) -> Option<i64> + Sync,
    ) -> Result<(), StepError> {
        let axis = position(self.axis, x.rank()).unwrap_or(0);
        let (outer, inner) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
        let indices = cx.inputs.tensor(1)?;
        let mut shape = Shape::from(outer);
        shape.extend(indices.shape().iter().chain(inner).copied());
        let row: usize = inner.iter().product();
        let size = x.shape()[axis];
        // An index past the axis is refused by the kernel.
        let index = |i| {
            index(i)
                .and_then(|i| position(i, size))
                .unwrap_or(usize::MAX)
        };
        let mut out = cx.state.memory.tensor::<T>(&shape)?;
        let (from, to) = (size * row, indices.len() * row);
        if let (true, Ok(data)) = (from > 0 && to > 0, x.as_slice::<T>()) {
            let tables = data.chunks_exact(from);
            for (x, y) in tables.zip(out.data_mut::<T>()?.chunks_exact_mut(to)) {
                gather_rows(&cx.state.context, row, x, index, y)?;
            }
        } else if from > 0 && to > 0 {
            // A table in a file, misaligned: only the rows that are asked for are copied into place.
            let (bytes, row_bytes) = (x.bytes(), row * size_of::<T>());
            let tables = bytes.chunks_exact(size * row_bytes);
            for (x, y) in tables.zip(out.data_mut::<T>()?.chunks_exact_mut(to)) {
                for (i, y) in y.chunks_exact_mut(row).enumerate() {
                    let at = index(i) * row_bytes;
                    y.copy_from_slice(&T::read(&x[at..at + row_bytes]));
                }
            }
        }
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Partial for Gather {
    fn kernel(&self) -> &'static str {
        "gather"
    }
    fn picks_from(&self, index: usize) -> bool {
        index == 0
    }
    fn reads_misaligned(&self, index: usize) -> bool {
        index == 0
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        inputs.tensor(0).is_ok_and(is_moved) && self.fits(inputs).is_some()
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

    /// Starts, ends, axes or steps (1 to 4); `Some(None)` where they are left out.
    fn list<'a>(&'a self, inputs: Inputs<'a>, index: usize) -> Option<Option<Cow<'a, [i64]>>> {
        if let Some(attributes) = &self.attributes {
            let list = attributes.get(index - 1).and_then(Option::as_deref);
            return Some(list.map(Cow::Borrowed));
        }
        Some(match inputs.optional(index).ok()? {
            None => None,
            Some(t) if t.dtype() == DType::I64 => Some(t.data::<i64>().ok()?),
            Some(t) => {
                let wide = t.data::<i32>().ok()?.iter().map(|&n| n.into()).collect();
                Some(Cow::Owned(wide))
            }
        })
    }

    /// The first element and the size along each axis; `None` for other steps or odd inputs.
    fn ranges(&self, inputs: Inputs<'_>) -> Option<(Shape, Shape)> {
        let shape = inputs.tensor(0).ok()?.shape();
        let (starts, ends) = (self.list(inputs, 1)??, self.list(inputs, 2)??);
        let (axes, steps) = (self.list(inputs, 3)?, self.list(inputs, 4)?);
        let fits = |list: &Cow<'_, [i64]>| list.len() == starts.len();
        let plain = |steps: &Cow<'_, [i64]>| steps.iter().all(|&s| s == 1);
        if !fits(&ends) || !axes.as_ref().is_none_or(fits) || !steps.as_ref().is_none_or(plain) {
            return None;
        }
        let (mut first, mut sizes) = (Shape::filled(shape.len(), 0), Shape::from(shape));
        for (i, (&start, &end)) in starts.iter().zip(ends.iter()).enumerate() {
            let axis = match &axes {
                None => (i < shape.len()).then_some(i)?,
                Some(axes) => position(axes[i], shape.len())?,
            };
            let size = i64::try_from(shape[axis]).ok()?;
            let bound = |n: i64| if n < 0 { n.saturating_add(size) } else { n }.clamp(0, size);
            let (start, end) = (bound(start), bound(end));
            first[axis] = usize::try_from(start).ok()?;
            sizes[axis] = usize::try_from((end - start).max(0)).ok()?;
        }
        Some((first, sizes))
    }

    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (first, sizes) = self.ranges(cx.inputs).unwrap_or_default();
        let mut out = cx.state.memory.tensor::<T>(&sizes)?;
        let data = x.data::<T>()?;
        // From the innermost axis that is cut on, elements are neighbours.
        let cut = sizes
            .iter()
            .zip(x.shape())
            .rposition(|(size, n)| size != n)
            .unwrap_or(0);
        let inner: usize = x.shape().iter().skip(cut + 1).product();
        let len = sizes.get(cut).copied().unwrap_or(1) * inner;
        // Runs lie evenly along the axis before; the axes before that are gone through one place at a time.
        let outer = cut.saturating_sub(1);
        let mut at = Shape::filled(outer, 0);
        let runs = if cut > 0 { sizes[outer] } else { 1 };
        for out in out.data_mut::<T>()?.chunks_exact_mut((runs * len).max(1)) {
            let mut from = 0;
            for axis in 0..x.rank().min(cut + 1) {
                let i = first[axis] + at.get(axis).copied().unwrap_or(0);
                from = from * x.shape()[axis] + i;
            }
            let stride = x.shape().get(cut).copied().unwrap_or(1) * inner;
            let runs = data[from * inner..].chunks(stride.max(1));
            for (out, run) in out.chunks_exact_mut(len.max(1)).zip(runs) {
                copy_run(&run[..len], out);
            }
            advance(&mut at, &sizes);
        }
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// Copies a run; a call that copies memory would take longer than a short one.
fn copy_run<T: Copy>(run: &[T], out: &mut [T]) {
    if run.len() > 16 {
        out.copy_from_slice(run);
    } else {
        out.iter_mut().zip(run).for_each(|(o, &x)| *o = x);
    }
}

/// The next place in row-major order; the first one after the last.
fn advance(at: &mut [usize], sizes: &[usize]) {
    for (i, &size) in at.iter_mut().zip(sizes).rev() {
        *i += 1;
        if *i < size {
            return;
        }
        *i = 0;
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
