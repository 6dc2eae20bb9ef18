//! Reductions of f32 tensors over neighbouring axes.

use super::guarded::{self, Partial, is_f32};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape, element_count};
use onnx_ir::NodeId;
use onnx_ir::operator::Attrs;
use onnx_ir::operator::EvalError;
use runtime_kernels::norm::{Reduce as Kind, channel_sums, reduce};
use std::borrow::Cow;
use std::sync::Arc;

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
    let given = match &axes {
        Some(axes) => Some(axes.clone()),
        None => selector
            .constant_input(id, 1)
            .and_then(|axes| axes.into_vec::<i64>().ok()),
    };
    let spared = given.is_some_and(|mut axes| {
        axes.sort_unstable();
        axes == [0, 2, 3]
    });
    guarded::bind(
        selector,
        id,
        Reduce {
            kind,
            axes,
            keep,
            noop,
            spares_channels: spared,
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
    /// Whether it is known to go over all axes of images but that of the channels.
    spares_channels: bool,
}

impl Reduce {
    /// `[outer, channels, inner]` of a sum over all axes but that of the channels, and the shape of the result.
    fn channels(&self, inputs: Inputs<'_>) -> Option<([usize; 3], Shape)> {
        let shape = inputs.tensor(0).ok()?.shape();
        let axes = self.given(inputs)?;
        let axes: Shape = axes
            .iter()
            .map(|&a| position(a, shape.len()))
            .collect::<Option<_>>()?;
        let spared = (0..shape.len()).filter(|axis| *axis != 1);
        let mut all = spared.clone();
        let fits = self.kind == Kind::Sum
            && axes.len() + 1 == shape.len()
            && shape.len() > 2
            && all.all(|axis| axes.contains(&axis));
        if !fits {
            return None;
        }
        let mut result = Shape::filled(if self.keep { shape.len() } else { 1 }, 1);
        result[usize::from(self.keep)] = shape[1];
        let inner = element_count(&shape[2..]).unwrap_or(0);
        Some(([shape[0], shape[1], inner], result))
    }

    /// The axes: the attribute, or input 1.
    fn given<'a>(&'a self, inputs: Inputs<'a>) -> Option<Cow<'a, [i64]>> {
        match (&self.axes, inputs.optional(1).ok()?) {
            (Some(axes), _) => Some(Cow::Borrowed(&axes[..])),
            (None, Some(axes)) if axes.dtype() == DType::I64 => axes.data::<i64>().ok(),
            (None, Some(_)) => None,
            (None, None) => Some(Cow::Borrowed(&[][..])),
        }
    }

    /// `[outer, axis, inner]` and the shape of the result; `None` where the axes are not neighbours.
    fn extents(&self, inputs: Inputs<'_>) -> Option<([usize; 3], Shape)> {
        let shape = inputs.tensor(0).ok()?.shape();
        let axes = self.given(inputs)?;
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
            && (self.extents(inputs).is_some() || self.channels(inputs).is_some())
    }
    fn image_order(&self) -> ImageOrder {
        match self.spares_channels && self.kind == Kind::Sum && !self.keep {
            true => ImageOrder::LastBy(Arc::new(SumLast)),
            false => ImageOrder::Model,
        }
    }
    fn reads_image(&self, index: usize) -> bool {
        index == 0
    }
    fn writes_image(&self) -> bool {
        false
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        if let Some((extents, result)) = self.channels(cx.inputs) {
            return sum_channels(cx, extents, &result);
        }
        let (extents, result) = self.extents(cx.inputs).unwrap_or_default();
        if let (Kind::Sum, [1, rows, columns]) = (self.kind, extents)
            && columns > 1
        {
            return sum_channels(cx, [rows, columns, 1], &result);
        }
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

/// Sums per channel of `[outer, channels, inner]`.
fn sum_channels(
    cx: &mut StepContext<'_>,
    extents: [usize; 3],
    result: &[usize],
) -> Result<(), StepError> {
    let x = cx.inputs.tensor(0)?;
    let mut out = cx.state.memory.tensor::<f32>(result)?;
    channel_sums(
        &cx.state.context,
        &mut cx.state.scratch,
        extents,
        &x.data::<f32>()?,
        out.data_mut::<f32>()?,
    )?;
    cx.outputs.set(0, out);
    Ok(())
}

/// Sums per channel of an image with its channels last.
struct SumLast;

impl Step for SumLast {
    fn kernel(&self) -> &'static str {
        "reduce.f32"
    }
    fn reads_image(&self, index: usize) -> bool {
        index == 0
    }
    fn writes_image(&self) -> bool {
        false
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let shape = cx.inputs.tensor(0)?.shape();
        let &[ref outer @ .., channels] = shape else {
            let rule = "an image has channels";
            return Err(EvalError::rule(rule, format_args!("{shape:?}")).into());
        };
        let outer = element_count(outer).unwrap_or(0);
        sum_channels(cx, [outer, channels, 1], &[channels])
    }
}
