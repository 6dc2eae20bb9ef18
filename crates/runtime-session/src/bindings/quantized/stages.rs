//! Integer convolutions of which each reads the bytes of the one before it, as one step: as
//! [f32 convolutions](crate::bindings::stages), with the same bytes as one by one.

use super::Region;
use super::conv::{self, IntegerConv};
use super::params::Byte;
use crate::bindings::stages::{band_bytes, gathered, not_a_stage, other_bands, way_of};
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use crate::tune::{Way, Workshop};
use compress_tensor::{Shape, Tensor};
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::conv::{
    BAND_BYTES, ConvShape, Int8ConvStage, MAX_STAGES, conv_int8_stages_within,
};
use runtime_kernels::quantized::QuantByte;
use std::sync::Arc;

/// An integer convolution with what it reads.
pub(crate) struct Stage {
    pub(crate) conv: IntegerConv,
    /// The bytes of the image.
    pub(crate) x: ValueId,
    /// Whether nobody else reads the image where it is dequantized.
    pub(crate) reads_alone: bool,
    /// The types of image and result.
    pub(crate) bytes: (Byte, Byte),
}

/// Binds the convolution `last`, which ends in node `id`, with those before it where that pays.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn bind(
    selector: &mut Selector<'_>,
    id: NodeId,
    last: Stage,
) -> Result<Bound, SessionError> {
    let (byte, mut x) = (last.bytes.0, last.x);
    let mut stages = vec![last];
    while stages.len() < MAX_STAGES
        && let Some(stage) = before(selector, &stages[0])?
    {
        x = stage.x;
        stages.insert(0, stage);
    }
    let mut convs: Vec<IntegerConv> = stages.into_iter().map(|stage| stage.conv).collect();
    let step: Arc<dyn Step> = match (convs.len(), convs.pop()) {
        (1, Some(conv)) => Arc::new(conv),
        (_, last) => Arc::new(IntegerConvStages {
            convs: convs.into_iter().chain(last).collect(),
            byte,
            band_bytes: BAND_BYTES,
        }),
    };
    Ok(Bound {
        step,
        inputs: vec![Some(x)],
        outputs: selector.graph.node(id).outputs().to_vec(),
    })
}

/// The convolution that gives what `stage` reads, where the two are worth computing together.
fn before(selector: &mut Selector<'_>, stage: &Stage) -> Result<Option<Stage>, SessionError> {
    let Some((id, node)) = selector.interior(stage.x).filter(|_| stage.reads_alone) else {
        return Ok(None);
    };
    let before = if node.is("QLinearConv") {
        conv::qlinear(selector, id)?
    } else {
        match Region::ending_in(selector, id).filter(|_| selector.fuses()) {
            Some(region) if selector.graph.node(region.inner).is("Conv") => {
                conv::region(selector, region.inner, &region.y, region.bounds)?
            }
            _ => None,
        }
    };
    Ok(before.filter(|before| {
        let (filter, next) = (&before.conv.filter, &stage.conv.filter);
        let (input, output) = stage.bytes;
        before.bytes == (input, input)
            && input == output
            && filter.runs_by_rows()
            && next.runs_by_rows()
            && filter.is_depthwise() != next.is_depthwise()
    }))
}

/// Convolutions one behind the other, all of bytes of one type.
struct IntegerConvStages {
    /// At most [`MAX_STAGES`].
    convs: Arc<[IntegerConv]>,
    byte: Byte,
    /// Bytes of the images between that there are at a time.
    band_bytes: usize,
}

impl Step for IntegerConvStages {
    fn kernel(&self) -> &'static str {
        "conv.int8.stages"
    }

    fn image_order(&self) -> ImageOrder {
        ImageOrder::Last
    }

    fn way(&self) -> Way {
        way_of(self.band_bytes)
    }

    fn other_ways(&self, inputs: Inputs<'_>, _: &Workshop<'_>) -> Vec<Way> {
        let Ok(x) = inputs.tensor(0) else {
            return Vec::new();
        };
        let (mut between, mut image) = (0usize, Shape::from(x.shape()));
        for conv in self.convs.iter().take(self.convs.len() - 1) {
            let Ok((_, next)) = conv.filter.shape(&image) else {
                return Vec::new();
            };
            between = between.saturating_add(next.iter().product());
            image = next;
        }
        other_bands(between, self.band_bytes)
    }

    fn by_way(&self, way: Way, _: &Workshop<'_>) -> Result<Option<Arc<dyn Step>>, SessionError> {
        let step = |band_bytes| -> Arc<dyn Step> {
            Arc::new(Self {
                convs: self.convs.clone(),
                byte: self.byte,
                band_bytes,
            })
        };
        Ok(band_bytes(way).map(step))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let count = self.convs.len().min(MAX_STAGES);
        let mut shapes: [Option<ConvShape>; MAX_STAGES] = [const { None }; MAX_STAGES];
        let mut result = Shape::from(x.shape());
        for (i, conv) in self.convs.iter().take(count).enumerate() {
            let (shape, next) = conv.filter.shape(&result)?;
            shapes[i] = Some(shape);
            result = next;
        }
        let stage = |i: usize| self.convs.get(i)?.stage(shapes[i].as_ref()?);
        let stages = gathered(count, stage).ok_or_else(not_a_stage)?;
        let stages = &stages[..count];
        match self.byte {
            Byte::U8 => run_as::<u8>(stages, self.band_bytes, &result, cx),
            Byte::I8 => run_as::<i8>(stages, self.band_bytes, &result, cx),
        }
    }
}

fn run_as<T: QuantByte + Pooled>(
    stages: &[Int8ConvStage<'_>],
    band_bytes: usize,
    shape: &Shape,
    cx: &mut StepContext<'_>,
) -> Result<(), StepError> {
    let x = cx.inputs.tensor(0)?;
    let mut out: Tensor = cx.state.memory.tensor::<T>(shape)?;
    conv_int8_stages_within(
        &cx.state.context,
        &mut cx.state.scratch,
        band_bytes,
        stages,
        &x.data::<T>()?,
        out.data_mut::<T>()?,
    )?;
    cx.outputs.set(0, out);
    Ok(())
}
