//! Convolution of 3 x 3 taps by fewer products: Winograd's minimal filtering F(m, 3) in both directions.
//!
//! A piece of `m x m` results is `Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` of the filter `g` and the patch `d` of
//! `(m + 2) x (m + 2)` pixels under it (Lavin & Gray, arXiv:1509.09308): per channel `(m + 2)²` products in place
//! of `9 m²`. Summed over the channels, each of the `(m + 2)²` places is a matrix product of patches and weights;
//! the weights are transformed when they are packed.
//!
//! A block of patches at a time is transformed, multiplied and turned back, so that it stays in a core's own cache.

mod transform;

use super::shape::{ConvShape, Layout};
use crate::gemm::arith::Float;
use crate::gemm::direct::{ROW_UNIT, Walk, check_width};
use crate::gemm::driver::{Cut, Finish, Part, Pieces};
use crate::gemm::register_tile::{narrow_tile, wide_tile};
use crate::gemm::{FloatFinish, PackedF32, Side, vector};
use crate::isa::{Isa, MAX_MR, MAX_NR, simd_dispatch};
use crate::threads::{Place, TileMut, product_work};
use crate::{Context, KernelError, MatRef, Scratch};
use transform::{Four, MAX_PATCH, MAX_TILE, Transform, Two};

/// The pieces that a convolution of 3 x 3 taps, stride 1, is computed in by Winograd's minimal filtering.
///
/// The sums are those of [`conv`](super::conv) with other roundings. With `u = 2⁻²⁴`, `C` input channels and `S = 9 C
/// max|weight| max|pixel|`, a result is off by at most `(C + 20) u κ S`, where κ = `(max_i Σ_k |Aᵀ|_ik Σ_j |G|_kj Σ_l |Bᵀ|_kl /
/// 3)²` is 7.2 for [`Two`](Self::Two) and 69 for [`Four`](Self::Four). What is met is far less: the tests hold random images to
/// `2 u S` and `6 u S`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WinogradTile {
    /// F(2 x 2, 3 x 3): 2.25 times fewer products.
    Two,
    /// F(4 x 4, 3 x 3): 4 times fewer products.
    Four,
}

/// Bytes of weights that are taken to stay in a cache from run to run.
const CACHED: usize = 2 << 20;
/// Products of vectors that take as long as a vector of weights from memory.
const FAR: f64 = 10.0;

impl WinogradTile {
    /// The tile that is expected to be fastest for a convolution, by counting products and transforms; `None` where that
    /// is the direct sum, or where these tiles do not apply.
    pub fn fastest(isa: Isa, shape: &ConvShape) -> Option<Self> {
        if !applies(shape) {
            return None;
        }
        // Products of vectors, and what takes as long as one.
        let lanes = isa.tile().nr / 2;
        let vectors = |channels: usize| channels.div_ceil(lanes) as f64;
        let (read, written) = (vectors(shape.in_channels), vectors(shape.out_channels));
        // Weights that no cache holds come from memory in every run, once for all images.
        let weights = |places: f64| {
            let all = places * shape.in_channels as f64 * written;
            let far = (all - (CACHED / (4 * lanes)) as f64).max(0.0);
            far * FAR / shape.batch.max(1) as f64
        };
        // Declared sizes may be beyond all bounds.
        let direct = shape.out_pixels() as f64 * shape.depth() as f64 * written + weights(9.0);
        let cost = |tile: Self| {
            let [_, height, width] = shape.output;
            let tiles = [height, width].map(|size| size.div_ceil(tile.extent()) as f64);
            let tiles = tiles[0] * tiles[1];
            let places = (tile.patch() * tile.patch()) as f64 * shape.in_channels as f64;
            // A product of few rows takes as long as one of more.
            let products = tiles.max(LEAST_ROWS) * places * written;
            let (patch, result) = tile.transform_costs();
            let transforms = tiles * (patch * read + result * written);
            products + transforms + weights((tile.patch() * tile.patch()) as f64)
        };
        let tiles = [Self::Two, Self::Four].map(|tile| (tile, cost(tile)));
        let [two, four] = tiles;
        let (tile, cost) = if two.1 < four.1 { two } else { four };
        (cost < WORTH * direct).then_some(tile)
    }

    /// Whether these tiles compute a convolution: 3 x 3 taps, channels last, of stride, dilation and groups 1.
    pub fn applies(shape: &ConvShape) -> bool {
        applies(shape)
    }

