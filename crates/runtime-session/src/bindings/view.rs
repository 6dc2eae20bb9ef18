//! Operators that give the same data another shape: nothing is copied.

use super::guarded::{self, Partial};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape, Tensor, element_count};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{NodeId, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Binds `Identity`.
pub(crate) fn bind_identity(selector: &mut Selector<'_>, id: NodeId) -> Bound {
    let node = selector.graph.node(id);
    Bound {
        step: Arc::new(Identity),
        inputs: node.inputs().iter().take(1).copied().collect(),
        outputs: node.outputs().iter().take(1).copied().collect(),
    }
}

/// Binds `Reshape` with the shape as an input.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind_reshape(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    let node = selector.graph.node(id);
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let allow_zero = attrs.flag_or("allowzero", false).unwrap_or(false);
    guarded::bind(selector, id, Reshape { allow_zero })
}

/// Binds `Squeeze`, `Unsqueeze` with their axes as an input, or `Flatten`.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind_axes(
    selector: &mut Selector<'_>,
    id: NodeId,
) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let change = match node.op_type.as_str() {
        "Squeeze" => Change::Squeeze,
        "Unsqueeze" => Change::Unsqueeze,
        _ => Change::Flatten,
    };
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let (Ok(axes), Ok(axis)) = (attrs.ints_opt("axes"), attrs.int_or("axis", 1)) else {
        return Ok(None);
    };
    guarded::bind(selector, id, Axes { change, axes, axis }).map(Some)
}

/// A step that gives its input on.
pub(crate) fn identity() -> Arc<dyn Step> {
    Arc::new(Identity)
}

enum Change {
    Squeeze,
    Unsqueeze,
    Flatten,
}

/// A shape with axes of size 1 taken out or put in, or made a matrix.
struct Axes {
    change: Change,
    /// The attribute of older opsets; else input 1.
    axes: Option<Vec<i64>>,
    /// Of `Flatten`.
    axis: i64,
}

impl Axes {
    /// The new shape; `None` where the axes do not fit.
    fn shape(&self, shape: &[usize], input: Option<&Tensor>) -> Option<Shape> {
        let rank = shape.len();
        if matches!(self.change, Change::Flatten) {
            let axis = if self.axis == i64::try_from(rank).ok()? {
                rank
            } else {
                position(self.axis, rank)?
            };
            let (rows, cols) = shape.split_at(axis);
            return Some([element_count(rows)?, element_count(cols)?].into());
        }
        let axes = match (&self.axes, input) {
            (Some(axes), _) => Some(Cow::Borrowed(&axes[..])),
            (None, Some(axes)) => Some(axes.data::<i64>().ok()?),
            (None, None) => None,
        };
        match (&self.change, axes) {
            (Change::Unsqueeze, Some(axes)) => {
                let rank = rank + axes.len();
                let axes = axes.iter().map(|&a| position(a, rank));
                let axes: Shape = axes.collect::<Option<_>>()?;
                let mut rest = shape.iter();
                let size = |i: usize| {
                    if axes.contains(&i) {
                        Some(1)
                    } else {
                        rest.next().copied()
                    }
                };
                let sizes: Shape = (0..rank).map(size).collect::<Option<_>>()?;
                rest.next().is_none().then_some(sizes)
            }
            (Change::Squeeze, Some(axes)) => {
                let axes = axes.iter().map(|&a| position(a, rank));
                let axes: Shape = axes.collect::<Option<_>>()?;
                let fits = axes.iter().all(|&a| shape[a] == 1);
                let kept = shape.iter().enumerate().filter(|(i, _)| !axes.contains(i));
                fits.then(|| kept.map(|(_, &n)| n).collect())
            }
            (Change::Squeeze, None) => Some(shape.iter().copied().filter(|&n| n != 1).collect()),
            _ => None,
        }
    }
}

impl Partial for Axes {
    fn kernel(&self) -> &'static str {
        "view"
    }
    fn is_view(&self) -> bool {
        true
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let (Ok(x), Ok(axes)) = (inputs.tensor(0), inputs.optional(1)) else {
            return false;
        };
        self.shape(x.shape(), axes).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let shape = self
            .shape(x.shape(), cx.inputs.optional(1)?)
            .unwrap_or_default();
        cx.outputs.set(0, x.reshape(&shape)?);
        Ok(())
    }
}

struct Identity;

impl Step for Identity {
    fn kernel(&self) -> &'static str {
        "view"
    }
    fn is_view(&self) -> bool {
        true
    }
    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let value = cx.reuse.take().or_else(|| cx.inputs.value(0).cloned());
        cx.outputs
            .set(0, value.ok_or(EvalError::MissingInput { index: 0 })?);
        Ok(())
    }
}

struct Reshape {
    allow_zero: bool,
}

impl Partial for Reshape {
    fn kernel(&self) -> &'static str {
        "view"
    }
    fn is_view(&self) -> bool {
        true
    }
    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        matches!(inputs.value(0), Some(Value::Tensor(_)))
            && matches!(inputs.optional(1), Ok(Some(shape)) if shape.dtype() == DType::I64)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let wanted = cx.inputs.tensor(1)?.data::<i64>()?;
        let x = match cx.reuse.take() {
            Some(Value::Tensor(tensor)) => tensor,
            _ => cx.inputs.tensor(0)?.clone(),
        };
        let shape = resolve(&wanted, x.shape(), x.len(), self.allow_zero);
        let shape = shape.ok_or_else(|| {
            EvalError::rule(
                "the new shape must have as many elements as the tensor",
                format_args!("{:?} to {wanted:?}", x.shape()),
            )
        })?;
        cx.outputs.set(0, x.reshape(&shape)?);
        Ok(())
    }
}

/// The sizes that `Reshape` means: 0 copies the size of the input, -1 takes what is left.
fn resolve(wanted: &[i64], shape: &[usize], len: usize, allow_zero: bool) -> Option<Shape> {
    if allow_zero && wanted.contains(&0) && wanted.contains(&-1) {
        return None;
    }
    let mut sizes = Shape::new();
    let mut open = None;
    for (i, &n) in wanted.iter().enumerate() {
        sizes.push(match n {
            -1 if open.is_some() => return None,
            -1 => {
                open = Some(i);
                1
            }
            0 if !allow_zero => *shape.get(i)?,
            n => usize::try_from(n).ok()?,
        });
    }
    if let Some(open) = open {
        let known = element_count(&sizes)?;
        // Nothing is left over of a size of 0: any size would do, 0 is what runtimes take.
        sizes[open] = len.checked_div(known).unwrap_or(0);
    }
    Some(sizes)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn zero_copies_a_size_and_minus_one_takes_the_rest() {
        assert_eq!(
            resolve(&[0, -1], &[2, 3, 4], 24, false),
            Some([2, 12].into())
        );
        assert_eq!(resolve(&[-1], &[2, 3], 6, false), Some([6].into()));
        assert_eq!(resolve(&[0, 3], &[0, 3], 0, true), Some([0, 3].into()));
        assert_eq!(resolve(&[-1, 0], &[0, 0], 0, true), None);
        assert_eq!(
            resolve(&[5, 0, -1], &[4, 0], 0, false),
            Some([5, 0, 0].into())
        );
        assert_eq!(resolve(&[-1, -1], &[4], 4, false), None);
        assert_eq!(resolve(&[2, 2, 0], &[4], 4, false), None);
    }
}
