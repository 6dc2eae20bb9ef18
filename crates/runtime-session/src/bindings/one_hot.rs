//! A product of one-hot rows with constant weights, as exporters write an embedding that is no `Gather`: rows of a table.
//!
//! `Cast(x == [0, 1, .., n - 1])` has a 1 in column `x` of each row, and nothing where `x` is none of the classes. What the product and
//! all that follows it in its chain give for each class, and for none, is computed once, by the same kernel, so that
//! each result has the bits of the product.

use super::matmul::Linear;
use crate::error::StepError;
use crate::plan::Selector;
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Dim, ValueId};
use runtime_kernels::layout::gather_rows;
use runtime_kernels::{Context, Isa, KernelError, MatRef, Scratch};

/// Classes beyond which the one-hot rows of all of them take more memory than is worth it for a moment.
const MAX_CLASSES: usize = 2048;

/// The integers `[.., 1]` whose one-hot rows over `classes` columns `rows` is, where nobody else reads those.
pub(super) fn indices(
    selector: &mut Selector<'_>,
    rows: ValueId,
    classes: usize,
) -> Option<ValueId> {
    if !selector.fuses() || classes == 0 || classes > MAX_CLASSES {
        return None;
    }
    let (_, cast) = selector
        .interior(rows)
        .filter(|(_, node)| node.is("Cast"))?;
    let to = Attrs::new(&cast.attributes, 1, 0, 0)
        .dtype_opt("to")
        .ok()??;
    if to != DType::F32 {
        return None;
    }
    let (_, equal) = selector
        .interior(cast.input(0)?)
        .filter(|(_, node)| node.is("Equal"))?;
    if equal.attributes.get("axis").is_some() {
        return None;
    }
    let (a, b) = (equal.input(0)?, equal.input(1)?);
    [(a, b), (b, a)].into_iter().find_map(|(values, range)| {
        let range = selector.constant(range)?;
        let values = unexpanded(selector, values);
        let fits = is_range(&range, classes)
            && matches!(selector.dtype(values)?, DType::I32 | DType::I64)
            && range.rank() <= selector.rank(values)?
            && last_dim(selector, values)?.as_known() == Some(1);
        fits.then_some(values)
    })
}

/// What is repeated along the last axis alone, or the value itself.
fn unexpanded(selector: &Selector<'_>, value: ValueId) -> ValueId {
    let inner = || {
        let (_, node) = selector
            .interior(value)
            .filter(|(_, node)| node.is("Expand"))?;
        let inner = node.input(0)?;
        let (from, to) = (dims(selector, inner)?, dims(selector, value)?);
        let (_, from) = from.split_last()?;
        let (_, to) = to.split_last()?;
        let same = from.len() == to.len() && from.iter().zip(to).all(|(a, b)| a.is_same(b));
        same.then_some(inner)
    };
    inner().unwrap_or(value)
}

fn dims<'s>(selector: &'s Selector<'_>, value: ValueId) -> Option<&'s [Dim]> {
    selector
        .graph
        .value(value)
        .fact
        .as_tensor()?
        .shape
        .as_deref()
}

fn last_dim<'s>(selector: &'s Selector<'_>, value: ValueId) -> Option<&'s Dim> {
    dims(selector, value)?.last()
}

/// Whether a constant is `[.., 0, 1, .., classes - 1]` along its last axis, its only one.
fn is_range(range: &Tensor, classes: usize) -> bool {
    matches!(range.dtype(), DType::I32 | DType::I64)
        && range.shape().last() == Some(&classes)
        && range.len() == classes
        && range
            .to_i64_vec()
            .is_ok_and(|range| range.iter().copied().eq(0..classes as i64))
}

/// Rows of a table by class; input 0 holds the classes.
pub(super) struct OneHotLinear {
    classes: usize,
    columns: usize,
    /// A row of each class, and one of none.
    table: Vec<f32>,
}

impl OneHotLinear {
    /// The table of what `linear` gives for the one-hot row of each class, and for a row of zeros.
    ///
    /// # Errors
    /// Those of the product.
    pub(super) fn new(linear: &Linear, isa: Isa) -> Result<Self, KernelError> {
        let (classes, columns) = (linear.weight.rows(), linear.weight.cols());
        let mut rows = vec![0.0; (classes + 1) * classes];
        for class in 0..classes {
            rows[class * classes + class] = 1.0;
        }
        let rows = MatRef::row_major(&rows, classes + 1, classes)?;
        let mut table = vec![0.0; (classes + 1) * columns];
        let context = Context::default().with_isa(isa);
        linear.multiply(&context, &mut Scratch::new(), rows, None, &mut table)?;
        Ok(Self {
            classes,
            columns,
            table,
        })
    }

    fn gather(
        &self,
        cx: &mut StepContext<'_>,
        class: impl Fn(usize) -> i64 + Sync,
    ) -> Result<(), StepError> {
        let mut shape = Shape::from(cx.inputs.tensor(0)?.shape());
        let last = shape.last_mut().filter(|last| **last == 1);
        *last.ok_or(StepError::from(EvalError::rule(
            "classes of one-hot rows stand along an axis of one",
            "a changed shape",
        )))? = self.columns;
        let row = |i| match usize::try_from(class(i)) {
            Ok(class) if class < self.classes => class,
            _ => self.classes,
        };
        let mut out = cx.state.memory.tensor::<f32>(&shape)?;
        let y = out.data_mut::<f32>()?;
        gather_rows(&cx.state.context, self.columns, &self.table, row, y)?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Step for OneHotLinear {
    fn kernel(&self) -> &'static str {
        "gather.one-hot"
    }

    fn looks_up(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let classes = cx.inputs.tensor(0)?;
        if classes.dtype() == DType::I32 {
            let classes = classes.data::<i32>()?;
            return self.gather(cx, |i| classes[i].into());
        }
        let classes = classes.data::<i64>()?;
        self.gather(cx, |i| classes[i])
    }
}