    /// Results in a line.
    fn extent(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Pixels in a line of a patch.
    fn patch(self) -> usize {
        self.extent() + 2
    }

    /// Products of vectors that the transforms of a vector of channels of a patch and of a result take as long as.
    fn transform_costs(self) -> (f64, f64) {
        match self {
            Self::Two => (80.0, 80.0),
            Self::Four => (250.0, 200.0),
        }
    }
}

/// Rows from which on a product with weights takes time by its rows.
const LEAST_ROWS: f64 = 6.0;
/// The share of the direct sum's cost that is worth its rounding.
const WORTH: f64 = 0.85;

/// Floats of a block's patches and products at least: half of a core's own cache.
const BLOCK: usize = 64 * 1024;
/// Patches of a block at least, so that weights are not read too often.
const LEAST_BLOCK: usize = 2 * ROW_UNIT;

/// Whether a convolution is of the kind that these tiles compute.
pub(super) fn applies(shape: &ConvShape) -> bool {
    shape.layout == Layout::ChannelsLast
        && shape.groups == 1
        && shape.kernel == [1, 3, 3]
        && shape.strides[1..] == [1, 1]
        && shape.dilations[1..] == [1, 1]
        && shape.input[0] == 1
        && shape.output[0] == 1
        && shape.pads[0] == 0
}

/// Transformed weights: a matrix `[channels, out_channels]` per place of a patch.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    tile: WinogradTile,
    places: Vec<PackedF32>,
}

impl Weights {
    /// Transforms weights `[out_channels, channels, 3, 3]`.
    pub(super) fn new(
        isa: Isa,
        tile: WinogradTile,
        weights: &[f32],
        out_channels: usize,
        channels: usize,
    ) -> Result<Self, KernelError> {
        let patch = tile.patch();
        let size = out_channels * channels;
        let mut transformed = vec![0.0f32; patch * patch * size];
        for (at, taps) in weights.as_chunks::<9>().0.iter().enumerate() {
            let lines = transform::filter(tile, taps.map(f64::from));
            for (i, line) in lines.iter().take(patch).enumerate() {
                for (j, &value) in line.iter().take(patch).enumerate() {
                    transformed[(i * patch + j) * size + at] = value as f32;
                }
            }
        }
        let places = transformed.chunks_exact(size.max(1)).map(|place| {
            let matrix = MatRef::row_major(place, out_channels, channels)?;
            PackedF32::new(isa, Side::Rhs, matrix.transposed())
        });
        let places = places.collect::<Result<_, _>>()?;
        Ok(Self { tile, places })
    }

    /// No weights, to be packed later.
    pub(super) fn empty(tile: WinogradTile) -> Self {
        let places = vec![PackedF32::empty(Side::Rhs); tile.patch() * tile.patch()];
        Self { tile, places }
    }

    /// Transforms other weights, the taps of an output and an input channel by `taps`, in the memory that is there where it
    /// suffices; `None` if their size does not fit the address space.
    pub(super) fn repack(
        &mut self,
        isa: Isa,
        (out_channels, channels): (usize, usize),
        taps: impl Fn(usize, usize) -> [f32; 9],
    ) -> Option<()> {
        let (patch, width) = (self.tile.patch(), Side::Rhs.width(isa));
        for place in &mut self.places {
            place.panels_mut().reset(out_channels, channels, width)?;
        }
        for channel in 0..channels {
            for out in 0..out_channels {
                let lines = transform::filter(self.tile, taps(out, channel).map(f64::from));
                for (place, at) in self.places.iter_mut().zip(0..) {
                    let value = lines[at / patch][at % patch];
                    place.panels_mut().set(out, channel, value as f32);
                }
            }
        }
        Some(())
    }

    /// Refuses weights that were packed for another instruction set.
    fn check(&self, isa: Isa) -> Result<(), KernelError> {
        let mut widths = self.places.iter().map(|place| place.panels().width());
        widths.try_for_each(|width| check_width(isa, width))
    }

    pub(super) fn bytes(&self) -> usize {
        self.places.iter().map(PackedF32::bytes).sum()
    }
}

/// How blocks lie in scratch memory.
#[derive(Clone, Copy)]
struct Blocks {
    tile: WinogradTile,
    /// Patches of a block.
    patches: usize,
    /// Floats of a row of products: whole vectors.
    cols: usize,
    /// Floats from one place to the next.
    input_plane: usize,
    output_plane: usize,
}

impl Blocks {
    /// For tasks of up to `tiles` patches.
    fn new(isa: Isa, tile: WinogradTile, shape: &ConvShape, tiles: usize) -> Self {
        let cols = shape.out_channels.next_multiple_of(isa.tile().nr / 2);
        let places = tile.patch() * tile.patch();
        let each = places.saturating_mul(shape.in_channels.saturating_add(cols));
        let patches = (BLOCK / each.max(1))
            .next_multiple_of(ROW_UNIT)
            .max(LEAST_BLOCK)
            .min(tiles);
        Self {
            tile,
            patches,
            cols,
            input_plane: plane(patches * shape.in_channels),
            // Register tiles are stored whole.
            output_plane: plane((patches + MAX_MR) * cols),
        }
    }

    fn places(&self) -> usize {
        self.tile.patch() * self.tile.patch()
    }

