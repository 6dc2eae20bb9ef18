//! Convolution with large windows by the fast Fourier transform.
//!
//! A piece of `T` results along an axis is the start of the circular correlation of the window of `N = T + K - 1` pixels under it with
//! the `K` taps (overlap-save; Oppenheim & Schafer, "Discrete-time signal processing"): `F⁻¹(F x · conj F w)`, in both directions of an
//! image. The weights are real, so that two pieces are transformed as the real and the imaginary part of one. `N` is a power of two. Taps
//! of depthwise filters cost `N²` complex products for two pieces in place of `K² T²` each; where channels mix, each frequency is a
//! matrix product of pieces and weights as in [Winograd's filtering](super::winograd), and the transforms are shared by all of them.
//! The product of frequency `-f` has the conjugate weights of `f`: weights of half the frequencies are stored.
//!
//! A vector of channels is transformed at a time, so that transforms are plain sums of vectors.

mod dense;
mod depthwise;
mod transform;
mod window;

use super::shape::{ConvParams, ConvShape, Layout};
use crate::gemm::FloatFinish;
use crate::gemm::direct::check_width;
use crate::isa::Isa;
use crate::threads::TileMut;
use crate::{Context, KernelError, Scratch};
use window::Grid;

/// The extents of the pieces in which a convolution is computed by the fast Fourier transform: powers of two.
///
/// The sums are those of [`conv`](super::conv) with other roundings. With `u = 2⁻²⁴`, `P = log₂(rows · columns)` passes and, for each input
/// channel `c`, the Euclidean norm `‖x_c‖` of the pixels of two pieces and the sum `‖w_c‖₁` of the magnitudes of the taps, a result of
/// `C` summed channels is off by at most `(10 P + 3 C + 10) u Σ_c ‖x_c‖ ‖w_c‖₁`, but for terms of `u²`: a pass of radix 2 is off by less than `5 u` of
/// the norm of a line (a product with a rounded root by `(√5 + 1) u`: Brent, Percival & Zimmermann, "Error bounds on complex
/// floating-point multiplication", 2007), there are `2 P` of them, and no frequency of the weights is greater than `‖w_c‖₁`. What is met is far less: the tests hold random images to `P u √(C K) max|weight| max|pixel|` for `K` taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FftTile {
    rows: usize,
    columns: usize,
}

/// Places of a piece at most: with a vector of channels each, they take half a core's own cache.
const MOST_PLACES: usize = 8192;
/// The share of the direct sum's cost that is worth its rounding.
const WORTH: f64 = 0.85;
/// Bytes of transformed weights that are always worth their memory, so many times those of the taps that larger ones may be, and what is
/// too much in any case.
const FEW_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
const MOST_TIMES: f64 = 16.0;
const MOST_BYTES: f64 = 512.0 * 1024.0 * 1024.0;
/// Rows from which on a product with weights takes time by its rows.
const LEAST_ROWS: f64 = 8.0;

impl FftTile {
    /// Pieces of so many places.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] unless both are powers of two with a product of at most 8,192.
    pub fn new(rows: usize, columns: usize) -> Result<Self, KernelError> {
        for (what, value) in [
            ("rows of a transformed piece", rows),
            ("columns of a transformed piece", columns),
        ] {
            if !value.is_power_of_two() || value > MOST_PLACES {
                return Err(KernelError::Invalid { what, value });
            }
        }
        match rows * columns {
            0..=MOST_PLACES => Ok(Self { rows, columns }),
            value => Err(KernelError::Invalid {
                what: "places of a transformed piece",
                value,
            }),
        }
    }

    /// The pieces that are expected to be fastest for a convolution, by counting sums of vectors; `None` where that is the direct
    /// sum, or where the transform does not apply.
    pub fn fastest(isa: Isa, shape: &ConvShape) -> Option<Self> {
        let (tile, cost) = Self::best(isa, shape)?;
        (cost < WORTH * direct_cost(isa, shape)).then_some(tile)
    }

    /// The best pieces for a convolution, unless the direct sum is expected to take less than half the time: what is worth
    /// being measured. `None` where the transform does not apply.
    pub fn candidate(isa: Isa, shape: &ConvShape) -> Option<Self> {
        let (tile, cost) = Self::best(isa, shape)?;
        (cost < 2.0 * direct_cost(isa, shape)).then_some(tile)
    }

    /// Multiply-accumulates of the direct sum that are expected to take as long as a convolution by these pieces.
    pub fn work(self, isa: Isa, shape: &ConvShape) -> f64 {
        self.cost(isa, shape) * lanes(isa) as f64
    }

    /// Rows of a piece.
    pub fn rows(self) -> usize {
        self.rows
    }

    /// Columns of a piece.
    pub fn columns(self) -> usize {
        self.columns
    }

