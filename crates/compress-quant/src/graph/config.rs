//! How a model is quantized.

use super::error::QuantizeError;
use super::operators::check_operators;
use super::target::Target;
use crate::{Method, WeightRule};
use compress_tensor::{DType, RangeRule};
use serde::{Deserialize, Serialize};

/// How quantization is written into the graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `QuantizeLinear` / `DequantizeLinear` pairs around float operators.
    #[default]
    Qdq,
    /// Integer operators (`QLinearConv`, `QLinearMatMul`, `QLinearAdd` …) where there are such.
    QLinear,
}

/// How many weights share one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightGranularity {
    /// One scale per output channel.
    #[default]
    PerChannel,
    /// One scale per weight.
    PerTensor,
}

/// How weights become codes once their scales are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Rounding {
    /// Each weight to the nearest code.
    #[default]
    Nearest,
    /// In `Conv`, `Gemm` and `MatMul` with a matrix to the codes with which the layer's outputs on calibration inputs
    /// change least, the mean of the error going into the bias; see [`round_to_inputs`](crate::round_to_inputs) and
    /// [`round_blocks_to_inputs`](crate::round_blocks_to_inputs). What
    /// [`Calibration::save`](super::Calibration::save) writes is not enough for it.
    Calibrated,
}

/// What becomes integer, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// [`quantize_static`](super::quantize_static).
    Static,
    /// [`quantize_dynamic`](super::quantize_dynamic).
    Dynamic,
    /// [`quantize_weights`](super::quantize_weights) to int8.
    Weights,
    /// [`quantize_weights`](super::quantize_weights) in blocks.
    Blocks,
}

impl Mode {
    /// What the mode is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Static => "static quantization",
            Mode::Dynamic => "dynamic quantization",
            Mode::Weights => "weight-only quantization",
            Mode::Blocks => "quantization in blocks",
        }
    }
}

/// How a model is quantized to int8.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuantizeConfig {
    /// The runtime whose rules hold.
    pub target: Target,
    /// Type of the activations; the target's default where it is not given.
    pub activations: Option<DType>,
    /// How activation ranges are laid on the integers; the target's rule where it is not given.
    pub activation_rule: Option<RangeRule>,
    /// How many weights share one scale.
    pub weight_granularity: WeightGranularity,
    /// How weight scales are chosen.
    pub weight_rule: WeightRule,
    /// How weights become codes.
    pub rounding: Rounding,
    /// How activation ranges are chosen.
    pub method: Method,
    /// How quantization is written into the graph.
    pub format: Format,
    /// Only these nodes (name, or name of an output, of the prepared model); all where it is empty. `*` stands for any text,
    /// `\*` for a star and `\\` for a backslash. A product and the sum behind it become one node with the product's name
    /// and the sum's output.
    pub include: Vec<String>,
    /// Not these nodes, named in the same way.
    pub exclude: Vec<String>,
    /// Only these operators; those of the target's rules where it is not given. A `Gemm` that multiplies by its weight as
    /// it stands, as preparing makes of `MatMul` and `Add`, answers to `MatMul` too.
    pub operators: Option<Vec<String>>,
    /// The most threads that weights are rounded on; 0 for as many as there are processors.
    pub threads: usize,
}

impl Default for QuantizeConfig {
    fn default() -> Self {
        Self {
            target: Target::default(),
            activations: None,
            activation_rule: None,
            weight_granularity: WeightGranularity::default(),
            weight_rule: WeightRule::default(),
            rounding: Rounding::default(),
            method: Method::Mse,
            format: Format::default(),
            include: Vec::new(),
            exclude: Vec::new(),
            operators: None,
            threads: 0,
        }
    }
}

impl QuantizeConfig {
    /// The activations' type, by request or by the target.
    pub fn activation_dtype(&self) -> DType {
        self.activations
            .unwrap_or(self.target.rules().default_activations)
    }

    /// How activation ranges are laid on the integers, by request or by the target.
    pub fn range_rule(&self) -> RangeRule {
        self.activation_rule
            .unwrap_or(self.target.rules().activation_rule)
    }

    /// Checks that the request holds nothing that `mode` would not look at, and [`QuantizeConfig::validate`] for static
    /// quantization, before any work is done.
    ///
    /// # Errors
    /// [`QuantizeError::NotInMode`] names the first setting that differs from its default without effect;
    /// [`QuantizeError::NoSuchOperator`]; the errors of [`QuantizeConfig::validate`].
    pub fn validate_for(&self, mode: Mode) -> Result<(), QuantizeError> {
        if mode == Mode::Static {
            return self.validate();
        }
        check_operators(self, mode)?;
        let default = Self::default();
        let blocks = mode == Mode::Blocks;
        let unused = [
            ("target", self.target != default.target),
            ("activations", self.activations.is_some()),
            ("activation_rule", self.activation_rule.is_some()),
            ("method", self.method != default.method),
            ("format", self.format != default.format),
            (
                "weight_granularity",
                blocks && self.weight_granularity != default.weight_granularity,
            ),
            (
                "weight_rule",
                blocks && self.weight_rule != default.weight_rule,
            ),
        ];
        match unused.into_iter().find(|(_, given)| *given) {
            Some((setting, _)) => Err(QuantizeError::NotInMode {
                setting,
                mode: mode.name(),
            }),
            None => Ok(()),
        }
    }

    /// Checks the request of static quantization, also against the target's rules, before any work is done.
    ///
    /// # Errors
    /// [`QuantizeError::TargetRule`] quotes the rule; [`QuantizeError::NoSuchOperator`]; [`QuantizeError::Setting`] for a
    /// percentile outside of `(0, 100]`.
    pub fn validate(&self) -> Result<(), QuantizeError> {
        check_operators(self, Mode::Static)?;
        self.method.validate()?;
        let rules = self.target.rules();
        let refuse = |asked: String, rule: &'static str| {
            Err(QuantizeError::TargetRule {
                target: self.target.name(),
                asked,
                rule,
            })
        };
        let dtype = self.activation_dtype();
        if !rules.activations.contains(&dtype) {
            let rule = match self.target {
                Target::Ort => "activations are uint8 or int8",
                Target::TensorRt => "uint8 is read as int8: activations must be int8",
                Target::Tflite | Target::EdgeTpu => "int8 models hold int8 activations",
            };
            return refuse(format!("{dtype} activations"), rule);
        }
        if self.target == Target::TensorRt && self.range_rule() != RangeRule::Symmetric {
            return refuse("asymmetric activations".to_owned(), "zero points must be 0");
        }
        if self.target != Target::Ort && self.format == Format::QLinear {
            let rule = "only Q/DQ pairs are imported, integer operators are not";
            return refuse("QLinear operators".to_owned(), rule);
        }
        Ok(())
    }
}
