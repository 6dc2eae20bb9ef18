//! Stages in f32.

use super::{BAND_BYTES, StageRows, Stages, run};
use crate::conv::float::{ConvEpilogue, PackedConvF32, conv};
use crate::conv::shape::ConvShape;
use crate::error::check_len;
use crate::{Context, KernelError, Scratch};

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
/// [`KernelError::Invalid`] for no stages or more than [`MAX_STAGES`](super::MAX_STAGES); [`KernelError::Extent`] if a stage does not take
/// the result of the one before it; those of [`conv`].
pub fn conv_stages(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &[ConvStage<'_>],
    input: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    conv_stages_within(ctx, scratch, BAND_BYTES, stages, input, out)
}

/// As [`conv_stages`], with at most `bytes` of images between the stages at a time where that is possible. Where they are fewer,
/// each stage is computed whole, or rows of all stages by each thread if that shares the work evenly; with `usize::MAX`, always whole.
/// The results are the same for any number.
///
/// # Errors
/// As [`conv_stages`].
pub fn conv_stages_within(
    ctx: &Context,
    scratch: &mut Scratch,
    bytes: usize,
    stages: &[ConvStage<'_>],
    input: &[f32],
    out: &mut [f32],
) -> Result<(), KernelError> {
    run(ctx, scratch, &Floats(stages), bytes, input, out)
}

pub(super) struct Floats<'a>(pub(super) &'a [ConvStage<'a>]);

impl Stages<f32> for Floats<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn shape(&self, stage: usize) -> &ConvShape {
        self.0[stage].shape
    }

    fn runs_by_rows(&self, stage: usize) -> bool {
        let stage = &self.0[stage];
        stage.shape.runs_by_rows() && stage.weights.is_direct()
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
