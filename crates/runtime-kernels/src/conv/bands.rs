//! Convolutions one behind the other, by bands of rows, so that what lies between them stays in the cache.
//!
//! A block of a mobile network widens an image, filters each channel and narrows it again. The wide images are the
//! largest of the model, and each is read once, right after it was written: computed whole, they go to memory and
//! come back. Here the rows of an image are computed when the next convolution needs them, and those that its next
//! band needs again are kept (Alwani et al., "Fused-layer CNN accelerators", MICRO 2016). Each element is summed as
//! it is without bands, so results are the same.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::float::{ConvEpilogue, PackedConvF32, conv};
use super::shape::ConvShape;
use crate::context::Element;
use crate::error::{check_extent, check_len};
use crate::threads::product_work;
use crate::{Context, KernelError, Parallelism, Scratch};

/// Convolutions that may run together.
pub const MAX_STAGES: usize = 3;

/// Bytes of the images between two convolutions that stay in a core's own cache beside the weights.
const BAND_BYTES: usize = 384 * 1024;

/// A convolution that reads the result of the one before it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConvStage<'a> {
    /// The extents.
    pub shape: &'a ConvShape,
    /// The weights.
    pub weights: &'a PackedConvF32,
    /// What is done to the sums.
    pub epilogue: ConvEpilogue<'a>,
}

impl<'a> ConvStage<'a> {
    /// A convolution with what is done to its sums.
    pub fn new(
        shape: &'a ConvShape,
        weights: &'a PackedConvF32,
        epilogue: ConvEpilogue<'a>,
    ) -> Self {
        Self {
            shape,
            weights,
            epilogue,
        }
    }
}

