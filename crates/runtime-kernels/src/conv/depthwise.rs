//! Depthwise convolution in two dimensions, channels first: a direct loop over planes.
//!
//! Sums are taken in f32. For bytes that is exact: with at most [`EXACT_TAPS`] taps every partial
//! sum is an integer below 2^24 in magnitude.

use super::shape::ConvShape;
use crate::gemm::arith::Float;
use crate::gemm::driver::{Cut, Finish, Part, Pieces};
use crate::isa::{MAX_NR, Simd, simd_dispatch};
use crate::threads::Place;
use crate::{Context, Scratch};

/// `258 * 255 * 255 < 2^24`.
pub(super) const EXACT_TAPS: usize = 258;

/// Elements that are staged whatever the convolution: 4 MiB.
const STAGED_ANYWAY: usize = 1 << 20;

/// Elements beyond which staging `channels` planes costs more than the products that it serves.
pub(super) fn staged_at_most(shape: &ConvShape, channels: usize) -> usize {
    let work = shape.out_pixels().saturating_mul(shape.taps());
    let plane = shape.in_pixels().saturating_add(work);
    let planes = plane.saturating_mul(channels).saturating_mul(4);
    planes.max(STAGED_ANYWAY)
}

/// Whether one plane is worth staging: wide dilations spread it over more than memory holds.
pub(super) fn stages_little(shape: &ConvShape) -> bool {
    PaddedPlane::new(shape).bounded_len() <= staged_at_most(shape, 1)
}

/// The operands beside the image.
pub(super) struct Depthwise<'a> {
    pub(super) shape: &'a ConvShape,
    /// `[out channel][tap]` (channels first) or `[tap][out channel]` (channels last), less their
    /// zero points.
    pub(super) weights: &'a [f32],
    /// Subtracted from the image.
    pub(super) zero_point: i32,
}

/// An image element, read as a float.
pub(super) trait Pixel: Copy + Send + Sync {
    /// The value less the zero point.
    fn real(self, zero_point: i32) -> f32;
    /// One vector of values less the zero point.
    fn load<S: Simd>(s: S, src: &[Self], zero_point: S::I) -> S::F;
    /// The image itself, where it holds floats.
    fn floats(image: &[Self]) -> Option<&[f32]> {
        let _ = image;
        None
    }
}

impl Pixel for f32 {
    #[inline(always)]
    fn real(self, _: i32) -> f32 {
        self
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[f32], _: S::I) -> S::F {
        s.load(src)
    }
    fn floats(image: &[f32]) -> Option<&[f32]> {
        Some(image)
    }
}
impl Pixel for u8 {
    #[inline(always)]
    fn real(self, zero_point: i32) -> f32 {
        (i32::from(self) - zero_point) as f32
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[u8], zero_point: S::I) -> S::F {
        s.to_f32(s.sub_i32(s.load_u8(src), zero_point))
    }
}
impl Pixel for i8 {
    #[inline(always)]
    fn real(self, zero_point: i32) -> f32 {
        (i32::from(self) - zero_point) as f32
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[i8], zero_point: S::I) -> S::F {
        s.to_f32(s.sub_i32(s.load_i8(src), zero_point))
    }
}

/// Convolves one image, channels first; `out` holds one plane per row.
pub(super) fn run_channels_first<T: Pixel, F: Finish<Float>>(
    ctx: &Context,
    scratch: &mut Scratch,
    op: &Depthwise<'_>,
    image: &[T],
    finish: &F,
    out: F::Out<'_>,
) {
    let planes = out.rows();
    let work = out.cols() * (op.shape.taps() + 4);
    let tasks = ctx.parallelism.tasks(planes.saturating_mul(work), planes);
    let own = PaddedPlane::new(op.shape).len();
    let (floats, _) = scratch.parts(own * tasks, 0);
    if tasks == 1 {
        return convolve_planes(ctx.isa, op, image, finish, 0, floats, out);
    }
    let per_task = planes.div_ceil(tasks).max(1);
    let parts = Pieces::new(out, planes, per_task, Cut::split_rows, floats, own);
    ctx.parallelism
        .for_each(tasks, parts, |(first, out, floats)| {
            convolve_planes(ctx.isa, op, image, finish, first, floats, out);
        });
}

/// One plane with its padding, split by column phase so that every tap of a strided window reads
/// neighbours: column `c` of a row stands at `phase(c % stride)[c / stride]`.
#[derive(Clone, Copy)]
struct PaddedPlane {
    rows: usize,
    phases: usize,
    phase_len: usize,
    acc_len: usize,
}