    fn best(isa: Isa, shape: &ConvShape) -> Option<(Self, f64)> {
        if !applies(shape) {
            return None;
        }
        let sizes = |axis: usize| {
            let window = window(shape, axis);
            let least = window.checked_next_power_of_two()?;
            let most = window.checked_add(shape.output[axis].saturating_sub(1))?;
            let most = most.checked_next_power_of_two()?.min(MOST_PLACES);
            let all = (0..).map(move |power: u32| least << power.min(16));
            Some(all.take_while(move |&n| n <= most && n > 0).take(16))
        };
        let mut best: Option<(Self, f64)> = None;
        for rows in sizes(1)? {
            for columns in sizes(2)? {
                let Ok(tile) = Self::new(rows, columns) else {
                    continue;
                };
                let cost = tile.cost(isa, shape);
                let fits = tile.is_worth_its_memory(isa, shape);
                if fits && best.is_none_or(|(_, least)| cost < least) {
                    best = Some((tile, cost));
                }
            }
        }
        best
    }

    fn places(self) -> usize {
        self.rows * self.columns
    }

    fn is_worth_its_memory(self, isa: Isa, shape: &ConvShape) -> bool {
        let bytes = 4.0 * self.floats(isa, shape);
        let taps = 4.0 * shape.out_channels as f64 * shape.depth() as f64;
        bytes <= FEW_BYTES.max(MOST_TIMES * taps) && bytes <= MOST_BYTES
    }

    /// Floats of the transformed weights.
    fn floats(self, isa: Isa, shape: &ConvShape) -> f64 {
        let each = match shape.groups {
            1 => shape.in_channels as f64,
            _ => 2.0,
        };
        self.places() as f64 * each * vectors(isa, shape.out_channels) * lanes(isa) as f64
    }

    /// Sums and products of vectors, and what takes as long.
    fn cost(self, isa: Isa, shape: &ConvShape) -> f64 {
        let grid = Grid::new(self, shape);
        let pairs = grid.pairs() as f64 * shape.batch as f64;
        let (rows, columns) = (self.rows as f64, self.columns as f64);
        let line = |n: f64| n * (LINE_PASS * n.log2() + LINE_MOVE);
        let there = rows * line(columns) + columns * line(rows);
        let back = grid.tile_rows() as f64 * line(columns) + columns * line(rows);
        let (read, written) = (
            vectors(isa, shape.in_channels),
            vectors(isa, shape.out_channels),
        );
        let places = rows * columns;
        if shape.groups > 1 {
            return pairs * read * (there + back + places * POINT);
        }
        let products = (4.0 * pairs).max(LEAST_ROWS) * places * shape.in_channels as f64 * written;
        products + pairs * (there * read + back * written + places * SPREAD * (read + written))
    }
}

/// What a vector costs in a pass of radix 2 over a line, and to be moved to and from it; in products of vectors.
const LINE_PASS: f64 = 2.0;
const LINE_MOVE: f64 = 4.0;
/// What a place costs to be multiplied with the weights of a depthwise filter.
const POINT: f64 = 6.0;
/// What a place costs to be brought to its matrix and back.
const SPREAD: f64 = 6.0;
/// What a product of the direct sum costs where channels do not mix.
const DIRECT_DEPTHWISE: f64 = 1.0;

fn lanes(isa: Isa) -> usize {
    isa.tile().nr / 2
}

fn vectors(isa: Isa, channels: usize) -> f64 {
    channels.div_ceil(lanes(isa)) as f64
}

/// Products of vectors of the direct sum.
fn direct_cost(isa: Isa, shape: &ConvShape) -> f64 {
    let pixels = shape.batch as f64 * shape.out_pixels() as f64;
    let each = if shape.groups > 1 {
        DIRECT_DEPTHWISE
    } else {
        1.0
    };
    pixels * shape.depth() as f64 * vectors(isa, shape.out_channels) * each
}

/// Pixels from the first tap to the last one along an axis.
fn window(shape: &ConvShape, axis: usize) -> usize {
    // Checked when the shape was made.
    (shape.kernel[axis] - 1) * shape.dilations[axis] + 1
}

/// Whether a convolution is of the kind that pieces compute.
pub(super) fn applies(shape: &ConvShape) -> bool {
    let depthwise = shape.groups == shape.in_channels && shape.groups == shape.out_channels;
    shape.layout == Layout::ChannelsLast
        && (shape.groups == 1 || depthwise)
        && shape.strides[1..] == [1, 1]
        && shape.kernel[0] == 1
        && shape.input[0] == 1
        && shape.output[0] == 1
        && shape.pads[0] == 0
}

/// Transformed weights.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    tile: FftTile,
    /// Rows and columns of the taps, and their distances.
    kernel: [usize; 2],
    dilations: [usize; 2],
    roots: [Vec<[f32; 2]>; 2],
    spectra: Spectra,
}

#[derive(Clone, Debug)]
enum Spectra {
    Depthwise(depthwise::Spectra),
    Dense(dense::Spectra),
}

/// Weights before they are transformed: `[out_channels, in_per_group, kernel…]`.
struct Taps<'a> {
    weights: &'a [f32],
    kernel: [usize; 2],
    dilations: [usize; 2],
    tile: FftTile,
    /// Of a line of rows, and of one of columns.
    roots: [Vec<[f64; 2]>; 2],
}

