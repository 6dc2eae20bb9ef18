//! `fold-batch-norm`: `BatchNormalization` behind a convolution or a linear layer becomes part of it.
//!
//! `W' = W * g`, `b' = (b - mean) * g + beta`, with `g = gamma / sqrt(var + epsilon)` per output channel
//! (Jacob et al. 2018, arXiv:1712.05877, sec. 3.2). Computed in f64, stored in f32.
//! Needs: inferred shapes. Changes: float rounding only. Keeps: graph inputs and outputs.

use crate::graph::{Attribute, Node, NodeId};
use crate::ops::normalization::{BatchGrouping, BatchNormalization, BatchStatistics};
use crate::rewrite::{NewNode, Patch, PatchValue, Rewrite, RewriteContext, Skip};
use compress_tensor::Tensor;

/// Folds `BatchNormalization` into the `Conv`, `ConvTranspose` or `Gemm` that feeds it.
pub struct FoldBatchNorm;

impl Rewrite for FoldBatchNorm {
    fn name(&self) -> &'static str {
        "fold-batch-norm"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["BatchNormalization"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let bn = cx.graph.node(id);
        let (Some(x), Some(y)) = (bn.input(0), bn.output(0)) else {
            return Err(Skip::NotThisPattern);
        };
        let Some(producer) = cx.graph.producer(x) else {
            return Err(Skip::NotThisPattern);
        };
        let layer = cx.graph.node(producer);
        let axis = weight_axis(layer).ok_or(Skip::NotThisPattern)?;
        if cx.graph.sole_use(x).is_none() {
            return Err(Skip::Because("the layer's result is read elsewhere too"));
        }
        let given = cx.operator::<BatchNormalization>(id).is_some_and(|bn| {
            bn.statistics == BatchStatistics::Given && bn.grouping == BatchGrouping::Channel
        });
        if !given || bn.outputs().iter().skip(1).flatten().next().is_some() {
            return Err(Skip::Because("it is in training mode, or not by channel"));
        }
        if replaceable(cx, bn) || replaceable(cx, layer) {
            return Err(Skip::Because(
                "its statistics or the layer's weights are inputs with defaults, which callers may replace",
            ));
        }
        let gain = Gain::of(cx, bn).ok_or(Skip::Because("its statistics are not constant f32"))?;
        let weight = cx
            .constant_input(layer, 1)
            .ok_or(Skip::Because("the layer's weight is not constant"))?;
        let bias = match layer.input(2) {
            None => None,
            Some(b) => Some(
                cx.graph
                    .constant(b)
                    .ok_or(Skip::Because("the layer's bias is not constant"))?,
            ),
        };
        let channels = gain.scale.len();
        let axis = if is_transposed_conv(layer) {
            Axis::PerGroup(groups(layer))
        } else {
            Axis::At(axis)
        };
        let new_weight = scale_weight(weight, &axis, &gain.scale)
            .ok_or(Skip::Because("the weight does not have its channels"))?;
        let new_bias = fold_bias(bias, beta(layer), &gain)
            .ok_or(Skip::Because("the bias does not have its channels"))?;
        debug_assert_eq!(new_bias.len(), channels);

        let mut patch = Patch::new();
        let name = |i: usize, kind: &str| match layer.input(i) {
            Some(v) => format!("{}_folded", cx.graph.name_of(v)),
            None => format!("{}_{kind}", cx.graph.name_of(y)),
        };
        let weight = patch.constant(&name(1, "weight"), new_weight);
        let bias = patch.constant(&name(2, "bias"), new_bias);
        let mut new = NewNode::like(layer);
        if layer.is("Gemm") {
            new = new.with("beta", 1.0f32);
        }
        let input: PatchValue = layer.input(0).ok_or(Skip::NotThisPattern)?.into();
        let folded = patch.node(new, &[input, weight, bias]);
        patch.replace(y, folded);
        Ok(patch)
    }
}

/// Whether weights or statistics of a node are inputs of the graph that have a default.
fn replaceable(cx: &RewriteContext<'_>, node: &Node) -> bool {
    let mut weights = node.inputs().iter().skip(1).flatten();
    weights.any(|&v| cx.graph.is_input(v) && cx.graph.initializer(v).is_some())
}

