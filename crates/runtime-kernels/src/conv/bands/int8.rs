//! Stages in exact int8.

use super::{BAND_BYTES, StageRows, Stages, run};
use crate::conv::int8::conv_int8;
use crate::conv::int8_weights::PackedConvInt8;
use crate::conv::shape::ConvShape;
use crate::quantized::{QuantByte, Requantization};
use crate::{Context, KernelError, Scratch};

/// A convolution of bytes that reads the result of the one before it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Int8ConvStage<'a> {
    /// The extents.
    pub shape: &'a ConvShape,
    /// The weights.
    pub weights: &'a PackedConvInt8,
    /// The zero point of the image.
    pub zero_point: i32,
    /// A summand per output channel, or empty.
    pub bias: &'a [i32],
    /// How sums become bytes again.
    pub epilogue: &'a Requantization,
}

impl<'a> Int8ConvStage<'a> {
    /// A convolution of an image of this zero point, without a bias.
    pub fn new(
        shape: &'a ConvShape,
        weights: &'a PackedConvInt8,
        zero_point: i32,
        epilogue: &'a Requantization,
    ) -> Self {
        Self {
            shape,
            weights,
            zero_point,
            bias: &[],
            epilogue,
        }
    }

    /// The same with a summand per output channel.
    #[must_use]
    pub fn with_bias(mut self, bias: &'a [i32]) -> Self {
        self.bias = bias;
        self
    }
}

/// Convolves `input` by the first stage, its result by the second, and so on, into `out`: as [`conv_int8`] once for each
/// stage, with the same results, but without storing the images between them whole where they are large.
///
/// # Errors
/// As [`conv_stages`](super::conv_stages), and those of [`conv_int8`].
pub fn conv_int8_stages<T: QuantByte>(
    ctx: &Context,
    scratch: &mut Scratch,
    stages: &[Int8ConvStage<'_>],
    input: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    conv_int8_stages_within(ctx, scratch, BAND_BYTES, stages, input, out)
}

/// As [`conv_int8_stages`], with at most `bytes` of images between the stages at a time, as
/// [`conv_stages_within`](super::conv_stages_within).
///
/// # Errors
/// As [`conv_int8_stages`].
pub fn conv_int8_stages_within<T: QuantByte>(
    ctx: &Context,
    scratch: &mut Scratch,
    bytes: usize,
    stages: &[Int8ConvStage<'_>],
    input: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    run(ctx, scratch, &Bytes(stages), bytes, input, out)
}

pub(super) struct Bytes<'a>(pub(super) &'a [Int8ConvStage<'a>]);

impl<T: QuantByte> Stages<T> for Bytes<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn shape(&self, stage: usize) -> &ConvShape {
        self.0[stage].shape
    }

    fn runs_by_rows(&self, stage: usize) -> bool {
        self.0[stage].shape.runs_by_rows()
    }

    fn run(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        part: &StageRows,
        input: &[T],
        out: &mut [T],
    ) -> Result<(), KernelError> {
        let stage = &self.0[part.stage];
        conv_int8(
            ctx,
            scratch,
            &part.shape,
            T::image(input),
            stage.zero_point,
            stage.weights,
            stage.bias,
            stage.epilogue,
            out,
        )
    }
}
