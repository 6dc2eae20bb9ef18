//! Weights to begin with, in place of those of the file.

use super::error::TrainError;
use super::network::Network;
use crate::random::{Purpose, Random};
use compress_tensor::Tensor;
use onnx_ir::graph::Use;
use onnx_ir::{Graph, ValueId};
use serde::{Deserialize, Serialize};

/// Where weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialization {
    /// Those of the file: the model goes on to learn.
    #[default]
    Keep,
    /// New ones, uniform in `±1/√fan-in`, biases too: PyTorch's for convolutions, linear and recurrent layers.
    Uniform,
    /// New ones, normal with deviation `√(2/fan-in)` (He et al. 2015, arXiv:1502.01852, eq. 10), biases zero.
    He,
}

/// What an initializer does for the node that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// A matrix or filter with so many inputs to each output.
    Weight { fan_in: usize },
    /// Added to what has so many inputs.
    Bias { fan_in: usize },
    /// A factor of a normalisation.
    Scale,
    /// Added behind a normalisation.
    Shift,
    /// Rows of a table.
    Table,
}

/// Draws new weights; running means become 0, running variances 1. Gives the names of weights whose role is not known: they keep
/// their values.
pub(super) fn initialize(
    network: &mut Network,
    graph: &Graph,
    how: Initialization,
    seed: u64,
) -> Result<Vec<String>, TrainError> {
    let mut kept = Vec::new();
    if how == Initialization::Keep {
        return Ok(kept);
    }
    let names: Vec<String> = network.state().map(|(name, _)| name.to_owned()).collect();
    for (index, name) in names.iter().enumerate() {
        let Some(id) = graph.value_by_name(name) else {
            continue;
        };
        let Some(tensor) = graph.initializer(id) else {
            continue;
        };
        let shape = tensor.shape().to_vec();
        let mut random = Random::new(seed, Purpose::Initialize, 0, index as u64);
        let mut draw = |low: f64, high: f64| random.between(low, high) as f32;
        let count = tensor.len();
        let uniform = how == Initialization::Uniform;
        let values: Vec<f32> = match (statistic(graph, id), role(graph, id, &shape)) {
            (Some(value), _) => vec![value; count],
            (_, Some(Role::Scale)) => vec![1.0; count],
            (_, Some(Role::Shift)) => vec![0.0; count],
            (_, Some(Role::Bias { .. })) if !uniform => vec![0.0; count],
            (_, Some(Role::Weight { fan_in } | Role::Bias { fan_in })) if uniform => {
                let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
                (0..count).map(|_| draw(-bound, bound)).collect()
            }
            (_, Some(Role::Weight { fan_in } | Role::Bias { fan_in })) => {
                let deviation = (2.0 / fan_in.max(1) as f64).sqrt();
                (0..count)
                    .map(|_| (deviation * random.normal()) as f32)
                    .collect()
            }
            (_, Some(Role::Table)) => (0..count).map(|_| random.normal() as f32).collect(),
            (_, None) => {
                kept.push(name.clone());
                continue;
            }
        };
        network.set(name, &Tensor::from_vec(&shape, values)?)?;
    }
    Ok(kept)
}

/// What a running statistic of a batch normalisation begins with.
fn statistic(graph: &Graph, id: ValueId) -> Option<f32> {
    let ports = graph.uses(id).iter().filter_map(|usage| match *usage {
        Use::Input { node, index } if graph.node(node).is("BatchNormalization") => Some(index),
        _ => None,
    });
    ports
        .filter_map(|index| match index {
            3 => Some(0.0),
            4 => Some(1.0),
            _ => None,
        })
        .next()
}

fn role(graph: &Graph, id: ValueId, shape: &[usize]) -> Option<Role> {
    graph.uses(id).iter().find_map(|usage| {
        let &Use::Input { node, index } = usage else {
            return None;
        };
        let node = graph.node(node);
        let shape_of = |index: usize| Some(graph.initializer(node.input(index)?)?.shape().to_vec());
        let per_output = |shape: &[usize]| shape.iter().skip(1).product::<usize>();
        let transposed =
            |name| matches!(node.attributes.get(name), Some(onnx_ir::Attribute::Int(v)) if *v != 0);
        match (node.op_type.as_str(), index) {
            ("Conv", 1) => Some(Role::Weight {
                fan_in: per_output(shape),
            }),
            ("Conv", 2) => Some(Role::Bias {
                fan_in: per_output(&shape_of(1)?),
            }),
            // As PyTorch, from the second axis: outputs per group times window.
            ("ConvTranspose", 1) => Some(Role::Weight {
                fan_in: per_output(shape),
            }),
            ("ConvTranspose", 2) => Some(Role::Bias {
                fan_in: per_output(&shape_of(1)?),
            }),
            ("Gemm", 0 | 1) => {
                let rows = usize::from(
                    (index == 1) == transposed(if index == 1 { "transB" } else { "transA" }),
                );
                Some(Role::Weight {
                    fan_in: *shape.get(rows)?,
                })
            }
            ("Gemm", 2) => {
                let weight = shape_of(1)?;
                let rows = usize::from(transposed("transB"));
                Some(Role::Bias {
                    fan_in: *weight.get(rows)?,
                })
            }
            ("MatMul", 1) => Some(Role::Weight {
                fan_in: *shape.get(shape.len().checked_sub(2)?)?,
            }),
            ("LSTM" | "GRU" | "RNN", 1..=3) => {
                // PyTorch's bound: one over the root of the width.
                Some(Role::Weight {
                    fan_in: *shape_of(2)?.get(2)?,
                })
            }
            (
                "BatchNormalization"
                | "LayerNormalization"
                | "InstanceNormalization"
                | "GroupNormalization"
                | "RMSNormalization",
                1,
            ) => Some(Role::Scale),
            (
                "BatchNormalization"
                | "LayerNormalization"
                | "InstanceNormalization"
                | "GroupNormalization",
                2,
            ) => Some(Role::Shift),
            ("Identity", _) => role(graph, node.output(0)?, shape),
            ("Transpose", _) if shape.len() == 2 => {
                role(graph, node.output(0)?, &[shape[1], shape[0]])
            }
            ("Gather", 0) => Some(Role::Table),
            ("Add", _) => Some(Role::Shift),
            _ => None,
        }
    })
}
