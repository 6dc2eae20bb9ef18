//! f32 convolutions of which each reads the result of the one before it, as one step: the images between them are
//! computed by bands of rows and never stored whole ([`conv_stages_within`]).
//!
//! A depthwise filter does little work on the largest images of a model. The convolutions of one row before and behind
//! it are taken along, as in the blocks of mobile networks, which widen an image, filter it and narrow it again.

use super::chain::{self, Chain};
use super::conv::Conv;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use crate::tune::{Way, Workshop};
use compress_tensor::{Shape, Tensor};
use onnx_ir::operator::EvalError;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::conv::{BAND_BYTES, ConvShape, MAX_STAGES, conv_stages_within};
use std::borrow::Cow;
use std::sync::Arc;

/// A convolution with what it reads.
pub(crate) struct Stage {
    pub(crate) conv: Conv,
    pub(crate) x: ValueId,
    pub(crate) residual: Option<ValueId>,
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
    let mut stages = vec![last];
    while stages.len() < MAX_STAGES
        && let Some(stage) = before(selector, &stages[0])?
    {
        stages.insert(0, stage);
    }
    let mut inputs = vec![Some(stages[0].x)];
    inputs.extend(stages.iter().map(|stage| stage.residual));
    let mut convs: Vec<Conv> = stages.into_iter().map(|stage| stage.conv).collect();
    let step: Arc<dyn Step> = match (convs.len(), convs.pop()) {
        (1, Some(conv)) => Arc::new(conv),
        (_, last) => Arc::new(ConvStages {
            convs: convs.into_iter().chain(last).collect(),
            band_bytes: BAND_BYTES,
        }),
    };
    Ok(Bound {
        step,
        inputs,
        outputs: selector.graph.node(id).outputs().to_vec(),
    })
}

/// The convolution that gives what `stage` reads, where the two are worth computing together.
fn before(selector: &mut Selector<'_>, stage: &Stage) -> Result<Option<Stage>, SessionError> {
    let Some((id, _)) = selector.interior(stage.x) else {
        return Ok(None);
    };
    let Some(chain) = Chain::ending_in(selector, id, &super::product) else {
        return Ok(None);
    };
    if !selector.graph.node(chain.product).is("Conv") {
        return Ok(None);
    }
    let stage_before = Conv::of(selector, &chain)?;
    Ok(stage_before.filter(|before| {
        before.conv.runs_by_rows()
            && stage.conv.runs_by_rows()
            && before.conv.filter.is_depthwise() != stage.conv.filter.is_depthwise()
    }))
}

/// The first `count` stages, in front of as many places as there may be; `None` where one is missing.
pub(crate) fn gathered<S: Copy>(
    count: usize,
    stage: impl Fn(usize) -> Option<S>,
) -> Option<[S; MAX_STAGES]> {
    let first = stage(0)?;
    let mut stages = [first; MAX_STAGES];
    for (i, place) in stages.iter_mut().enumerate().take(count).skip(1) {
        *place = stage(i)?;
    }
    Some(stages)
}

/// What is wrong where a convolution cannot be one of several: binding refuses those.
pub(crate) fn not_a_stage() -> StepError {
    EvalError::rule("convolutions run together", "one of them is no stage").into()
}

/// Convolutions one behind the other; input 0 is the image, input `1 + i` what is added to the sums of convolution `i`.
struct ConvStages {
    /// At most [`MAX_STAGES`].
    convs: Arc<[Conv]>,
    /// Bytes of the images between that there are at a time.
    band_bytes: usize,
}

/// The way of convolutions with so many bytes of the images between them at a time.
pub(crate) fn way_of(band_bytes: usize) -> Way {
    match band_bytes {
        usize::MAX => Way::Whole,
        bytes => Way::Bands(bytes),
    }
}

/// The bytes of a way of [`way_of`].
pub(crate) fn band_bytes(way: Way) -> Option<usize> {
    match way {
        Way::Whole => Some(usize::MAX),
        Way::Bands(bytes) => Some(bytes),
        _ => None,
    }
}

/// The other ways where the images between take `between` bytes and `own` of them are there at a time: none where all of them are.
pub(crate) fn other_bands(between: usize, own: usize) -> Vec<Way> {
    let sizes = Way::BANDS.into_iter().filter(|&bytes| bytes < between);
    let sizes = sizes.chain([usize::MAX]).map(way_of);
    let is_whole = own >= between;
    let mut ways: Vec<Way> = sizes.filter(|way| *way != way_of(own)).collect();
    ways.retain(|way| !(is_whole && *way == Way::Whole));
    ways
}

impl Step for ConvStages {
    fn kernel(&self) -> &'static str {
        "conv.f32.stages"
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
            let len: usize = next.iter().product();
            between = between.saturating_add(len.saturating_mul(size_of::<f32>()));
            image = next;
        }
        other_bands(between, self.band_bytes)
    }

    fn by_way(&self, way: Way, _: &Workshop<'_>) -> Result<Option<Arc<dyn Step>>, SessionError> {
        let step = |band_bytes| -> Arc<dyn Step> {
            Arc::new(Self {
                convs: self.convs.clone(),
                band_bytes,
            })
        };
        Ok(band_bytes(way).map(step))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let count = self.convs.len().min(MAX_STAGES);
        let mut shapes: [Option<ConvShape>; MAX_STAGES] = [const { None }; MAX_STAGES];
        let mut residuals: [Option<Cow<'_, [f32]>>; MAX_STAGES] = [const { None }; MAX_STAGES];
        let mut result = Shape::from(x.shape());
        for (i, conv) in self.convs.iter().take(count).enumerate() {
            let (shape, next) = conv.filter.shape(&result)?;
            residuals[i] = chain::residual(cx.inputs.optional(1 + i)?, &next)?;
            shapes[i] = Some(shape);
            result = next;
        }
        let stage = |i: usize| {
            let (conv, shape) = (self.convs.get(i)?, shapes[i].as_ref()?);
            Some(conv.stage(shape, residuals[i].as_deref()))
        };
        let stages = gathered(count, stage).ok_or_else(not_a_stage)?;
        let mut out: Tensor = cx.state.memory.tensor::<f32>(&result)?;
        conv_stages_within(
            &cx.state.context,
            &mut cx.state.scratch,
            self.band_bytes,
            &stages[..count],
            &x.data::<f32>()?,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}
