//! `BatchNormalization` by the statistics of the batch, and `BatchNormalizationGrad`, in f32.

use super::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::Tensor;
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId};
use runtime_kernels::norm::{Statistics, batch_norm_grad, batch_norm_training};
use std::sync::Arc;

/// Binds a batch normalisation while training; `None` for one that is given its statistics.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let Some(training) = Training::of(node).filter(|_| selector.opset(node) >= 14) else {
        return Ok(None);
    };
    guarded::bind(selector, id, training).map(Some)
}

/// Binds its adjoint; `None` where the adjoints of given statistics are asked for.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind_grad(
    selector: &mut Selector<'_>,
    id: NodeId,
) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let (Ok(epsilon), Ok(training)) = (
        attrs.f32_or("epsilon", 1e-5),
        attrs.flag_or("training_mode", false),
    ) else {
        return Ok(None);
    };
    if (3..5).any(|i| node.output(i).is_some()) {
        return Ok(None);
    }
    let grad = Grad {
        epsilon,
        training,
        wants_dx: node.output(0).is_some(),
    };
    guarded::bind(selector, id, grad).map(Some)
}

/// In which order the axes of images are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axes {
    Model,
    Last,
}

impl Axes {
    /// `[outer, channels, inner]`; `None` for a tensor without axes.
    fn extents(self, shape: &[usize]) -> Option<[usize; 3]> {
        let count = |sizes: &[usize]| sizes.iter().product();
        match (self, shape) {
            (_, []) => None,
            // One axis is the batch of a single channel.
            (_, &[outer]) => Some([outer, 1, 1]),
            (Self::Model, &[outer, channels, ref inner @ ..]) => {
                Some([outer, channels, count(inner)])
            }
            (Self::Last, &[ref outer @ .., channels]) => Some([count(outer), channels, 1]),
        }
    }
}

/// Whether inputs from `first` on are f32 vectors with a number per channel.
fn vectors(inputs: Inputs<'_>, range: std::ops::Range<usize>, channels: usize) -> bool {
    let mut range = range;
    range.all(|i| is_f32(inputs, i) && inputs.tensor(i).is_ok_and(|t| *t.shape() == [channels]))
}

/// The extents of an image that the kernels take.
fn image(inputs: Inputs<'_>, index: usize, axes: Axes) -> Option<[usize; 3]> {
    let x = inputs.tensor(index).ok()?;
    axes.extents(x.shape())
        .filter(|_| is_f32(inputs, index) && !x.is_empty())
}

/// What is wrong with inputs that the kernels do not take.
fn refused(inputs: Inputs<'_>) -> StepError {
    let shapes: Vec<_> = (0..5)
        .filter_map(|i| Some(inputs.tensor(i).ok()?.shape().to_vec()))
        .collect();
    let rule = "a batch normalisation takes an image with elements and numbers per channel";
    EvalError::rule(rule, format_args!("{shapes:?}")).into()
}

/// Statistics of the batch; inputs are `x`, `scale`, `bias`, running mean and variance, outputs `y` and the next running ones.
#[derive(Clone, Copy)]
struct Training {
    epsilon: f32,
    momentum: f32,
}

impl Training {
    fn of(node: &Node) -> Option<Self> {
        if !node.is("BatchNormalization") {
            return None;
        }
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let training = attrs.flag_or("training_mode", false).ok()?;
        (training && node.outputs().len() <= 3).then_some(Self {
            epsilon: attrs.f32_or("epsilon", 1e-5).ok()?,
            momentum: attrs.f32_or("momentum", 0.9).ok()?,
        })
    }

    fn takes(inputs: Inputs<'_>, axes: Axes) -> Option<[usize; 3]> {
        image(inputs, 0, axes).filter(|e| vectors(inputs, 1..5, e[1]))
    }

