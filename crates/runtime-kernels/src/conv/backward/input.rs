//! The adjoint with respect to the image: convolutions of stride 1 of the result's adjoint with the taps backwards, one for each
//! residue of the strides.

use super::phase::{Phase, convolution};
use crate::conv::ConvShape;
use crate::conv::float::{ConvEpilogue, conv};
use crate::conv::fresh::{ConvSums, FreshWeights, Way, Weights, check_last};
use crate::error::check_len;
use crate::{Context, KernelError, Scratch};

/// `dx[i, c] = sum over m, k, p of w[m, c, k] * dy[p, m]` of the pixels `p` and taps `k` that pixel `i` is under: the adjoint of the
/// image of the convolution `shape`, whose channels stand last, from the adjoint `dy` of its result and the weights
/// `[out_channels, in_channels / groups, kernel…]`.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`, [`KernelError::Extent`] for channels first,
/// [`KernelError::OutOfBounds`] if the packed weights do not fit the address space.
///
/// # Examples
/// ```
/// use runtime_kernels::conv::{ConvParams, ConvShape, ConvSums, Layout, conv_input_grad};
/// use runtime_kernels::{Context, Scratch};
///
/// // y[p] = x[2 p] + 10 x[2 p + 1]
/// let mut params = ConvParams::default();
/// params.layout = Layout::ChannelsLast;
/// params.strides = vec![2];
/// let shape = ConvShape::new(&params, 1, 1, &[4], 1, &[2])?;
/// let mut dx = [0.0; 4];
/// let (dy, weights, sums) = ([1.0, 2.0], [1.0, 10.0], ConvSums::Direct);
/// conv_input_grad(&Context::default(), &mut Scratch::new(), &shape, &dy, &weights, sums, &mut dx)?;
/// assert_eq!(dx, [1.0, 10.0, 2.0, 20.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn conv_input_grad(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    dy: &[f32],
    weights: &[f32],
    sums: ConvSums,
    dx: &mut [f32],
) -> Result<(), KernelError> {
    check_last(shape)?;
    check_len("adjoint of the result", dy.len(), shape.output_len())?;
    check_len("adjoint of the image", dx.len(), shape.input_len())?;
    let weights = Weights::new(shape, weights, Way::Backward)?;
    if dy.is_empty() || dx.is_empty() {
        dx.fill(0.0);
        return Ok(());
    }
    let mut kept = std::mem::take(&mut scratch.weights);
    let adjoint = Adjoint {
        shape,
        dy,
        weights,
        sums,
    };
    let done = adjoint.run(ctx, scratch, &mut kept, dx);
    scratch.weights = kept;
    done
}

/// The operands.
struct Adjoint<'a> {
    shape: &'a ConvShape,
    dy: &'a [f32],
    weights: Weights<'a>,
    sums: ConvSums,
}

impl Adjoint<'_> {
    fn run(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        kept: &mut FreshWeights,
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        let shape = self.shape;
        let residues = |d: usize| shape.strides[d].min(shape.input[d]);
        let [depths, heights, widths] = [0, 1, 2].map(residues);
        for z in 0..depths {
            for y in 0..heights {
                for x in 0..widths {
                    let phases = [(0, z), (1, y), (2, x)].map(|(d, r)| Phase::new(shape, d, r));
                    self.phase(ctx, scratch, kept, &phases, dx)?;
                }
            }
        }
        Ok(())
    }

    /// The adjoint at the pixels of one phase.
    fn phase(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        kept: &mut FreshWeights,
        phases: &[Phase; 3],
        dx: &mut [f32],
    ) -> Result<(), KernelError> {
        let shape = self.shape;
        let unseen = (0..3).any(|d| phases[d].is_unseen(shape.output[d]));
        if unseen {
            spread(ctx, shape, phases, None, dx);
            return Ok(());
        }
        let part = convolution(shape, phases);
        let [kz, ky, kx] = phases.map(Phase::taps);
        let [_, height, width] = shape.kernel;
        let plane = kz.flat_map(|z| ky.clone().map(move |y| z * height + y));
        let taps = plane.flat_map(|row| kx.clone().map(move |x| row * width + x));
        let packed = kept.pack(ctx.isa, &part, self.sums, &self.weights, taps)?;
        let whole = shape.strides == [1; 3];
        let cut = phases.iter().any(|phase| phase.cut > 0);
        let too_large = || KernelError::Invalid {
            what: "extent of the adjoint",
            value: usize::MAX,
        };
        let windows = if cut {
            part.input_len().ok_or_else(too_large)?
        } else {
            0
        };
        let pixels = if whole {
            0
        } else {
            part.output_len().ok_or_else(too_large)?
        };
        let (floats, inner) = scratch.with_inner::<f32>(windows + pixels);
        let (windows, pixels) = floats.split_at_mut(windows);
        if cut {
            copy_from(shape, &part, phases, self.dy, windows);
        }
        let (windows, epilogue) = (&*windows, ConvEpilogue::default());
        let dy = if cut { windows } else { self.dy };
        if whole {
            return conv(ctx, inner, &part, dy, packed, &epilogue, dx);
        }
        conv(ctx, inner, &part, dy, packed, &epilogue, pixels)?;
        spread(ctx, shape, phases, Some(pixels), dx);
        Ok(())
    }
}

/// The windows' adjoints from the cuts of the phases on.
fn copy_from(
    shape: &ConvShape,
    part: &ConvShape,
    phases: &[Phase; 3],
    dy: &[f32],
    out: &mut [f32],
) {
    let ([depth, height, width], [parts, rows, columns]) = (shape.output, part.input);
    let line = columns * shape.out_channels;
    for (i, out) in out.chunks_exact_mut(line.max(1)).enumerate() {
        let (image, z, y) = (i / (parts * rows), i / rows % parts, i % rows);
        let row = (image * depth + z + phases[0].cut) * height + y + phases[1].cut;
        let from = (row * width + phases[2].cut) * shape.out_channels;
        out.copy_from_slice(&dy[from..from + line]);
    }
}

/// Puts the pixels of a phase, or zeros, in their places.
fn spread(
    ctx: &Context,
    shape: &ConvShape,
    phases: &[Phase; 3],
    pixels: Option<&[f32]>,
    dx: &mut [f32],
) {
    let ([depth, height, width], channels) = (shape.input, shape.in_channels);
    let [strides_z, strides_y, strides_x] = shape.strides;
    let line = width * channels;
    ctx.parallelism.for_each_rows(dx, line, line, |first, dx| {
        for (i, dx) in dx.chunks_exact_mut(line).enumerate() {
            let (image, z, y) = (
                (first + i) / height / depth,
                (first + i) / height % depth,
                (first + i) % height,
            );
            if z % strides_z != phases[0].residue || y % strides_y != phases[1].residue {
                continue;
            }
            let places = dx.chunks_exact_mut(channels);
            let places = places.skip(phases[2].residue).step_by(strides_x);
            let Some(pixels) = pixels else {
                places.for_each(|place| place.fill(0.0));
                continue;
            };
            let row = (image * phases[0].pixels + z / strides_z) * phases[1].pixels + y / strides_y;
            let row = &pixels[row * phases[2].pixels * channels..];
            for (place, pixel) in places.zip(row.chunks_exact(channels)) {
                place.copy_from_slice(pixel);
            }
        }
    });
}