/// Convolves `input` by the first stage, its result by the second, and so on, into `out`: as [`conv`] once for each
/// stage, with the same results, but without storing the images between them whole where they are large.
///
/// That is done with two spatial dimensions and channels last; weights packed by tiles, whose roundings would depend on
/// the bands, and windows in the padding alone are computed whole.
///
/// # Errors
/// [`KernelError::Invalid`] for no stages or more than [`MAX_STAGES`]; [`KernelError::Extent`] if a stage does not take
/// the result of the one before it; those of [`conv`].
pub fn conv_stages(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &[ConvStage<'_>],
    input: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    run(ctx, scratch, &Floats(stages), BAND_BYTES, input, out)
}

struct Floats<'a>(&'a [ConvStage<'a>]);

impl Stages<f32> for Floats<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn shape(&self, stage: usize) -> &ConvShape {
        self.0[stage].shape
    }

    fn runs_by_rows(&self, stage: usize) -> bool {
        let stage = &self.0[stage];
        stage.shape.runs_by_rows() && !stage.weights.is_winograd()
    }

    fn run(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        part: &StageRows,
        input: &[f32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let ConvStage {
            shape,
            weights,
            mut epilogue,
        } = self.0[part.stage];
        if let Some(residual) = &mut epilogue.residual {
            let all = shape.output_len();
            check_len("residual", residual.len(), all)?;
            *residual = &residual[part.start(shape)..][..out.len()];
        }
        conv(ctx, scratch, &part.shape, input, weights, &epilogue, out)
    }
}

/// Rows of the result of one stage, for one image.
pub(super) struct StageRows {
    pub(super) stage: usize,
    image: usize,
    first: usize,
    /// The convolution that gives these rows alone.
    pub(super) shape: ConvShape,
}

impl StageRows {
    /// Where the rows start in the whole result of the stage, whose extents are `shape`.
    pub(super) fn start(&self, shape: &ConvShape) -> usize {
        (self.image * shape.output[1] + self.first) * result_row(shape)
    }
}

/// Convolutions of which each reads the result of the one before it.
pub(super) trait Stages<T>: Sync {
    fn len(&self) -> usize;

    fn shape(&self, stage: usize) -> &ConvShape;

    /// Whether rows of the result can be computed apart, with the same result.
    fn runs_by_rows(&self, stage: usize) -> bool;

    /// Computes rows of a stage from the rows of the image that they see.
    fn run(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        part: &StageRows,
        input: &[T],
        out: &mut [T],
    ) -> Result<(), KernelError>;
}

/// Elements of a row of the result.
fn result_row(shape: &ConvShape) -> usize {
    shape.output[2] * shape.out_channels
}

/// Elements of a row of the image.
fn image_row(shape: &ConvShape) -> usize {
    shape.input[2] * shape.in_channels
}

/// Runs all stages, with at most `budget` bytes of images between them where that is possible.
///
/// # Errors
/// As [`conv_stages`].
pub(super) fn run<T: Element, S: Stages<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &S,
    budget: usize,
    input: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    if !(1..=MAX_STAGES).contains(&stages.len()) {
        return Err(KernelError::Invalid {
            what: "number of stages",
            value: stages.len(),
        });
    }
    let (first, last) = (stages.shape(0), stages.shape(stages.len() - 1));
    check_len("input", input.len(), first.input_len())?;
    check_len("result", out.len(), last.output_len())?;
    if out.is_empty() {
        return Ok(());
    }
    check(stages)?;
    let oh = last.output[1];
    let between = (0..stages.len() - 1).map(|stage| stages.shape(stage).output_len());
    let between = between.map(|len| len.unwrap_or(usize::MAX));
    let between = between.fold(0, usize::saturating_add);
    let fits = between.saturating_mul(size_of::<T>()) <= budget;
    if fits || !(0..stages.len()).all(|stage| stages.runs_by_rows(stage)) {
        return run_whole(ctx, scratch, stages, input, out);
    }
    let work: usize = (0..stages.len())
        .map(|stage| stages.shape(stage))
        .map(|s| product_work(s.batch * s.out_pixels(), s.depth(), s.out_channels))
        .fold(0, usize::saturating_add);
    let lines = last.batch * oh;
    let tasks = ctx.parallelism.tasks(work, lines);
    let per_task = lines.div_ceil(tasks);
    let row = result_row(last);
    let image = Image {
        input,
        len: input.len() / last.batch,
        budget,
    };
    let own = scratch.inner(tasks);
    if tasks == 1 {
        return task(ctx, &mut own[0], stages, image, 0, out);
    }
    let failed = Mutex::new(None);
    let alone = Context {
        parallelism: Parallelism::sequential(),
        ..ctx.clone()
    };
    let parts = out.chunks_mut(per_task * row).zip(own).enumerate();
    ctx.parallelism
        .for_each(tasks, parts, |(i, (out, scratch))| {
            if let Err(error) = task(&alone, scratch, stages, image, i * per_task, out) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

fn check<T, S: Stages<T>>(stages: &S) -> Result<(), KernelError> {
    for stage in 1..stages.len() {
        let (shape, before) = (stages.shape(stage), stages.shape(stage - 1));
        for (what, found, expected) in [
            (
                "layout of a stage",
                shape.layout as usize,
                before.layout as usize,
            ),
            ("batch of a stage", shape.batch, before.batch),
            (
                "channels of a stage",
                shape.in_channels,
                before.out_channels,
            ),
            ("planes of a stage", shape.input[0], before.output[0]),
            ("rows of a stage", shape.input[1], before.output[1]),
            ("columns of a stage", shape.input[2], before.output[2]),
        ] {
            check_extent(what, found, expected)?;
        }
    }
    Ok(())
}

/// Each stage after the other, on all threads.
fn run_whole<T: Element, S: Stages<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &S,
    input: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let last = stages.len() - 1;
    let between = (0..last).map(|stage| stages.shape(stage).output_len().unwrap_or(0));
    let (buffer, scratch) = scratch.with_inner::<T>(between.sum());
    let mut rest = buffer;
    let mut image = input;
    let whole = |stage: usize| StageRows {
        stage,
        image: 0,
        first: 0,
        shape: stages.shape(stage).clone(),
    };
    for stage in 0..last {
        let len = stages.shape(stage).output_len().unwrap_or(0);
        let (result, after) = rest.split_at_mut(len);
        stages.run(ctx, scratch, &whole(stage), image, result)?;
        (image, rest) = (result, after);
    }
    stages.run(ctx, scratch, &whole(last), image, out)
}

/// The images of a batch.
#[derive(Clone, Copy)]
struct Image<'a, T> {
    input: &'a [T],
    /// Elements of one.
    len: usize,
    /// Bytes that may lie between the stages.
    budget: usize,
}

/// The rows that each stage has at a time, for a number of rows of the last result.
#[derive(Clone, Copy)]
struct Lines {
    /// Where the rows of each stage start in the buffer of all.
    starts: [usize; MAX_STAGES],
    /// Elements of all but the last.
    elements: usize,
}

impl Lines {
    fn new<T, S: Stages<T>>(stages: &S, height: usize) -> Self {
        let last = stages.len() - 1;
        let mut lens = [0usize; MAX_STAGES];
        let mut rows = height;
        for stage in (1..=last).rev() {
            let before = stages.shape(stage - 1);
            rows = stages.shape(stage).rows_at_most(rows);
            lens[stage - 1] = rows.saturating_mul(result_row(before));
        }
        let mut starts = [0; MAX_STAGES];
        let mut elements = 0usize;
        for (start, len) in starts.iter_mut().zip(&lens[..last]) {
            *start = elements;
            elements = elements.saturating_add(*len);
        }
        starts[last] = elements;
        Self { starts, elements }
    }

    /// The most rows of the result whose images fit the cache, at least one.
    fn largest_height<T, S: Stages<T>>(stages: &S, rows: usize, budget: usize) -> usize {
        let fits = |height: &usize| {
            let elements = Self::new(stages, *height).elements;
            elements.saturating_mul(size_of::<T>()) <= budget
        };
        let height = (1..=rows).take_while(fits).last().unwrap_or(1);
        // Bands of one height, as near as can be.
        rows.div_ceil(rows.div_ceil(height))
    }
}

/// The rows of the result from line `first` on, lines of all images counted through.
fn task<T: Element, S: Stages<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &S,
    image: Image<'_, T>,
    first: usize,
    out: &mut [T],
) -> Result<(), KernelError> {
    let last = stages.shape(stages.len() - 1);
    let (oh, row) = (last.output[1], result_row(last));
    let end = first + out.len() / row;
    let mut rest = out;
    let mut line = first;
    while line < end {
        let (index, from) = (line / oh, line % oh);
        let to = oh.min(from + end - line);
        let (own, after) = rest.split_at_mut((to - from) * row);
        image_rows(ctx, scratch, stages, (index, image), from..to, own)?;
        rest = after;
        line += to - from;
    }
    Ok(())
}

/// Rows of the result of one image, by bands.
fn image_rows<T: Element, S: Stages<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &S,
    (index, image): (usize, Image<'_, T>),
    rows: Range<usize>,
    out: &mut [T],
) -> Result<(), KernelError> {
    let last = stages.len() - 1;
    let height = Lines::largest_height(stages, rows.len(), image.budget);
    let lines = Lines::new(stages, height);
    let (buffer, scratch) = scratch.with_inner::<T>(lines.elements);
    let mut have: [Range<usize>; MAX_STAGES] = [const { 0..0 }; MAX_STAGES];
    let row = result_row(stages.shape(last));
    let mut out = out.chunks_mut(height * row);
    for from in rows.clone().step_by(height) {
        let mut need = [const { 0..0 }; MAX_STAGES];
        need[last] = from..rows.end.min(from + height);
        for stage in (1..=last).rev() {
            need[stage - 1] = stages.shape(stage).rows_under(&need[stage]);
        }
        for stage in 0..=last {
            let shape = stages.shape(stage);
            let (before, own) = buffer.split_at_mut(lines.starts[stage]);
            let (read, read_from) = match stage {
                0 => (&image.input[index * image.len..][..image.len], 0),
                _ => (&before[lines.starts[stage - 1]..], need[stage - 1].start),
            };
            let (new, to) = if stage == last {
                (need[last].clone(), out.next().unwrap_or_default())
            } else {
                let row = result_row(shape);
                let kept = have[stage].end.saturating_sub(need[stage].start);
                if kept > 0 {
                    let at = need[stage].start - have[stage].start;
                    own.copy_within(at * row..(at + kept) * row, 0);
                }
                let len = need[stage].len() * row;
                have[stage] = need[stage].clone();
                (
                    need[stage].start + kept..need[stage].end,
                    &mut own[kept * row..len],
                )
            };
            if new.is_empty() {
                continue;
            }
            let under = shape.rows_under(&new);
            let row = image_row(shape);
            let read = &read[(under.start - read_from) * row..][..under.len() * row];
            let part = StageRows {
                stage,
                image: index,
                first: new.start,
                shape: shape.of_rows(&new),
            };
            stages.run(ctx, scratch, &part, read, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::conv::{ConvParams, Layout};
    use crate::elementwise::Activation;
    use proptest::prelude::*;

    /// Extents of one convolution: output channels, or one for each input channel, and a window.
    #[derive(Clone, Debug)]
    struct Window {
        channels: Option<usize>,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: usize,
        pads: [usize; 4],
    }

    fn window() -> impl Strategy<Value = Window> {
        let window = (1..4usize, 1..4usize, 1..3usize, 1..3usize, 1..3usize);
        let channels = prop::option::of(1..20usize);
        let pads = prop::array::uniform4(0..3usize);
        (channels, window, pads).prop_map(|(channels, (kh, kw, sh, sw, dilation), pads)| Window {
            channels,
            kernel: [kh, kw],
            stride: [sh, sw],
            dilation,
            pads: [0, 1, 2, 3].map(|i| pads[i].min([kh, kw][i % 2].saturating_sub(1) * dilation)),
        })
    }

    /// What stands between two floats, in `-1..1`.
    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed | 1;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    struct Layer {
        shape: ConvShape,
        weights: PackedConvF32,
        bias: Vec<f32>,
        residual: Vec<f32>,
    }

    impl Layer {
        fn new(isa: Isa, image: (usize, usize, [usize; 2]), window: &Window) -> Option<Self> {
            let (batch, channels, size) = image;
            let mut params = ConvParams {
                layout: Layout::ChannelsLast,
                strides: window.stride.to_vec(),
                dilations: vec![window.dilation; 2],
                pads_begin: window.pads[..2].to_vec(),
                pads_end: window.pads[2..].to_vec(),
                ..ConvParams::default()
            };
            let (out, depth) = match window.channels {
                Some(out) => (out, channels),
                None => {
                    params.groups = channels;
                    (channels, 1)
                }
            };
            let shape =
                ConvShape::new(&params, batch, channels, &size, out, &window.kernel).ok()?;
            let [kh, kw] = window.kernel;
            let weights = numbers(out * depth * kh * kw, 7);
            let weights =
                PackedConvF32::new(isa, &params, &weights, out, depth, &window.kernel).unwrap();
            let residual = numbers(shape.output_len()?, 9);
            Some(Self {
                shape,
                weights,
                bias: numbers(out, 8),
                residual,
            })
        }

        fn stage(&self) -> ConvStage<'_> {
            let epilogue = ConvEpilogue {
                bias: Some(&self.bias),
                residual: Some(&self.residual),
                activation: Activation::Relu,
            };
            ConvStage::new(&self.shape, &self.weights, epilogue)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

        #[test]
        fn bands_give_what_whole_images_give(
            batch in 1..4usize,
            channels in 1..20usize,
            size in prop::array::uniform2(1..24usize),
            windows in prop::collection::vec(window(), 1..=MAX_STAGES),
            budget in 0..20_000usize,
            threads in 1..4usize,
        ) {
            for isa in Isa::available() {
                let mut layers: Vec<Layer> = Vec::new();
                let mut image = (batch, channels, size);
                for window in &windows {
                    let Some(layer) = Layer::new(isa, image, window) else {
                        return Ok(());
                    };
                    let &[h, w] = layer.shape.output_spatial() else { unreachable!() };
                    image = (batch, layer.shape.out_channels, [h, w]);
                    layers.push(layer);
                }
                let ctx = Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
                let mut scratch = Scratch::new();
                let input = numbers(batch * channels * size[0] * size[1], 5);
                let mut expected = input.clone();
                for layer in &layers {
                    let mut next = vec![0.0; layer.shape.output_len().unwrap()];
                    let ConvStage { shape, weights, epilogue } = layer.stage();
                    conv(&ctx, &mut scratch, shape, &expected, weights, &epilogue, &mut next).unwrap();
                    expected = next;
                }
                let stages: Vec<_> = layers.iter().map(Layer::stage).collect();
                let mut out = vec![f32::NAN; expected.len()];
                run(&ctx, &mut scratch, &Floats(&stages), budget, &input, &mut out).unwrap();
                prop_assert_eq!(&out, &expected);
            }
        }
    }
}