    fn normalise(self, cx: &mut StepContext<'_>, axes: Axes) -> Result<(), StepError> {
        let extents = Self::takes(cx.inputs, axes).ok_or_else(|| refused(cx.inputs))?;
        let channels = extents[1];
        let x = cx.inputs.tensor(0)?;
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|i| cx.inputs.tensor(i));
        let mut y = cx.state.memory.tensor::<f32>(x.shape())?;
        let mut next_mean = cx.state.memory.tensor::<f32>(&[channels])?;
        let mut next_variance = cx.state.memory.tensor::<f32>(&[channels])?;
        batch_norm_training(
            &cx.state.context,
            &mut cx.state.scratch,
            extents,
            self.epsilon,
            &x.data::<f32>()?,
            (&scale?.data::<f32>()?, &bias?.data::<f32>()?),
            (
                next_mean.data_mut::<f32>()?,
                next_variance.data_mut::<f32>()?,
            ),
            y.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, y);
        for (index, (old, mut next)) in [(mean?, next_mean), (variance?, next_variance)]
            .into_iter()
            .enumerate()
        {
            let old = old.data::<f32>()?;
            let both = next.data_mut::<f32>()?.iter_mut().zip(old.iter());
            both.for_each(|(next, old)| {
                *next = old * self.momentum + *next * (1.0 - self.momentum)
            });
            cx.outputs.set(index + 1, next);
        }
        Ok(())
    }
}

impl Partial for Training {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::LastBy(Arc::new(Last(*self)))
    }
    fn reads_image(&self, index: usize) -> bool {
        index == 0
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        Self::takes(inputs, Axes::Model).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        self.normalise(cx, Axes::Model)
    }
}

/// The adjoint; inputs are `dy`, `x`, `scale` and, unless training, mean and variance, outputs `dx`, `dscale`, `dbias`.
#[derive(Clone, Copy)]
struct Grad {
    epsilon: f32,
    training: bool,
    wants_dx: bool,
}

impl Grad {
    fn takes(self, inputs: Inputs<'_>, axes: Axes) -> Option<[usize; 3]> {
        let given = if self.training { 2..3 } else { 2..5 };
        let same = |a: &Tensor, b: &Tensor| a.shape() == b.shape();
        let extents = image(inputs, 1, axes).filter(|e| vectors(inputs, given, e[1]))?;
        let (dy, x) = (inputs.tensor(0).ok()?, inputs.tensor(1).ok()?);
        (is_f32(inputs, 0) && same(dy, x)).then_some(extents)
    }

    fn adjoint(self, cx: &mut StepContext<'_>, axes: Axes) -> Result<(), StepError> {
        let extents = self
            .takes(cx.inputs, axes)
            .ok_or_else(|| refused(cx.inputs))?;
        let channels = extents[1];
        let (dy, x, scale) = (
            cx.inputs.tensor(0)?,
            cx.inputs.tensor(1)?,
            cx.inputs.tensor(2)?,
        );
        let (mean, variance) = (cx.inputs.optional(3)?, cx.inputs.optional(4)?);
        let mean = mean.map(Tensor::data::<f32>).transpose()?;
        let variance = variance.map(Tensor::data::<f32>).transpose()?;
        let statistics = match (&mean, &variance) {
            (Some(mean), Some(variance)) if !self.training => Statistics::Given(mean, variance),
            _ => Statistics::OfBatch,
        };
        let wanted: &[usize] = if self.wants_dx { x.shape() } else { &[0] };
        let mut dx = cx.state.memory.tensor::<f32>(wanted)?;
        let mut dscale = cx.state.memory.tensor::<f32>(&[channels])?;
        let mut dbias = cx.state.memory.tensor::<f32>(&[channels])?;
        batch_norm_grad(
            &cx.state.context,
            &mut cx.state.scratch,
            extents,
            self.epsilon,
            statistics,
            (&dy.data::<f32>()?, &x.data::<f32>()?, &scale.data::<f32>()?),
            (dscale.data_mut::<f32>()?, dbias.data_mut::<f32>()?),
            dx.data_mut::<f32>()?,
        )?;
        for (index, value) in [dx, dscale, dbias].into_iter().enumerate() {
            cx.outputs.set(index, value);
        }
        Ok(())
    }
}

impl Partial for Grad {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::LastBy(Arc::new(Last(*self)))
    }
    fn reads_image(&self, index: usize) -> bool {
        index < 2
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        self.takes(inputs, Axes::Model).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        self.adjoint(cx, Axes::Model)
    }
}

/// The same of images with their channels last.
struct Last<T>(T);

impl Step for Last<Training> {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }
    fn reads_image(&self, index: usize) -> bool {
        self.0.reads_image(index)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        self.0.normalise(cx, Axes::Last)
    }
}

impl Step for Last<Grad> {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }
    fn reads_image(&self, index: usize) -> bool {
        self.0.reads_image(index)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        self.0.adjoint(cx, Axes::Last)
    }
}
