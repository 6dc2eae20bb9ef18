//! The arguments that say what is quantized, shared by `calibrate` and `quantize`.

use crate::numbers::percent;
use clap::{Args, ValueEnum};
use modelpress::quant::graph::{Format, QuantizeConfig, Target, WeightGranularity};
use modelpress::quant::{DType, Method, RangeRule, WeightRule};

/// What is quantized, and for whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Quantization")]
pub(crate) struct QuantizationArgs {
    /// The runtime whose rules hold; ort unless given.
    #[arg(long, value_enum)]
    target: Option<TargetArg>,
    /// How activation ranges are chosen; mse unless given.
    #[arg(long, value_enum)]
    method: Option<MethodArg>,
    /// The share of values within the range, for --method percentile; 99.99 unless given.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    percentile: Option<f64>,
    /// The activations' type; the target's unless given.
    #[arg(long, value_enum)]
    activations: Option<ActivationArg>,
    /// How activation ranges lie on the integers; the target's rule unless given.
    #[arg(long, value_enum)]
    activation_range: Option<RangeArg>,
    /// How many weights share one scale; channel unless given.
    #[arg(long, value_enum)]
    weights: Option<WeightsArg>,
    /// How weight scales are chosen; least-squares for --mode dynamic and max otherwise unless given.
    #[arg(long, value_enum)]
    weight_scale: Option<WeightScaleArg>,
    /// How quantization is written into the graph; qdq unless given.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// Only these nodes, by name or by the name of an output; `*` stands for any text.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    include: Vec<String>,
    /// Not these nodes.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
    /// Only these operators, as in MatMul,Conv.
    #[arg(long, value_name = "OP", value_delimiter = ',')]
    ops: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TargetArg {
    /// ONNX Runtime on the CPU, and this program's session.
    Ort,
    /// NVIDIA TensorRT.
    Tensorrt,
    /// TensorFlow Lite / LiteRT.
    Tflite,
    /// The Edge TPU: every operator as integers, constant sizes.
    Edgetpu,
}

impl From<TargetArg> for Target {
    fn from(target: TargetArg) -> Self {
        match target {
            TargetArg::Ort => Target::Ort,
            TargetArg::Tensorrt => Target::TensorRt,
            TargetArg::Tflite => Target::Tflite,
            TargetArg::Edgetpu => Target::EdgeTpu,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodArg {
    /// The least and the greatest value seen.
    Minmax,
    /// Their mean over the runs.
    MovingAverage,
    /// The range that holds a share of the values.
    Percentile,
    /// Least Kullback-Leibler divergence.
    Entropy,
    /// Least mean squared error.
    Mse,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActivationArg {
    U8,
    S8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RangeArg {
    /// Zero point in the middle.
    Symmetric,
    /// Any zero point.
    Asymmetric,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightsArg {
    /// One scale per output channel.
    Channel,
    /// One scale per weight tensor.
    Tensor,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WeightScaleArg {
    /// Nothing is clipped.
    Max,
    /// Least squared error.
    LeastSquares,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    /// QuantizeLinear / DequantizeLinear pairs around float operators.
    Qdq,
    /// Integer operators, as QLinearConv.
    Qlinear,
}

impl QuantizationArgs {
    /// Whether the user said how weight scales are chosen.
    pub(crate) fn names_weight_scale(&self) -> bool {
        self.weight_scale.is_some()
    }

    /// The first setting that only static quantization looks at.
    pub(crate) fn only_static(&self) -> Option<&'static str> {
        let given = [
            ("--target", self.target.is_some()),
            ("--method", self.method.is_some()),
            ("--percentile", self.percentile.is_some()),
            ("--activations", self.activations.is_some()),
            ("--activation-range", self.activation_range.is_some()),
            ("--format", self.format.is_some()),
        ];
        given.into_iter().find(|(_, g)| *g).map(|(flag, _)| flag)
    }

    /// The first setting that says how whole channels are quantized, which blocks are not.
    pub(crate) fn not_for_blocks(&self) -> Option<&'static str> {
        let given = [
            ("--weights", self.weights.is_some()),
            ("--weight-scale", self.weight_scale.is_some()),
        ];
        given.into_iter().find(|(_, g)| *g).map(|(flag, _)| flag)
    }

    /// Whether a percentile was given for another method.
    pub(crate) fn idle_percentile(&self) -> bool {
        self.percentile.is_some() && !matches!(self.method, Some(MethodArg::Percentile))
    }

    pub(crate) fn config(&self) -> QuantizeConfig {
        let mut config = QuantizeConfig::default();
        config.target = self.target.unwrap_or(TargetArg::Ort).into();
        config.method = match self.method.unwrap_or(MethodArg::Mse) {
            MethodArg::Minmax => Method::MinMax,
            MethodArg::MovingAverage => Method::MovingAverage,
            MethodArg::Percentile => {
                Method::Percentile(self.percentile.unwrap_or(Method::DEFAULT_PERCENTILE))
            }
            MethodArg::Entropy => Method::Entropy,
            MethodArg::Mse => Method::Mse,
        };
        config.activations = self.activations.map(|a| match a {
            ActivationArg::U8 => DType::U8,
            ActivationArg::S8 => DType::I8,
        });
        config.activation_rule = self.activation_range.map(|r| match r {
            RangeArg::Symmetric => RangeRule::Symmetric,
            RangeArg::Asymmetric => RangeRule::Asymmetric,
        });
        config.weight_granularity = match self.weights.unwrap_or(WeightsArg::Channel) {
            WeightsArg::Channel => WeightGranularity::PerChannel,
            WeightsArg::Tensor => WeightGranularity::PerTensor,
        };
        config.weight_rule = match self.weight_scale {
            Some(WeightScaleArg::Max) => WeightRule::MaxAbs,
            Some(WeightScaleArg::LeastSquares) => WeightRule::LeastSquares,
            None => config.weight_rule,
        };
        config.format = match self.format.unwrap_or(FormatArg::Qdq) {
            FormatArg::Qdq => Format::Qdq,
            FormatArg::Qlinear => Format::QLinear,
        };
        config.include = self.include.clone();
        config.exclude = self.exclude.clone();
        config.operators = (!self.ops.is_empty()).then(|| self.ops.clone());
        config
    }
}
