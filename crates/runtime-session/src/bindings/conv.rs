//! `Conv` in f32 with constant weights: `activation(W * x + bias + residual)`.

mod fresh;
mod weights;

pub(crate) use self::fresh::{
    Turned, bind_fresh_chain, check_weight, fresh_product, known_shape, sums,
};
use self::weights::{Source, packed};
use super::chain::{self, Chain, Product};
use super::stages::{self, Stage};
use super::window::Window;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use crate::tune::{Way, Workshop};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId, ValueId};
use runtime_kernels::Isa;
use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, ConvStage, FftTile, Layout, PackedConvF32, WinogradTile,
    conv,
};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::layout::permute;
use std::sync::Arc;

/// Spatial axes that the kernels take.
const MAX_SPATIAL: usize = 3;

/// Positions of a signal that fill the vectors of a product with channels first.
const SHORT_SIGNAL: i64 = 64;
/// Multiply-adds per result from which on turning a long signal costs less than it gains.
const TURNED_DEPTH: usize = 256;

/// The extent for which weights are packed where the model leaves that of the image open.
const OPEN_EXTENT: usize = 32;

/// Whether a node is a `Conv` in f32 with constant weights and bias.
pub(crate) fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let node = selector.graph.node(id);
    if !node.is("Conv") {
        return None;
    }
    let weight = selector.weight(node.input(1)?)?.tensor;
    let spatial = weight
        .rank()
        .checked_sub(2)
        .filter(|n| (1..=MAX_SPATIAL).contains(n))?;
    if weight.is_empty() {
        return None;
    }
    Filter::of(node, weight.shape())?;
    if node.input(2).is_some() {
        let bias = selector.constant_input(id, 2)?;
        if bias.dtype() != DType::F32 || bias.shape() != &weight.shape()[..1] {
            return None;
        }
    }
    Some(Product {
        channels: weight.shape()[0],
        axis_from_end: spatial,
    })
}

/// Binds a chain whose product is a `Conv`; `id` is its last node.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn bind_chain(
    selector: &mut Selector<'_>,
    id: NodeId,
    chain: &Chain,
) -> Result<Option<Bound>, SessionError> {
    let stage = Conv::of(selector, chain)?;
    stage
        .map(|stage| stages::bind(selector, id, stage))
        .transpose()
}

/// The extents of the weights and the attributes of a `Conv`.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) channels: usize,
    pub(crate) in_per_group: usize,
    pub(crate) kernel: Vec<usize>,
    window: Window,
    /// The attributes as the kernels take them, but for the padding, which may depend on the image.
    params: ConvParams,
}

impl Filter {
    /// Of a node with weights of shape `[channels, in / groups, kernel…]`; `None` where the attributes do not fit.
    pub(crate) fn of(node: &Node, weight: &[usize]) -> Option<Self> {
        let (&[channels, in_per_group], kernel) = weight.split_first_chunk::<2>()?;
        if !(1..=MAX_SPATIAL).contains(&kernel.len()) {
            return None;
        }
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let groups = attrs
            .size_or("group", 1)
            .ok()
            .filter(|&g| g > 0 && channels % g == 0)?;
        let declared = attrs.ints_opt("kernel_shape").ok()?;
        let same = |list: &Vec<i64>| {
            list.len() == kernel.len()
                && list
                    .iter()
                    .zip(kernel)
                    .all(|(&a, &b)| usize::try_from(a) == Ok(b))
        };
        if !declared.as_ref().is_none_or(same) {
            return None;
        }
        let window = Window::of(node, kernel.len())?;
        let mut params = ConvParams::default();
        params.strides.clone_from(&window.strides);
        params.dilations.clone_from(&window.dilations);
        params.groups = groups;
        Some(Self {
            channels,
            in_per_group,
            kernel: kernel.to_vec(),
            window,
            params,
        })
    }

    /// With channels last where the kernels are faster on it: images of two spatial axes, where all channels mix or
    /// none do. Other groups would read strips of a pixel.
    pub(crate) fn in_best_layout(mut self, selector: &Selector<'_>, node: NodeId) -> Self {
        let fits = selector.fuses() && !selector.stays_in_planes(node);
        if fits && self.kernel.len() == 2 && self.mixes_all_or_none() {
            self.params.layout = Layout::ChannelsLast;
        }
        self
    }

    /// Whether all channels mix, or none do.
    fn mixes_all_or_none(&self) -> bool {
        let groups = self.params.groups;
        groups == 1 || (self.in_per_group == 1 && self.channels == groups)
    }

    /// The same with channels last.
    fn with_channels_last(&self) -> Self {
        let mut filter = self.clone();
        filter.params.layout = Layout::ChannelsLast;
        filter
    }

