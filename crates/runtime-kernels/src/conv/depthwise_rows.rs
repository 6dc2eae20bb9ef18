//! The rows of a depthwise result, channels last, shared out to tasks and gone through by bands.

use super::shape::ConvShape;
use crate::Context;
use crate::gemm::driver::{Cut, Pieces};

/// Output rows of one image.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub(super) image: usize,
    pub(super) y: usize,
    pub(super) lines: usize,
    /// The first pixel in the result, and in the piece of the result at hand.
    pub(super) row: usize,
    pub(super) out_row: usize,
}

/// Runs `run` on bands of at most `per_band` rows; `work` is what a row of the result takes.
///
/// `scratch` is for all tasks, see [`tasks`]; each gets `own` elements of it.
pub(super) fn by_bands<O: Cut, W: Send>(
    ctx: &Context,
    shape: &ConvShape,
    (per_band, work, own): (usize, usize, usize),
    scratch: &mut [W],
    out: O,
    run: impl Fn(Band, &mut [W], &mut O) + Sync,
) {
    let [_, oh, ow] = shape.output;
    let task = |first: usize, mut out: O, scratch: &mut [W]| {
        let end = first + out.rows() / ow;
        let mut line = first;
        while line < end {
            let y = line % oh;
            let lines = per_band.min(oh - y).min(end - line);
            let band = Band {
                image: line / oh,
                y,
                lines,
                row: line * ow,
                out_row: (line - first) * ow,
            };
            run(band, scratch, &mut out);
            line += lines;
        }
    };
    let tasks = tasks(ctx, shape, work);
    if tasks == 1 {
        return task(0, out, scratch);
    }
    let lines = shape.batch * oh;
    let per_task = lines.div_ceil(tasks).max(1);
    let parts = Pieces::new(
        out,
        lines * ow,
        per_task * ow,
        Cut::split_rows,
        scratch,
        own,
    );
    ctx.parallelism
        .for_each(tasks, parts, |(from, out, scratch)| {
            task(from / ow, out, scratch)
        });
}

/// Into how many tasks the rows are cut.
pub(super) fn tasks(ctx: &Context, shape: &ConvShape, work: usize) -> usize {
    let lines = shape.batch * shape.output[1];
    ctx.parallelism.tasks(lines.saturating_mul(work), lines)
}
