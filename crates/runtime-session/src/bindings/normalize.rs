//! Softmax and normalisations in f32.

use super::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::Tensor;
use onnx_ir::operator::Attrs;
use onnx_ir::{Node, NodeId};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::norm::{
    Softmax as Kind, affine_channels, group_norm, layer_norm, rms_norm, softmax,
};

/// Binds a normalisation; `None` for nodes that are none, or that give more than the normalised tensor.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    if let Some(kernel) = Softmax::of(node, selector.opset(node)) {
        return guarded::bind(selector, id, kernel).map(Some);
    }
    match Norm::of(node) {
        Some(kernel) if node.outputs().iter().skip(1).all(Option::is_none) => {
            guarded::bind(selector, id, kernel).map(Some)
        }
        _ => Ok(None),
    }
}

struct Softmax {
    kind: Kind,
    axis: i64,
    /// Up to opset 12 all axes from `axis` on are taken together.
    flattens: bool,
}

impl Softmax {
    fn of(node: &Node, opset: i64) -> Option<Self> {
        let kind = match node.op_type.as_str() {
            "Softmax" => Kind::Plain,
            "LogSoftmax" => Kind::Log,
            _ => return None,
        };
        let flattens = opset < 13;
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let axis = attrs.int_or("axis", if flattens { 1 } else { -1 }).ok()?;
        Some(Self {
            kind,
            axis,
            flattens,
        })
    }

    /// `[outer, axis, inner]`.
    fn extents(&self, shape: &[usize]) -> Option<[usize; 3]> {
        let axis = position(self.axis, shape.len())?;
        let (outer, rest) = shape.split_at(axis);
        let outer = outer.iter().product();
        if self.flattens {
            return Some([outer, rest.iter().product(), 1]);
        }
        let (&axis, inner) = rest.split_first()?;
        Some([outer, axis, inner.iter().product()])
    }
}

impl Partial for Softmax {
    fn kernel(&self) -> &'static str {
        "softmax.f32"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0)
            && inputs
                .tensor(0)
                .is_ok_and(|x| !x.is_empty() && self.extents(x.shape()).is_some())
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let extents = self.extents(x.shape()).unwrap_or_default();
        let mut out = cx.state.memory.tensor::<f32>(x.shape())?;
        softmax(
            &cx.state.context,
            &mut cx.state.scratch,
            self.kind,
            extents,
            &x.data::<f32>()?,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// A normalisation with its scale in input 1 and, mostly, its offset in input 2.
enum Norm {
    Layer { axis: i64, epsilon: f32 },
    Rms { axis: i64, epsilon: f32 },
    Batch { epsilon: f32 },
    Group { groups: Option<usize>, epsilon: f32 },
}

impl Norm {
    fn of(node: &Node) -> Option<Self> {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let epsilon = attrs.f32_or("epsilon", 1e-5).ok()?;
        let axis = attrs.int_or("axis", -1).ok()?;
        let plain_precision = attrs.int_or("stash_type", 1).ok()? == 1;
        Some(match node.op_type.as_str() {
            "LayerNormalization" if plain_precision => Self::Layer { axis, epsilon },
            "RMSNormalization" if plain_precision => Self::Rms { axis, epsilon },
            "BatchNormalization" if !attrs.flag_or("training_mode", false).ok()? => {
                Self::Batch { epsilon }
            }
            "InstanceNormalization" => Self::Group {
                groups: None,
                epsilon,
            },
            "GroupNormalization" if plain_precision => Self::Group {
                groups: Some(attrs.size_or("num_groups", 0).ok()?),
                epsilon,
            },
            _ => return None,
        })
    }

    /// The shape of scale and offset for an input of this shape, but for leading ones.
    fn parameters<'s>(&self, shape: &'s [usize]) -> Option<&'s [usize]> {
        match self {
            Self::Layer { axis, .. } | Self::Rms { axis, .. } => {
                shape.get(position(*axis, shape.len())?..)
            }
            Self::Batch { .. } | Self::Group { .. } => shape.get(1..2),
        }
    }
}

impl Partial for Norm {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let Ok(x) = inputs.tensor(0) else {
            return false;
        };
        if x.is_empty() {
            return false;
        }
        let Some(shape) = self.parameters(x.shape()).map(without_leading_ones) else {
            return false;
        };
        let fits = |t: &Tensor| without_leading_ones(t.shape()) == shape;
        let parameter = |i| is_f32(inputs, i) && inputs.tensor(i).is_ok_and(fits);
        let absent = |i| matches!(inputs.optional(i), Ok(None));
        let rest = match self {
            Self::Layer { .. } => absent(2) || parameter(2),
            Self::Rms { .. } => true,
            Self::Batch { .. } => (2..5).all(parameter),
            Self::Group { groups, .. } => {
                parameter(2) && groups.is_none_or(|g| g > 0 && x.shape()[1] % g == 0)
            }
        };
        is_f32(inputs, 0) && parameter(1) && rest
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let data = x.data::<f32>()?;
        let gamma = cx.inputs.tensor(1)?.data::<f32>()?;
        let beta = match cx.inputs.optional(2)? {
            None => Default::default(),
            Some(beta) => beta.data::<f32>()?,
        };
        let mut out = cx.state.memory.tensor::<f32>(x.shape())?;
        let context = &cx.state.context;
        let [batch, channels] = [0, 1].map(|i| x.shape().get(i).copied().unwrap_or(1));
        let inner = x.shape().iter().skip(2).product();
        match *self {
            Self::Layer { epsilon, .. } => layer_norm(
                context,
                epsilon,
                &data,
                &gamma,
                &beta,
                out.data_mut::<f32>()?,
            )?,
            Self::Rms { epsilon, .. } => {
                rms_norm(context, epsilon, &data, &gamma, out.data_mut::<f32>()?)?
            }
            Self::Batch { epsilon } => {
                let (mean, variance) = (
                    cx.inputs.tensor(3)?.data::<f32>()?,
                    cx.inputs.tensor(4)?.data::<f32>()?,
                );
                let mut factors = cx.state.memory.tensor::<f32>(&[2, channels])?;
                let (scale, offset) = factors.data_mut::<f32>()?.split_at_mut(channels);
                for (c, (s, o)) in scale.iter_mut().zip(offset.iter_mut()).enumerate() {
                    *s = gamma[c] / (variance[c] + epsilon).sqrt();
                    *o = beta[c] - mean[c] * *s;
                }
                let extents = [batch, channels, inner];
                affine_channels(
                    context,
                    extents,
                    &data,
                    (&*scale, &*offset),
                    Activation::None,
                    out.data_mut::<f32>()?,
                )?;
                cx.state.memory.recycle(factors.into());
            }
            Self::Group { groups, epsilon } => {
                let groups = groups.unwrap_or(channels);
                group_norm(
                    context,
                    [batch, channels, inner],
                    groups,
                    epsilon,
                    &data,
                    (&gamma, &beta),
                    out.data_mut::<f32>()?,
                )?;
            }
        }
        cx.outputs.set(0, out);
        Ok(())
    }
}

fn without_leading_ones(shape: &[usize]) -> &[usize] {
    let ones = shape.iter().take_while(|&&size| size == 1).count();
    &shape[ones..]
}

/// An axis that may count from the end.
pub(crate) fn position(axis: i64, rank: usize) -> Option<usize> {
    let signed = i64::try_from(rank).ok()?;
    let axis = if axis < 0 {
        axis.checked_add(signed)?
    } else {
        axis
    };
    usize::try_from(axis).ok().filter(|&a| a < rank)
}