    /// With channels last and no tiles: the form of convolutions whose weights are packed as they run.
    pub(crate) fn last(node: &Node, weight: &[usize]) -> Option<Self> {
        Some(Self::of(node, weight)?.with_channels_last())
    }

    /// With channels last inside the step for signals, which have one spatial axis, where the products are worth turning
    /// the signals. With channels first, the few positions of a short signal would leave most of a vector empty. The
    /// layout of plans knows images only.
    fn with_signals_turned(mut self, selector: &Selector<'_>, y: Option<ValueId>) -> Self {
        if !selector.fuses() || self.kernel.len() != 1 || self.params.groups != 1 {
            return self;
        }
        let fact = y.and_then(|y| selector.graph.value(y).fact.as_tensor());
        let length = fact.and_then(|f| f.shape.as_ref()?.get(2)?.as_known());
        let depth = self.in_per_group.saturating_mul(self.kernel[0]);
        let least = match length {
            Some(length) if length <= SHORT_SIGNAL => 0,
            Some(_) => TURNED_DEPTH,
            None => TURNED_DEPTH / 2,
        };
        if depth >= least {
            self.params.layout = Layout::ChannelsLast;
        }
        self
    }

    /// The way in which the product with image `x` is expected to be fastest, of those that are allowed.
    fn fastest(&self, selector: &Selector<'_>, x: ValueId) -> Way {
        let (options, isa) = (selector.scope.options, selector.isa());
        let by_rule = match self.params.layout {
            Layout::ChannelsLast => Way::Direct,
            Layout::ChannelsFirst => Way::Planes,
        };
        // Signals may be turned for it.
        let last = by_rule == Way::Direct || self.is_signal();
        if !last || !self.mixes_all_or_none() || !selector.fuses() {
            return by_rule;
        }
        let Some((shape, is_known)) = self.declared_shape(selector, x) else {
            return by_rule;
        };
        let tile = WinogradTile::fastest(isa, &shape).filter(|_| options.winograd);
        // Pieces that are much longer than a signal turns out to be would take many times as long as the direct sum.
        let fft = options.fft && is_known;
        let piece = FftTile::fastest(isa, &shape).filter(|_| fft);
        match (tile, piece) {
            (Some(tile), _) => Way::Winograd(tile),
            (None, Some(piece)) => Way::Fft(piece),
            (None, None) => by_rule,
        }
    }

    /// The extents with channels last for image `x` as the model declares it, and whether it declares all axes of the image.
    fn declared_shape(&self, selector: &Selector<'_>, x: ValueId) -> Option<(ConvShape, bool)> {
        let fact = selector.graph.value(x).fact.as_tensor();
        let known = fact.and_then(|fact| fact.shape.as_ref());
        let size = |axis: usize| {
            let size = known.and_then(|shape| shape.get(axis)?.as_known());
            size.and_then(|size| usize::try_from(size).ok())
        };
        let spatial = || (0..self.kernel.len()).map(|axis| size(axis + 2));
        let mut image = vec![size(0).unwrap_or(1)];
        image.extend(spatial().map(|size| size.unwrap_or(OPEN_EXTENT)));
        image.push(self.in_per_group.checked_mul(self.params.groups)?);
        let (shape, _) = self.with_channels_last().shape(&image).ok()?;
        Some((shape, spatial().all(|size| size.is_some())))
    }

    /// The filter of a convolution that is computed in a way.
    fn by_way(&self, way: Way) -> Self {
        match way {
            Way::Planes => {
                let mut filter = self.clone();
                filter.params.layout = Layout::ChannelsFirst;
                filter
            }
            _ => self.with_channels_last(),
        }
    }

    /// Whether images are signals, of one axis.
    fn is_signal(&self) -> bool {
        self.kernel.len() == 1
    }

    /// Whether the step turns signals.
    fn turns_signals(&self) -> bool {
        self.kernel.len() == 1 && self.params.layout == Layout::ChannelsLast
    }