/// The axis of the weight that holds output channels; `None` for operators that cannot take it in.
fn weight_axis(layer: &Node) -> Option<usize> {
    match layer.op_type.as_str() {
        _ if !layer.domain.is_empty() && layer.domain != "ai.onnx" => None,
        "Conv" => Some(0),
        "ConvTranspose" => Some(1),
        "Gemm" => Some(match layer.attributes.get("transB") {
            Some(Attribute::Int(1)) => 0,
            _ => 1,
        }),
        _ => None,
    }
}

fn is_transposed_conv(layer: &Node) -> bool {
    layer.is("ConvTranspose")
}

fn groups(layer: &Node) -> usize {
    match layer.attributes.get("group") {
        Some(Attribute::Int(n)) => usize::try_from(*n).unwrap_or(0),
        _ => 1,
    }
}

/// The factor of `Gemm`'s bias.
fn beta(layer: &Node) -> f64 {
    match layer.attributes.get("beta") {
        Some(Attribute::Float(b)) if layer.is("Gemm") => f64::from(*b),
        _ => 1.0,
    }
}

/// What batch normalization does per channel: `y = x * scale + (shift - mean * scale)`.
struct Gain {
    /// `gamma / sqrt(var + epsilon)`.
    scale: Vec<f64>,
    mean: Vec<f64>,
    beta: Vec<f64>,
}

impl Gain {
    fn of(cx: &RewriteContext<'_>, bn: &Node) -> Option<Self> {
        let stat = |i: usize| -> Option<Vec<f64>> {
            Some(
                cx.constant_input(bn, i)?
                    .data::<f32>()
                    .ok()?
                    .iter()
                    .map(|&v| v.into())
                    .collect(),
            )
        };
        let (gamma, beta, mean, var) = (stat(1)?, stat(2)?, stat(3)?, stat(4)?);
        let epsilon = match bn.attributes.get("epsilon") {
            Some(Attribute::Float(e)) => f64::from(*e),
            _ => f64::from(1e-5f32),
        };
        let n = gamma.len();
        if [beta.len(), mean.len(), var.len()] != [n; 3] {
            return None;
        }
        let scale = gamma
            .iter()
            .zip(&var)
            .map(|(g, v)| g / (v + epsilon).sqrt())
            .collect();
        Some(Self { scale, mean, beta })
    }
}

/// Where the output channels stand in the weight.
enum Axis {
    At(usize),
    /// `[in, out / groups, ...]` with output channel `g * (out / groups) + j`, `g` the group of the input channel.
    PerGroup(usize),
}

fn scale_weight(weight: &Tensor, axis: &Axis, scale: &[f64]) -> Option<Tensor> {
    let shape = weight.shape();
    let data = weight.data::<f32>().ok()?;
    let scaled: Vec<f32> = match *axis {
        Axis::At(axis) => {
            if *shape.get(axis)? != scale.len() {
                return None;
            }
            let inner: usize = shape[axis + 1..].iter().product();
            let channel = |i: usize| i / inner.max(1) % scale.len();
            data.iter()
                .enumerate()
                .map(|(i, &w)| (f64::from(w) * scale[channel(i)]) as f32)
                .collect()
        }
        Axis::PerGroup(groups) => {
            let (inputs, per_group) = (*shape.first()?, *shape.get(1)?);
            if groups == 0 || inputs % groups != 0 || per_group.checked_mul(groups)? != scale.len()
            {
                return None;
            }
            let inner: usize = shape[2..].iter().product();
            let channel = |i: usize| {
                let (input, j) = (i / (inner * per_group).max(1), i / inner.max(1) % per_group);
                input / (inputs / groups) * per_group + j
            };
            data.iter()
                .enumerate()
                .map(|(i, &w)| (f64::from(w) * scale[channel(i)]) as f32)
                .collect()
        }
    };
    Tensor::from_vec(shape, scaled).ok()
}

fn fold_bias(bias: Option<&Tensor>, factor: f64, gain: &Gain) -> Option<Tensor> {
    let n = gain.scale.len();
    let bias: Vec<f64> = match bias {
        None => vec![0.0; n],
        // One per column or for all; `Gemm` may also add one per row.
        Some(b) if b.len() > 1 && b.shape().last() != Some(&n) => return None,
        Some(b) => match b.data::<f32>().ok()? {
            b if b.len() == n => b.iter().map(|&v| f64::from(v) * factor).collect(),
            b if b.len() == 1 => vec![f64::from(b[0]) * factor; n],
            _ => return None,
        },
    };
    let folded = (0..n).map(|c| ((bias[c] - gain.mean[c]) * gain.scale[c] + gain.beta[c]) as f32);
    Tensor::from_vec(&[n], folded.collect()).ok()
}
