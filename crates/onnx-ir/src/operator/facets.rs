//! Facets that are plain data.

use crate::gradient::GradientContext;
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

/// The gradient facet of an operator `O`: how adjoints flow from its outputs to its inputs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Gradient<O> {
    /// This function adds the nodes that compute the adjoints of the inputs and gives them to the context.
    Graph(fn(&O, &GradientContext<'_>) -> Result<(), Unsupported>),
    /// As [`Gradient::Graph`], for an operator whose output holds integers that stand for real numbers: the
    /// adjoint of such an integer is that of the real number before it was rounded.
    Quantizer(fn(&O, &GradientContext<'_>) -> Result<(), Unsupported>),
    /// The outputs are piecewise constant in every input: nothing flows.
    Zero,
    /// There is none, for this reason.
    Undefined(&'static str),
}

/// What kind of gradient an operator has, without the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GradientKind {
    /// See [`Gradient::Graph`].
    Graph,
    /// See [`Gradient::Quantizer`].
    Quantizer,
    /// See [`Gradient::Zero`].
    Zero,
    /// See [`Gradient::Undefined`].
    Undefined(&'static str),
}

impl<O> Gradient<O> {
    /// The kind of the gradient.
    pub const fn kind(&self) -> GradientKind {
        match self {
            Self::Graph(_) => GradientKind::Graph,
            Self::Quantizer(_) => GradientKind::Quantizer,
            Self::Zero => GradientKind::Zero,
            Self::Undefined(reason) => GradientKind::Undefined(reason),
        }
    }
}

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