    /// Whether each group has one input channel.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.params.groups > 1 && self.in_per_group == 1
    }

    /// Whether results can be computed by bands of rows: channels last.
    pub(crate) fn runs_by_rows(&self) -> bool {
        matches!(self.image_order(), ImageOrder::Last)
    }

    /// In which order the images lie.
    pub(crate) fn image_order(&self) -> ImageOrder {
        match self.params.layout {
            Layout::ChannelsLast if !self.turns_signals() => ImageOrder::Last,
            _ => ImageOrder::Model,
        }
    }

    /// What tells packed weights apart that stem from the same tensor: nodes may share it with other
    /// groups.
    pub(crate) fn form(&self, kind: &str) -> String {
        format!(
            "{kind}.groups{}.{:?}",
            self.params.groups, self.params.layout
        )
    }

    /// The attributes as the kernels take them, without padding.
    pub(crate) fn params(&self) -> &ConvParams {
        &self.params
    }

    /// The extents for an image of shape `[batch, channels, spatial…]`, or `[batch, spatial…, channels]` by the layout,
    /// and the shape of the result.
    ///
    /// # Errors
    /// [`StepError`] where they do not fit.
    pub(crate) fn shape(&self, image: &[usize]) -> Result<(ConvShape, Shape), StepError> {
        let (batch, channels, spatial) = match (self.params.layout, image) {
            (Layout::ChannelsFirst, &[batch, channels, ref spatial @ ..])
            | (Layout::ChannelsLast, &[batch, ref spatial @ .., channels])
                if spatial.len() == self.kernel.len() =>
            {
                (batch, channels, spatial)
            }
            _ => {
                let rule =
                    "the image of a convolution has one batch, one channel and the kernel's axes";
                return Err(EvalError::rule(rule, format_args!("{image:?}")).into());
            }
        };
        let groups = self.params.groups;
        if self.in_per_group.checked_mul(groups) != Some(channels) {
            let rule = "the image must have the channels of the weights times the groups";
            return Err(EvalError::rule(
                rule,
                format_args!("{channels}, {} x {groups}", self.in_per_group),
            )
            .into());
        }
        let (before, after) = self.window.pads(spatial, &self.kernel)?;
        let shape = ConvShape::with_pads(
            &self.params,
            [&before, &after],
            (batch, channels, spatial),
            (self.channels, &self.kernel),
        )?;
        let mut result = Shape::from([batch]);
        let spatial = shape.output_spatial().iter().copied();
        match self.params.layout {
            Layout::ChannelsFirst => result.extend([self.channels].into_iter().chain(spatial)),
            Layout::ChannelsLast => result.extend(spatial.chain([self.channels])),
        }
        Ok((shape, result))
    }
}

/// A convolution with packed weights; the residual is input 1.
pub(crate) struct Conv {
    pub(crate) filter: Filter,
    weight: Arc<PackedConvF32>,
    /// The way that the weights are packed for.
    way: Way,
    bias: Option<Vec<f32>>,
    activation: Activation,
    /// What the weights are packed from, where other ways are tried.
    source: Option<Source>,
}

impl Step for Conv {
    fn kernel(&self) -> &'static str {
        "conv.f32"
    }

    fn algorithm(&self) -> Option<&'static str> {
        match self.way {
            Way::Winograd(WinogradTile::Two) => Some("winograd2"),
            Way::Winograd(WinogradTile::Four) => Some("winograd4"),
            Way::Fft(_) => Some("fft"),
            _ => None,
        }
    }

    fn transformed_macs(&self, image: &[u64], isa: Isa) -> Option<f64> {
        let Way::Fft(piece) = self.way else {
            return None;
        };
        let (&[batch, channels], spatial) = image.split_first_chunk::<2>()?;
        let sizes = [batch].into_iter().chain(spatial.iter().copied());
        let sizes = sizes.chain([channels]).map(usize::try_from);
        let last: Vec<usize> = sizes.collect::<Result<_, _>>().ok()?;
        Some(piece.work(isa, &self.filter.shape(&last).ok()?.0))
    }

    fn way(&self) -> Way {
        self.way
    }

    fn other_ways(&self, inputs: Inputs<'_>, shop: &Workshop<'_>) -> Vec<Way> {
        let image = inputs.tensor(0).map(Tensor::shape);
        let (Some(_), Ok(image)) = (&self.source, image) else {
            return Vec::new();
        };
        let last = self.filter.with_channels_last();
        let shape = match *image {
            [batch, channels, length] if last.is_signal() => last.shape(&[batch, length, channels]),
            ref image if self.filter.runs_by_rows() => last.shape(image),
            _ => return Vec::new(),
        };
        let Ok((shape, _)) = shape else {
            return Vec::new();
        };
        let tiles = [WinogradTile::Two, WinogradTile::Four].map(Way::Winograd);
        let tiled = shop.winograd && WinogradTile::applies(&shape);
        let piece = FftTile::candidate(shop.isa, &shape).filter(|_| shop.fft);
        let mut ways = Vec::new();
        if last.mixes_all_or_none() {
            ways.push(Way::Direct);
            ways.extend(tiles.into_iter().filter(|_| tiled));
            ways.extend(piece.map(Way::Fft));
        }
        if last.is_signal() {
            ways.push(Way::Planes);
        }
        ways.retain(|way| *way != self.way);
        ways
    }

    fn by_way(&self, way: Way, shop: &Workshop<'_>) -> Result<Option<Arc<dyn Step>>, SessionError> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let filter = self.filter.by_way(way);
        let weight = packed(shop.weights, shop.graph, shop.isa, &filter, way, source)?;
        Ok(Some(Arc::new(Self {
            filter,
            weight,
            way,
            bias: self.bias.clone(),
            activation: self.activation,
            source: self.source.clone(),
        })))
    }

    fn image_order(&self) -> ImageOrder {
        self.filter.image_order()
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let residual = cx.inputs.optional(1)?;
        if !self.filter.turns_signals() {
            let y = self.convolve(cx, x, residual)?;
            cx.outputs.set(0, y);
            return Ok(());
        }
        let turned = turned(cx, x)?;
        let residual = residual.map(|r| self::turned(cx, r)).transpose()?;
        let y = self.convolve(cx, &turned, residual.as_ref())?;
        let result = self::turned(cx, &y)?;
        for done in [Some(turned), residual, Some(y)].into_iter().flatten() {
            cx.state.memory.recycle(done.into());
        }
        cx.outputs.set(0, result);
        Ok(())
    }
}

