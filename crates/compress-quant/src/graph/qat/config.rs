//! How a model is made ready for quantization-aware training.

use crate::graph::config::{Format, QuantizeConfig, Rounding};
use crate::graph::error::QuantizeError;
use crate::qat::StepMethod;
use crate::{QuantError, WeightRule};
use onnx_ir::ops::quantization::LearnedMethod;

/// Bits of some layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerBits {
    /// Names of nodes or of outputs of nodes, as in [`QuantizeConfig::include`].
    pub nodes: Vec<String>,
    /// Bits of their weights.
    pub weight_bits: Option<u32>,
    /// Bits of what they read.
    pub activation_bits: Option<u32>,
}

impl LayerBits {
    /// Bits of the layers of these names.
    pub fn of(nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            nodes: nodes.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The same with so many bits of weights.
    #[must_use]
    pub fn weights(mut self, bits: u32) -> Self {
        self.weight_bits = Some(bits);
        self
    }

    /// The same with so many bits of activations.
    #[must_use]
    pub fn activations(mut self, bits: u32) -> Self {
        self.activation_bits = Some(bits);
        self
    }
}

/// How a model is made ready for quantization-aware training.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QatConfig {
    /// What is quantized, for which runtime, and from which ranges training begins.
    pub quantize: QuantizeConfig,
    /// Bits of weights, 2 to 8.
    pub weight_bits: u32,
    /// Bits of what weighted layers read, 2 to 8.
    pub activation_bits: u32,
    /// Bits of weights and activations of the first and the last layers: those behind no other weighted layer, and those before none.
    pub end_bits: Option<u32>,
    /// Bits of layers by name; the first entry that names a layer holds, before `end_bits`.
    pub layers: Vec<LayerBits>,
    /// How steps are learned. Of activations: weights have no offset and no end of a range to learn, and are trained by LSQ where this is LSQ+ or PACT.
    pub method: StepMethod,
}

impl Default for QatConfig {
    /// 8 bits throughout, LSQ, for ONNX Runtime.
    fn default() -> Self {
        Self {
            quantize: QuantizeConfig::default(),
            weight_bits: 8,
            activation_bits: 8,
            end_bits: None,
            layers: Vec::new(),
            method: StepMethod::Lsq,
        }
    }
}

impl QatConfig {
    /// Checks the request before any work is done.
    ///
    /// # Errors
    /// Those of [`QuantizeConfig::validate`]; [`QuantizeError::NotInMode`] for integer operators, weights rounded to calibration inputs and a rule of weights' scales, which are learned;
    /// [`QuantizeError::Setting`] for other numbers of bits than 2 to 8 and for a setting of the method.
    pub fn validate(&self) -> Result<(), QuantizeError> {
        self.quantize.validate()?;
        let refuse = |setting| {
            let mode = "quantization-aware training";
            Err(QuantizeError::NotInMode { setting, mode })
        };
        if self.quantize.format != Format::Qdq {
            return refuse("format");
        }
        if self.quantize.rounding != Rounding::Nearest {
            return refuse("rounding");
        }
        if self.quantize.weight_rule != WeightRule::default() {
            return refuse("weight_rule");
        }
        let layers = self.layers.iter();
        let of_layers = layers.flat_map(|l| [l.weight_bits, l.activation_bits, self.end_bits]);
        let all = [Some(self.weight_bits), Some(self.activation_bits)];
        for bits in all.into_iter().chain([self.end_bits]).chain(of_layers) {
            bits.map(crate::qat::check_bits).transpose()?;
        }
        let setting = |setting, found: f32, rule| {
            let found = found.into();
            let error = QuantError::Setting {
                setting,
                found,
                rule,
            };
            Err(error.into())
        };
        match self.method {
            StepMethod::Dsq { alpha } if !(alpha > 0.0 && alpha < 1.0) => {
                setting("alpha", alpha, "it must lie in (0, 1)")
            }
            StepMethod::Ewgs { delta } if !(delta >= 0.0 && delta.is_finite()) => {
                setting("delta", delta, "it must be a number, 0 or more")
            }
            _ => Ok(()),
        }
    }
}

impl StepMethod {
    /// The method of the operator, for activations.
    pub(super) fn of_activations(self) -> LearnedMethod {
        match self {
            Self::StraightThrough => LearnedMethod::Ste,
            Self::Lsq => LearnedMethod::Lsq,
            Self::LsqPlus => LearnedMethod::LsqPlus,
            Self::Pact => LearnedMethod::Pact,
            Self::Ewgs { .. } => LearnedMethod::Ewgs,
            Self::Dsq { .. } => LearnedMethod::Dsq,
        }
    }

    /// The method of the operator, for weights.
    pub(super) fn of_weights(self) -> LearnedMethod {
        match self {
            Self::LsqPlus | Self::Pact => LearnedMethod::Lsq,
            other => other.of_activations(),
        }
    }
}
