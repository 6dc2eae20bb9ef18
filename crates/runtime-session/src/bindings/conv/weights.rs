//! Weights of convolutions, packed for the way in which they are computed.

use super::Filter;
use crate::error::SessionError;
use crate::plan::Weight;
use crate::tune::Way;
use crate::weights::Weights;
use compress_tensor::{CastOptions, DType};
use half::{bf16, f16};
use onnx_ir::{Graph, NodeId};
use runtime_kernels::conv::PackedConvF32;
use runtime_kernels::gemm::PackedHalf;
use runtime_kernels::{Isa, KernelError};
use std::sync::Arc;

/// Weights as the model has them.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) node: NodeId,
    pub(super) weight: Weight,
}

/// Weights in the form that a way reads.
///
/// # Errors
/// [`SessionError::Weights`].
pub(super) fn packed(
    weights: &Weights,
    graph: &Graph,
    isa: Isa,
    filter: &Filter,
    way: Way,
    source: &Source,
) -> Result<Arc<PackedConvF32>, SessionError> {
    let form = match way {
        Way::Direct | Way::Planes => filter.form("conv.f32"),
        _ => filter.form(&format!("conv.f32.{way}.{:?}", filter.params.dilations)),
    };
    let (weight, pack) = (&source.weight, || pack(isa, filter, way, &source.weight));
    let packed: Result<_, KernelError> =
        weights.get(graph, weight.value, &weight.tensor, &form, pack);
    packed.map_err(|error| SessionError::Weights {
        node: graph.describe(source.node),
        error,
    })
}

/// Packs weights for a way: of the type in which the model stores them where sums are taken tap by tap, else in f32.
///
/// # Errors
/// [`KernelError`].
fn pack(
    isa: Isa,
    filter: &Filter,
    way: Way,
    weight: &Weight,
) -> Result<PackedConvF32, KernelError> {
    let (params, kernel) = (filter.params(), &filter.kernel[..]);
    let (channels, depth) = (filter.channels, filter.in_per_group);
    let transforms = matches!(way, Way::Winograd(_) | Way::Fft(_));
    let (meets_halves, weight) = (weight.meets_halves, &weight.tensor);
    match weight.dtype() {
        DType::F16 if !transforms => {
            let data = weight.data::<f16>().unwrap_or_default();
            return PackedConvF32::half(isa, params, &data, channels, depth, kernel);
        }
        DType::BF16 if !transforms => {
            let data = weight.data::<bf16>().unwrap_or_default();
            let pack = match meets_halves && PackedHalf::has_bf16_dot(isa) {
                true => PackedConvF32::bf16_dot,
                false => PackedConvF32::half,
            };
            return pack(isa, params, &data, channels, depth, kernel);
        }
        _ => {}
    }
    let wide = match weight.dtype() {
        DType::F32 => None,
        _ => weight.cast(DType::F32, CastOptions::default()).ok(),
    };
    let wide = wide.as_ref().unwrap_or(weight);
    let data = wide.data::<f32>().unwrap_or_default();
    match way {
        Way::Winograd(tile) => PackedConvF32::winograd(isa, tile, &data, channels, depth),
        Way::Fft(piece) => PackedConvF32::fft(isa, piece, params, &data, channels, depth, kernel),
        _ => PackedConvF32::new(isa, params, &data, channels, depth, kernel),
    }
}