impl PaddedPlane {
    fn new(shape: &ConvShape) -> Self {
        let [_, oh, ow] = shape.output;
        let reach = |d: usize| (shape.kernel[d] - 1) * shape.dilations[d];
        let acc_len = ow.next_multiple_of(MAX_NR);
        Self {
            rows: (oh - 1) * shape.strides[1] + reach(1) + 1,
            phases: shape.strides[2],
            phase_len: acc_len + reach(2) / shape.strides[2] + 1,
            acc_len,
        }
    }

    fn row_len(&self) -> usize {
        self.phases * self.phase_len
    }

    /// Elements, or the largest number where there are more.
    fn bounded_len(&self) -> usize {
        let row_len = self.phases.saturating_mul(self.phase_len);
        self.rows
            .saturating_mul(row_len)
            .saturating_add(self.acc_len)
    }

    fn len(&self) -> usize {
        self.rows * self.row_len() + self.acc_len
    }
}

simd_dispatch! {
    /// Output planes from `first` on.
    fn convolve_planes[T: Pixel, F: Finish<Float>](
        s: S,
        op: &Depthwise<'_>,
        image: &[T],
        finish: &F,
        first: usize,
        scratch: &mut [f32],
        out: F::Out<'_>,
    ) {
        let shape = op.shape;
        let layout = PaddedPlane::new(shape);
        let [_, oh, ow] = shape.output;
        let (pixels, taps) = (shape.in_pixels(), shape.taps());
        let (padded, acc) = scratch.split_at_mut(layout.rows * layout.row_len());
        let (mut held, nr, mut out) = (usize::MAX, 2 * S::LANES, out);
        for i in 0..out.rows() {
            let channel = first + i;
            let plane = channel / shape.out_per_group();
            if plane != held {
                fill_plane(shape, layout, &image[plane * pixels..(plane + 1) * pixels], op.zero_point, padded);
                held = plane;
            }
            let weights = &op.weights[channel * taps..(channel + 1) * taps];
            for y in 0..oh {
                convolve_row(s, shape, layout, padded, weights, y, acc);
                for x in (0..ow).step_by(nr) {
                    let at = Place { row: i, col: y * ow + x, rows: 1, cols: nr.min(ow - x) };
                    finish.tile(s, Part::WHOLE, channel, at.col, &acc[x..], at, &mut out);
                }
            }
        }
    }
}

/// Copies one plane into its padded form.
#[inline(always)]
fn fill_plane<T: Pixel>(
    shape: &ConvShape,
    layout: PaddedPlane,
    plane: &[T],
    zero_point: i32,
    padded: &mut [f32],
) {
    let [_, h, w] = shape.input;
    let (stride, pad) = (shape.strides[2], shape.pads[2]);
    padded.fill(0.0);
    for (r, row) in padded.chunks_exact_mut(layout.row_len()).enumerate() {
        let Some(y) = r.checked_sub(shape.pads[1]).filter(|&y| y < h) else {
            continue;
        };
        let src = &plane[y * w..(y + 1) * w];
        for (p, phase) in row.chunks_exact_mut(layout.phase_len).enumerate() {
            // The first image column of this phase, and where it stands.
            let start = (p + stride - pad % stride) % stride;
            let from = (start + pad) / stride;
            if stride == 1 {
                let live = w.min(phase.len().saturating_sub(from));
                phase[from..from + live]
                    .iter_mut()
                    .zip(src)
                    .for_each(|(o, &x)| *o = x.real(zero_point));
            } else if start < w && from < phase.len() {
                let columns = src[start..].iter().step_by(stride);
                phase[from..]
                    .iter_mut()
                    .zip(columns)
                    .for_each(|(o, &x)| *o = x.real(zero_point));
            }
        }
    }
}

/// One output row, whole vectors of it.
#[inline(always)]
fn convolve_row<S: Simd>(
    s: S,
    shape: &ConvShape,
    layout: PaddedPlane,
    padded: &[f32],
    weights: &[f32],
    y: usize,
    acc: &mut [f32],
) {
    let [_, kh, kw] = shape.kernel;
    let stride = shape.strides[2];
    let mut x = 0;
    while x < shape.output[2] {
        let two = x + S::LANES < shape.output[2];
        let (mut a, mut b) = (s.splat(0.0), s.splat(0.0));
        for ky in 0..kh {
            let row = (y * shape.strides[1] + ky * shape.dilations[1]) * layout.row_len();
            for kx in 0..kw {
                let column = kx * shape.dilations[2];
                let at = row + column % stride * layout.phase_len + column / stride + x;
                let w = s.splat(weights[ky * kw + kx]);
                a = s.fma(s.load(&padded[at..]), w, a);
                if two {
                    b = s.fma(s.load(&padded[at + S::LANES..]), w, b);
                }
            }
        }
        s.store(a, &mut acc[x..]);
        if two {
            s.store(b, &mut acc[x + S::LANES..]);
        }
        x += 2 * S::LANES;
    }
}
