//! Facets that are plain data.

use std::fmt;

/// Why an operator has no facet of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unsupported {}

/// The gradient facet of an operator. No operator has one in this version.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Gradient {}

/// How an operator is quantized: where Q/DQ pairs go around it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantRule {
    /// A weighted operator: activation in, constant weight per channel, int32 bias, output with a
    /// scale of its own.
    Weighted {
        /// The input that is the weight.
        weight: usize,
        /// The weight's channel axis (negative counts from the end).
        channel_axis: isize,
        /// The input that is the bias.
        bias: Option<usize>,
    },
    /// Every listed data input is quantized, the output has a scale of its own.
    OwnScale {
        /// The data inputs, `None` for all.
        inputs: Option<&'static [usize]>,
    },
    /// The output carries the scale of input 0 (or of all listed inputs, tied): the values are only
    /// moved, selected or compared.
    SameScale {
        /// The data inputs that share the scale, `None` for all.
        inputs: Option<&'static [usize]>,
    },
    /// The output range is fixed by the operator, such as `[0, 1]` of a sigmoid.
    FixedOutput {
        /// The least value.
        min: f32,
        /// The greatest value.
        max: f32,
    },
    /// An activation that a weighted operator before it can absorb by its output range: no Q/DQ
    /// between the two. Elsewhere as [`QuantRule::OwnScale`].
    FusableActivation,
    /// Already works on quantized values.
    AlreadyQuantized,
    /// Stays in float, for this reason.
    FloatOnly(&'static str),
}
