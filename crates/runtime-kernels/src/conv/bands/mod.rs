//! Convolutions one behind the other, by bands of rows, so that what lies between them stays in the cache.
//!
//! A block of a mobile network widens an image, filters each channel and narrows it again. The wide images are the
//! largest of the model, and each is read once, right after it was written: computed whole, they go to memory and
//! come back. Here the rows of an image are computed when the next convolution needs them, and those that its next
//! band needs again are kept (Alwani et al., "Fused-layer CNN accelerators", MICRO 2016). Each element is summed as
//! it is without bands, so results are the same.

mod float;
mod int8;

pub use float::{ConvStage, conv_stages, conv_stages_within};
pub use int8::{Int8ConvStage, conv_int8_stages, conv_int8_stages_within};

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::shape::ConvShape;
use crate::context::Element;
use crate::error::{check_extent, check_len};
use crate::threads::product_work;
use crate::{Context, KernelError, Parallelism, Scratch};

/// Convolutions that may run together.
pub const MAX_STAGES: usize = 3;

/// Bytes of the images between two convolutions that stay in a core's own cache beside the weights: what [`conv_stages`] keeps of them
/// at a time.
pub const BAND_BYTES: usize = 384 * 1024;

/// Rows of the result of one stage, for one image.
struct StageRows {
    stage: usize,
    image: usize,
    first: usize,
    /// The convolution that gives these rows alone.
    shape: ConvShape,
}

impl StageRows {
    /// Where the rows start in the whole result of the stage, whose extents are `shape`.
    fn start(&self, shape: &ConvShape) -> usize {
        (self.image * shape.output[1] + self.first) * result_row(shape)
    }
}

/// Convolutions of which each reads the result of the one before it.
trait Stages<T>: Sync {
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
fn run<T: Element, S: Stages<T>>(
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
    let work: usize = (0..stages.len())
        .map(|stage| stages.shape(stage))
        .map(|s| product_work(s.batch * s.out_pixels(), s.depth(), s.out_channels))
        .fold(0, usize::saturating_add);
    let lines = last.batch * oh;
    let tasks = ctx.parallelism.tasks(work, lines);
    let per_task = lines.div_ceil(tasks);
    // Images that stay in the cache anyway are worth bands where threads then share the stages out once.
    let is_shared = tasks > 1 && budget < usize::MAX;
    let is_worth = !fits || (is_shared && shares_evenly(stages, per_task, work / tasks));
    if !is_worth || !(0..stages.len()).all(|stage| stages.runs_by_rows(stage)) {
        return run_whole(ctx, scratch, stages, input, out);
    }
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

/// Whether a task of so many lines, with the rows of earlier stages that its neighbours compute too, takes little more than an even
/// share of the work.
fn shares_evenly<T, S: Stages<T>>(stages: &S, per_task: usize, share: usize) -> bool {
    let last = stages.len() - 1;
    let oh = stages.shape(last).output[1];
    // The second task, which has neighbours on both sides where there are more than two.
    let lines = per_task.min(oh);
    let from = per_task.min(oh - lines);
    let mut rows = from..from + lines;
    let mut work = 0usize;
    for stage in (0..=last).rev() {
        let shape = stages.shape(stage);
        let pixels = rows.len() * shape.output[2];
        work = work.saturating_add(product_work(pixels, shape.depth(), shape.out_channels));
        rows = shape.rows_under(&rows);
    }
    let work = work.saturating_mul(per_task.div_ceil(lines));
    work <= share.saturating_add(share / MOST_MORE)
}

/// The part of an even share of the work that a task may take beyond it, as a divisor.
const MOST_MORE: usize = 6;

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
mod tests;
