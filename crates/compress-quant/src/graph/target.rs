//! What each runtime can run as integers: the rules that a quantized file is made to.

use compress_tensor::{DType, RangeRule};
use serde::{Deserialize, Serialize};

/// The runtime that a quantized file is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// ONNX Runtime on the CPU, and the session of this project.
    #[default]
    Ort,
    /// NVIDIA TensorRT: explicit quantization by Q/DQ pairs.
    TensorRt,
    /// TensorFlow Lite / LiteRT int8.
    Tflite,
}

/// The rules of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetRules {
    /// Type of activations where none is asked for.
    pub default_activations: DType,
    /// Types of activations that the runtime takes.
    pub activations: &'static [DType],
    /// How activation ranges are laid on the integers.
    pub activation_rule: RangeRule,
    /// Whether the bias becomes int32 with the scale `s_x · s_w`; else it stays float.
    pub quantize_bias: bool,
    /// Whether the output of a convolution is quantized even where only float nodes read it.
    pub quantize_conv_output: bool,
    /// Whether everything that can be is quantized (no float between integer operators).
    pub whole_graph: bool,
    /// Whether outputs of fixed range (Softmax, Sigmoid, Tanh) have the scale that the runtime prescribes.
    pub fixed_output_scales: bool,
    /// Whether at a residual `Add` only the skip input is quantized, so that the sum is part of the
    /// convolution that feeds it.
    pub float_residual_branch: bool,
    /// Operators that the runtime runs on integers besides those with weights.
    pub bridges: &'static [&'static str],
}

impl Target {
    /// The rules of this runtime.
    pub fn rules(self) -> TargetRules {
        match self {
            Target::Ort => TargetRules {
                default_activations: DType::U8,
                activations: &[DType::U8, DType::I8],
                activation_rule: RangeRule::Asymmetric,
                quantize_bias: true,
                quantize_conv_output: true,
                whole_graph: false,
                fixed_output_scales: false,
                float_residual_branch: false,
                bridges: &[
                    "Add",
                    "AveragePool",
                    "Clip",
                    "Concat",
                    "Flatten",
                    "GlobalAveragePool",
                    "LeakyRelu",
                    "MaxPool",
                    "Mul",
                    "Relu",
                    "Reshape",
                    "Resize",
                    "Sigmoid",
                    "Slice",
                    "Split",
                    "Squeeze",
                    "Transpose",
                    "Unsqueeze",
                ],
            },
            // Q/DQ with zero point 0 only, the bias in float, an int8 Add only on the skip input.
            Target::TensorRt => TargetRules {
                default_activations: DType::I8,
                activations: &[DType::I8],
                activation_rule: RangeRule::Symmetric,
                quantize_bias: false,
                quantize_conv_output: false,
                whole_graph: false,
                fixed_output_scales: false,
                float_residual_branch: true,
                bridges: &["Add", "AveragePool", "GlobalAveragePool", "MaxPool"],
            },
            Target::Tflite => TargetRules {
                default_activations: DType::I8,
                activations: &[DType::I8],
                activation_rule: RangeRule::Asymmetric,
                quantize_bias: true,
                quantize_conv_output: true,
                whole_graph: true,
                fixed_output_scales: true,
                float_residual_branch: false,
                bridges: &[
                    "Add",
                    "AveragePool",
                    "Clip",
                    "Concat",
                    "Flatten",
                    "GlobalAveragePool",
                    "LeakyRelu",
                    "MaxPool",
                    "Mul",
                    "Pad",
                    "Relu",
                    "Reshape",
                    "Resize",
                    "Sigmoid",
                    "Slice",
                    "Softmax",
                    "Split",
                    "Squeeze",
                    "Sub",
                    "Tanh",
                    "Transpose",
                    "Unsqueeze",
                ],
            },
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Ort => "ort",
            Target::TensorRt => "tensorrt",
            Target::Tflite => "tflite",
        }
    }
}