    fn floats(&self) -> usize {
        self.places() * (self.input_plane + self.output_plane)
    }
}

/// Cache lines of a plane, an odd number of them: planes that lie a power of two apart would share few lines of the cache.
fn plane(floats: usize) -> usize {
    const LINE: usize = 16;
    (floats.div_ceil(LINE) | 1) * LINE
}

/// Convolves a batch of images with pixels as rows of `out`.
pub(super) fn run(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    image: &[f32],
    weights: &Weights,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let tile = weights.tile;
    let [_, height, width] = shape.output;
    weights.check(ctx.isa)?;
    let (down, across) = (
        height.div_ceil(tile.extent()),
        width.div_ceil(tile.extent()),
    );
    let work = product_work(
        down * across,
        tile.patch() * tile.patch() * shape.in_channels,
        shape.out_channels,
    );
    let tasks = ctx.parallelism.tasks(work, down);
    let per_task = down.div_ceil(tasks);
    let blocks = Blocks::new(ctx.isa, tile, shape, per_task * across);
    let own = blocks.floats();
    let (floats, _) = scratch.parts(own * tasks, 0);
    let mut rest = out;
    for n in 0..shape.batch {
        let (one, after) = rest.split_rows(height * width);
        rest = after;
        let task = Task {
            shape,
            image,
            n,
            weights,
            blocks,
            finish,
        };
        if tasks == 1 {
            task.run(ctx.isa, 0, one, floats);
            continue;
        }
        let step = per_task * tile.extent() * width;
        let parts = Pieces::new(one, height * width, step, Cut::split_rows, floats, own);
        ctx.parallelism
            .for_each(tasks, parts, |(from, out, floats)| {
                task.run(ctx.isa, from / width, out, floats);
            });
    }
    Ok(())
}

/// The tiles of one image.
struct Task<'a> {
    shape: &'a ConvShape,
    image: &'a [f32],
    /// Which image of the batch.
    n: usize,
    weights: &'a Weights,
    blocks: Blocks,
    finish: &'a FloatFinish<'a>,
}

/// A run of patches in the order of the tiles, and the piece of the result that starts at pixel `first_pixel` of
/// the image.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    patches: usize,
    first_pixel: usize,
}

impl Task<'_> {
    /// The result from line `line` of the image on.
    fn run(&self, isa: Isa, line: usize, mut out: TileMut<'_, f32>, scratch: &mut [f32]) {
        let [_, _, width] = self.shape.output;
        let (extent, blocks) = (self.blocks.tile.extent(), &self.blocks);
        let across = width.div_ceil(extent);
        let lines = out.rows() / width;
        let first = line / extent * across;
        let end = first + lines.div_ceil(extent) * across;
        let (input, output) = scratch.split_at_mut(blocks.places() * blocks.input_plane);
        for at in (first..end).step_by(blocks.patches.max(1)) {
            let block = Block {
                first: at,
                patches: blocks.patches.min(end - at),
                first_pixel: line * width,
            };
            match blocks.tile {
                WinogradTile::Two => transform_patches(isa, Two, self, block, input),
                WinogradTile::Four => transform_patches(isa, Four, self, block, input),
            }
            multiply(isa, self, block.patches, input, output);
            match blocks.tile {
                WinogradTile::Two => transform_back(isa, Two, self, block, output, &mut out),
                WinogradTile::Four => transform_back(isa, Four, self, block, output, &mut out),
            }
        }
    }

    /// Where the tile `at` starts in the result.
    fn corner(&self, at: usize) -> [usize; 2] {
        let extent = self.blocks.tile.extent();
        let across = self.shape.output[2].div_ceil(extent);
        [at / across * extent, at % across * extent]
    }
}