impl Conv {
    /// The convolution of a chain, with what it reads; `None` where it cannot be computed here.
    ///
    /// # Errors
    /// [`SessionError::Weights`].
    pub(crate) fn of(
        selector: &mut Selector<'_>,
        chain: &Chain,
    ) -> Result<Option<Stage>, SessionError> {
        let graph = selector.graph;
        let node = graph.node(chain.product);
        let (Some(x), Some(w)) = (node.input(0), node.input(1)) else {
            return Ok(None);
        };
        let Some(weight) = selector.weight(w) else {
            return Ok(None);
        };
        let Some(filter) = Filter::of(node, weight.tensor.shape()) else {
            return Ok(None);
        };
        let filter = filter
            .in_best_layout(selector, chain.product)
            .with_signals_turned(selector, node.output(0));
        let way = filter.fastest(selector, x);
        let filter = filter.by_way(way);
        let mut bias = vec![0.0; filter.channels];
        let own = selector.constant_input(chain.product, 2);
        let extra = chain.bias.and_then(|v| selector.constant(v));
        let has_bias = own.is_some() || extra.is_some();
        for summand in own.iter().chain(&extra) {
            let Ok(summand) = summand.data::<f32>() else {
                return Ok(None);
            };
            bias.iter_mut()
                .zip(summand.iter())
                .for_each(|(b, s)| *b += s);
        }
        let source = Source {
            node: chain.product,
            weight,
        };
        let weights = selector.scope.weights;
        let weight = packed(weights, graph, selector.isa(), &filter, way, &source)?;
        let tunes = selector.scope.options.autotune.is_some();
        let conv = Self {
            filter,
            weight,
            way,
            bias: has_bias.then_some(bias),
            activation: chain.activation,
            source: tunes.then_some(source),
        };
        Ok(Some(Stage {
            conv,
            x,
            residual: chain.residual,
        }))
    }

    /// Whether rows of the result may be computed apart: images with channels last, sums taken one by one.
    pub(crate) fn runs_by_rows(&self) -> bool {
        self.filter.runs_by_rows() && self.weight.is_direct()
    }

    /// The convolution as one of several.
    pub(crate) fn stage<'s>(
        &'s self,
        shape: &'s ConvShape,
        residual: Option<&'s [f32]>,
    ) -> ConvStage<'s> {
        let mut epilogue = ConvEpilogue::default();
        epilogue.bias = self.bias.as_deref();
        epilogue.residual = residual;
        epilogue.activation = self.activation;
        ConvStage::new(shape, &self.weight, epilogue)
    }

    /// The result for an image in the filter's layout.
    fn convolve(
        &self,
        cx: &mut StepContext<'_>,
        image: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, StepError> {
        let (shape, result) = self.filter.shape(image.shape())?;
        let residual = chain::residual(residual, &result)?;
        let stage = self.stage(&shape, residual.as_deref());
        let mut out = cx.state.memory.tensor::<f32>(&result)?;
        conv(
            &cx.state.context,
            &mut cx.state.scratch,
            &shape,
            &image.data::<f32>()?,
            stage.weights,
            &stage.epilogue,
            out.data_mut::<f32>()?,
        )?;
        Ok(out)
    }
}

/// Signals `[batch, channels, length]` as `[batch, length, channels]`, or the other way; a view where that moves
/// nothing.
fn turned(cx: &mut StepContext<'_>, signals: &Tensor) -> Result<Tensor, StepError> {
    let &[batch, a, b] = signals.shape() else {
        // Other ranks are refused by the filter.
        return Ok(signals.clone());
    };
    let shape = [batch, b, a];
    if a == 1 || b == 1 {
        return Ok(signals.reshape(&shape)?);
    }
    let mut turned = cx.state.memory.tensor::<f32>(&shape)?;
    let (from, to) = (signals.data::<f32>()?, turned.data_mut::<f32>()?);
    permute(&cx.state.context, signals.shape(), &[0, 2, 1], &from, to)?;
    Ok(turned)
}
