//! Reductions of f32 tensors over neighbouring axes.

use super::guarded::{self, Partial, is_f32};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Shape, element_count};
use onnx_ir::NodeId;
use onnx_ir::operator::Attrs;
use runtime_kernels::norm::{Reduce as Kind, reduce};
use std::borrow::Cow;

/// Binds a reduction; `None` for nodes that are none.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let kind = match node.op_type.as_str() {
        "ReduceSum" => Kind::Sum,
        "ReduceMean" => Kind::Mean,
        "ReduceMax" => Kind::Max,
        "ReduceMin" => Kind::Min,
        "ReduceSumSquare" => Kind::SumSquare,
        "ReduceL1" => Kind::L1,
        "ReduceL2" => Kind::L2,
        _ => return Ok(None),
    };
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let (Ok(keep), Ok(axes), Ok(noop)) = (
        attrs.flag_or("keepdims", true),
        attrs.ints_opt("axes"),
        attrs.flag_or("noop_with_empty_axes", false),
    ) else {
        return Ok(None);
    };
    guarded::bind(
        selector,
        id,
        Reduce {
            kind,
            axes,
            keep,
            noop,
        },
    )
    .map(Some)
}

struct Reduce {
    kind: Kind,
    /// The attribute of older opsets; else input 1.
    axes: Option<Vec<i64>>,
    keep: bool,
    /// Whether no axes mean that nothing is reduced.
    noop: bool,
}

impl Reduce {
    /// `[outer, axis, inner]` and the shape of the result; `None` where the axes are not neighbours.
    fn extents(&self, inputs: Inputs<'_>) -> Option<([usize; 3], Shape)> {
        let shape = inputs.tensor(0).ok()?.shape();
        let axes = match (&self.axes, inputs.optional(1).ok()?) {
            (Some(axes), _) => Cow::Borrowed(&axes[..]),
            (None, Some(axes)) if axes.dtype() == DType::I64 => axes.data::<i64>().ok()?,
            (None, Some(_)) => return None,
            (None, None) => Cow::Borrowed(&[][..]),
        };
        let axes = axes.iter().map(|&a| position(a, shape.len()));
        let mut axes: Shape = axes.collect::<Option<_>>()?;
        if axes.is_empty() {
            if self.noop {
                return None;
            }
            axes = (0..shape.len()).collect();
        }
        axes.sort_unstable();
        let (&first, &last) = (axes.first()?, axes.last()?);
        if last - first + 1 != axes.len() || axes.windows(2).any(|w| w[0] == w[1]) {
            return None;
        }
        let size = |sizes: &[usize]| element_count(sizes).unwrap_or(0);
        let extents = [
            size(&shape[..first]),
            size(&shape[first..=last]),
            size(&shape[last + 1..]),
        ];
        let mut result = Shape::from(&shape[..first]);
        result.extend(axes.iter().filter(|_| self.keep).map(|_| 1));
        result.extend(shape[last + 1..].iter().copied());
        Some((extents, result))
    }
}

impl Partial for Reduce {
    fn kernel(&self) -> &'static str {
        "reduce.f32"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0)
            && inputs.tensor(0).is_ok_and(|x| !x.is_empty())
            && self.extents(inputs).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (extents, result) = self.extents(cx.inputs).unwrap_or_default();
        let x = cx.inputs.tensor(0)?;
        let mut out = cx.state.memory.tensor::<f32>(&result)?;
        reduce(
            &cx.state.context,
            self.kind,
            extents,
            &x.data::<f32>()?,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}