impl Taps<'_> {
    /// The transform of filter `at`, divided by the places, column by column in the order of the frequencies of a line.
    fn spectrum(&self, at: usize) -> Vec<[f64; 2]> {
        let FftTile { rows, columns } = self.tile;
        let [height, width] = self.kernel;
        let taps = &self.weights[at * height * width..][..height * width];
        let mut lines = vec![[0.0; 2]; rows * columns];
        let mut line = vec![[0.0; 2]; columns];
        let [down, across] = &self.roots;
        for (y, taps) in taps.chunks_exact(width.max(1)).enumerate() {
            line.fill([0.0; 2]);
            for (x, &tap) in taps.iter().enumerate() {
                line[x * self.dilations[1]][0] = f64::from(tap);
            }
            transform::exact(&mut line, across);
            for (x, &value) in line.iter().enumerate() {
                lines[x * rows + y * self.dilations[0]] = value;
            }
        }
        let scale = 1.0 / (rows * columns) as f64;
        let mut spectrum = vec![[0.0; 2]; rows * columns];
        for (x, column) in spectrum.chunks_exact_mut(rows).enumerate() {
            let from = transform::frequency(columns, x) * rows;
            let source = &mut lines[from..from + rows];
            transform::exact(source, down);
            for (y, value) in column.iter_mut().enumerate() {
                *value = source[transform::frequency(rows, y)].map(|v| v * scale);
            }
        }
        spectrum
    }
}

impl Weights {
    /// Transforms weights `[out_channels, in_per_group, kernel…]`, whose extents were checked.
    pub(super) fn new(
        isa: Isa,
        tile: FftTile,
        params: &ConvParams,
        weights: &[f32],
        (out_channels, in_per_group): (usize, usize),
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let (kernel, dilations) = flat(params, kernel)?;
        if out_channels == 0 || in_per_group == 0 {
            return Err(KernelError::Invalid {
                what: "channels of transformed weights",
                value: 0,
            });
        }
        for ((&taps, &apart), places) in
            kernel.iter().zip(&dilations).zip([tile.rows, tile.columns])
        {
            let window = taps.checked_sub(1).and_then(|n| n.checked_mul(apart));
            if window.is_none_or(|window| window >= places) {
                return Err(KernelError::Invalid {
                    what: "places of a transformed piece for the taps",
                    value: places,
                });
            }
        }
        let taps = Taps {
            weights,
            kernel,
            dilations,
            tile,
            roots: [tile.rows, tile.columns].map(transform::exact_roots),
        };
        let spectra = match params.groups {
            1 => Spectra::Dense(dense::Spectra::new(isa, &taps, out_channels, in_per_group)?),
            _ => Spectra::Depthwise(depthwise::Spectra::new(isa, &taps, out_channels)),
        };
        Ok(Self {
            tile,
            kernel,
            dilations,
            roots: [tile.rows, tile.columns].map(transform::roots),
            spectra,
        })
    }

    /// Refuses a convolution that the weights were not transformed for.
    pub(super) fn check(&self, shape: &ConvShape) -> Result<(), KernelError> {
        let same = applies(shape)
            && shape.kernel[1..] == self.kernel
            && shape.dilations[1..] == self.dilations;
        match same {
            true => Ok(()),
            false => Err(KernelError::Invalid {
                what: "other than one or two dimensions, channels last, of stride 1 and the packed distances of taps, for transformed weights,",
                value: 0,
            }),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.spectra {
            Spectra::Depthwise(spectra) => spectra.bytes(),
            Spectra::Dense(spectra) => spectra.bytes(),
        }
    }
}

/// Kernel and dilations as rows and columns.
fn flat(params: &ConvParams, kernel: &[usize]) -> Result<([usize; 2], [usize; 2]), KernelError> {
    let dilation = |axis: usize| params.dilations.get(axis).copied().unwrap_or(1).max(1);
    match *kernel {
        [columns] => Ok(([1, columns], [1, dilation(0)])),
        [rows, columns] => Ok(([rows, columns], [dilation(0), dilation(1)])),
        _ => Err(KernelError::Invalid {
            what: "number of spatial dimensions of transformed weights",
            value: kernel.len(),
        }),
    }
}

/// Convolves a batch of images with pixels as rows of `out`; the weights were [checked](Weights::check).
pub(super) fn run(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    image: &[f32],
    weights: &Weights,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let call = Call {
        shape,
        image,
        tile: weights.tile,
        roots: [&weights.roots[0], &weights.roots[1]],
        grid: Grid::new(weights.tile, shape),
        finish,
    };
    match &weights.spectra {
        Spectra::Depthwise(spectra) => {
            check_width(ctx.isa, spectra.panel())?;
            depthwise::run(ctx, scratch, &call, spectra, out);
        }
        Spectra::Dense(spectra) => {
            spectra.check(ctx.isa)?;
            dense::run(ctx, scratch, &call, spectra, out);
        }
    }
    Ok(())
}

/// What all pieces of one call read.
struct Call<'a> {
    shape: &'a ConvShape,
    image: &'a [f32],
    tile: FftTile,
    /// Of a line of rows, and of one of columns.
    roots: [&'a [[f32; 2]]; 2],
    grid: Grid,
    finish: &'a FloatFinish<'a>,
}