simd_dispatch! {
    /// `Bᵀ d B` of each patch of a block: place by place, a row of channels per patch.
    fn transform_patches[T: Transform](
        s: S,
        _transform: T,
        task: &Task<'_>,
        block: Block,
        out: &mut [f32],
    ) {
        let patch = T::TILE.patch();
        let shape = task.shape;
        let [_, height, width] = shape.input;
        let channels = shape.in_channels;
        let plane = task.blocks.input_plane;
        let [_, above, left] = shape.pads;
        let image = &task.image[task.n * height * width * channels..][..height * width * channels];
        let zero = s.splat(0.0);
        for t in 0..block.patches {
            let [y0, x0] = task.corner(block.first + t);
            // The columns of the patch that lie in the image.
            let from = left.saturating_sub(x0).min(patch);
            let to = (width + left).saturating_sub(x0).min(patch).max(from);
            for c in (0..channels).step_by(S::LANES) {
                let n = S::LANES.min(channels - c);
                let mut lines = [[zero; MAX_PATCH]; MAX_PATCH];
                for (i, line) in lines.iter_mut().enumerate().take(patch) {
                    let y = (y0 + i).checked_sub(above).filter(|&y| y < height);
                    let Some(y) = y.filter(|_| from < to) else {
                        continue;
                    };
                    let row = &image[(y * width + x0 + from - left) * channels + c..];
                    let mut pixels = [zero; MAX_PATCH];
                    if to - from == patch {
                        for (j, pixel) in pixels.iter_mut().enumerate().take(patch) {
                            *pixel = vector(s, &row[j * channels..], n);
                        }
                    } else {
                        for (j, pixel) in pixels[from..to].iter_mut().enumerate() {
                            *pixel = vector(s, &row[j * channels..], n);
                        }
                    }
                    *line = T::input(s, pixels);
                }
                let at = t * channels + c;
                for j in 0..patch {
                    let mut column = [zero; MAX_PATCH];
                    for i in 0..patch {
                        column[i] = lines[i][j];
                    }
                    let column = T::input(s, column);
                    for i in 0..patch {
                        let dst = &mut out[(i * patch + j) * plane + at..][..n];
                        if n == S::LANES {
                            s.store(column[i], dst);
                        } else {
                            s.store_partial(column[i], dst);
                        }
                    }
                }
            }
        }
    }
}

simd_dispatch! {
    /// One product per place of the patches; rows past the last patch are filled up to whole register tiles.
    fn multiply(
        s: S,
        task: &Task<'_>,
        patches: usize,
        input: &[f32],
        output: &mut [f32],
    ) {
        let (nr, blocks) = (2 * S::LANES, &task.blocks);
        let channels = task.shape.in_channels;
        let walk = Walk::rows(channels, channels);
        let inputs = input.chunks_exact(blocks.input_plane);
        let outputs = output.chunks_exact_mut(blocks.output_plane);
        for ((weights, input), output) in task.weights.places.iter().zip(inputs).zip(outputs) {
            for j in (0..blocks.cols).step_by(nr) {
                let panel = weights.panels().panel(j / nr, 0..channels);
                let narrow = blocks.cols - j <= S::LANES;
                let height = if narrow { S::MR_NARROW } else { S::MR };
                let mut tiles = walk.of::<Float>(input, patches).tiles();
                for i in (0..patches).step_by(height) {
                    let live = height.min(patches - i);
                    let tile = tiles.next(live, height);
                    let to = (&mut output[i * blocks.cols + j..], blocks.cols);
                    if narrow {
                        narrow_tile::<S, Float>(s, live, &walk, &tile, (panel, &[]), to);
                    } else {
                        wide_tile::<S, Float>(s, live, &walk, &tile, (panel, &[]), to);
                    }
                }
            }
        }
    }
}

simd_dispatch! {
    /// `Aᵀ m A` of the products of each patch of a block, through the epilogue into the result.
    fn transform_back[T: Transform](
        s: S,
        _transform: T,
        task: &Task<'_>,
        block: Block,
        products: &[f32],
        out: &mut TileMut<'_, f32>,
    ) {
        let (patch, extent) = (T::TILE.patch(), T::TILE.extent());
        let nr = 2 * S::LANES;
        let channels = task.shape.out_channels;
        let [_, height, width] = task.shape.output;
        let plane = task.blocks.output_plane;
        let zero = s.splat(0.0);
        let mut lines = [[0.0; MAX_TILE * MAX_NR]; MAX_TILE];
        for t in 0..block.patches {
            let [y0, x0] = task.corner(block.first + t);
            let (down, across) = (extent.min(height - y0), extent.min(width - x0));
            for c in (0..channels).step_by(nr) {
                let cols = nr.min(channels - c);
                for v in (0..cols).step_by(S::LANES) {
                    let at = t * task.blocks.cols + c + v;
                    let mut columns = [[zero; MAX_TILE]; MAX_PATCH];
                    for (j, column) in columns.iter_mut().enumerate().take(patch) {
                        let mut values = [zero; MAX_PATCH];
                        for i in 0..patch {
                            values[i] = s.load(&products[(i * patch + j) * plane + at..]);
                        }
                        *column = T::output(s, values);
                    }
                    for i in 0..extent {
                        let mut line = [zero; MAX_PATCH];
                        for j in 0..patch {
                            line[j] = columns[j][i];
                        }
                        let line = T::output(s, line);
                        for j in 0..extent {
                            s.store(line[j], &mut lines[i][j * nr + v..]);
                        }
                    }
                }
                for (i, line) in lines.iter().enumerate().take(down) {
                    let pixel = (y0 + i) * width + x0;
                    let at = Place { row: pixel - block.first_pixel, col: c, rows: across, cols };
                    let row = task.n * height * width + pixel;
                    Finish::<Float>::tile(task.finish, s, Part::WHOLE, row, c, line, at, out);
                }
            }
        }
    }
}
