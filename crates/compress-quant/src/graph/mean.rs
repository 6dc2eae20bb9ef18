//! Where the mean of the error that rounded weights make can go: into a constant that is added to each channel.

use super::edit::drop_unread;
use super::error::QuantizeError;
use super::select::is_per_channel_bias;
use crate::QuantError;
use crate::weight::MeanError;
use compress_tensor::{DType, Tensor};
use onnx_ir::{Graph, NodeId};

/// The input of a node that holds a layer's bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BiasInput {
    pub node: NodeId,
    pub input: usize,
}

impl BiasInput {
    /// The layer's own bias, or that of the `Add` that alone reads the result of a `MatMul`; `None` where there is none
    /// with one value for each of the channels.
    pub(super) fn of(
        graph: &Graph,
        layer: NodeId,
        bias: Option<usize>,
        channels: usize,
    ) -> Option<Self> {
        let found = match bias {
            Some(input) => Self { node: layer, input },
            None if graph.node(layer).is("MatMul") => {
                let (node, index) = graph.sole_use(graph.node(layer).output(0)?)?;
                let sum = graph.node(node).is("Add") && index < 2;
                sum.then_some(Self {
                    node,
                    input: 1 - index,
                })?
            }
            None => return None,
        };
        let constant = graph.constant(graph.node(found.node).input(found.input)?)?;
        let fits = constant.dtype() == DType::F32
            && constant.shape().last() == Some(&channels)
            && is_per_channel_bias(constant.shape(), channels);
        fits.then_some(found)
    }

    /// What rounding does with the mean of the error.
    pub(super) fn mean(this: Option<Self>) -> MeanError {
        this.map_or(MeanError::Stays, |_| MeanError::InBias)
    }

    /// Makes the bias grow.
    pub(super) fn shift(self, graph: &mut Graph, by: &[f32]) -> Result<(), QuantizeError> {
        let Some(old) = graph.node(self.node).input(self.input) else {
            return Ok(());
        };
        let name = graph.name_of(old).to_owned();
        let values = |error: QuantError| QuantizeError::Values {
            tensor: name.clone(),
            error,
        };
        let Some(tensor) = graph.constant(old) else {
            return Ok(());
        };
        let floats = tensor.data::<f32>().map_err(|e| values(e.into()))?;
        let shifted = floats.iter().zip(by).map(|(b, s)| b + s).collect();
        let tensor = Tensor::from_vec(tensor.shape(), shifted).map_err(|e| values(e.into()))?;
        let new = graph.add_initializer(&format!("{name}_corrected"), tensor)?;
        graph.set_node_input(self.node, self.input, Some(new));
        drop_unread(graph, [old]);
        Ok(())
    }
}
