//! What each runtime can run as integers: the rules that a quantized file is made to.

use compress_tensor::{DType, RangeRule};
use serde::{Deserialize, Serialize};

/// The runtime that a quantized file is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Target {
    /// ONNX Runtime on the CPU, and the session of this project.
    #[default]
    Ort,
    /// NVIDIA TensorRT: explicit quantization by Q/DQ pairs.
    TensorRt,
    /// TensorFlow Lite / LiteRT int8.
    Tflite,
    /// The Edge TPU: TensorFlow Lite int8 without any float operator.
    EdgeTpu,
}

/// The rules of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
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
    /// The ranges that the runtime prescribes for the outputs of operators.
    pub fixed_outputs: &'static [FixedOutput],
    /// Operators whose inputs and outputs must share one scale besides those for which the standard implies it.
    pub same_scale: &'static [&'static str],
    /// Whether a node that stays float, or a size that is not constant, is an error.
    pub integers_only: bool,
    /// Whether at a residual `Add` only the skip input is quantized, so that the sum is part of the
    /// convolution that feeds it.
    pub float_residual_branch: bool,
    /// Operators that the runtime runs on integers besides those with weights.
    pub bridges: &'static [&'static str],
}

/// The range of an operator's output, whatever was observed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FixedOutput {
    /// The operator.
    pub op: &'static str,
    /// The least value.
    pub min: f32,
    /// The greatest value.
    pub max: f32,
}

/// The kernels compute with these scales and zero points built in: 1/256 and -128, 1/128 and 0, 16/256 and 127
/// (TensorFlow Lite 8-bit quantization specification).
const TFLITE_FIXED: &[FixedOutput] = &[
    FixedOutput {
        op: "Sigmoid",
        min: 0.0,
        max: 255.0 / 256.0,
    },
    FixedOutput {
        op: "Softmax",
        min: 0.0,
        max: 255.0 / 256.0,
    },
    FixedOutput {
        op: "Tanh",
        min: -1.0,
        max: 127.0 / 128.0,
    },
    FixedOutput {
        op: "LogSoftmax",
        min: -255.0 / 16.0,
        max: 0.0,
    },
];

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
                fixed_outputs: &[],
                same_scale: &[],
                integers_only: false,
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
                fixed_outputs: &[],
                same_scale: &[],
                integers_only: false,
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
                fixed_outputs: TFLITE_FIXED,
                // The kernels of pooling and of the greater or lesser of two copy codes.
                same_scale: &["AveragePool", "Max", "Min"],
                integers_only: false,
                float_residual_branch: false,
                bridges: &[
                    "Add",
                    "AveragePool",
                    "Clip",
                    "Concat",
                    "Flatten",
                    "GlobalAveragePool",
                    "LeakyRelu",
                    "LogSoftmax",
                    "Max",
                    "MaxPool",
                    "Min",
                    "Mul",
                    "Pad",
                    "ReduceMean",
                    "ReduceSum",
                    "Relu",
                    "Reshape",
                    "Resize",
                    "Sigmoid",
                    "Slice",
                    "Softmax",
                    "SpaceToDepth",
                    "Split",
                    "Squeeze",
                    "Sub",
                    "Tanh",
                    "Transpose",
                    "Unsqueeze",
                ],
            },
            // The compiler maps int8 operators of its list with constant parameters and sizes, and leaves all that
            // follows another one to the CPU. LeakyRelu and LogSoftmax are not on the list.
            Target::EdgeTpu => TargetRules {
                integers_only: true,
                bridges: &[
                    "Add",
                    "AveragePool",
                    "Clip",
                    "Concat",
                    "Flatten",
                    "GlobalAveragePool",
                    "Max",
                    "MaxPool",
                    "Min",
                    "Mul",
                    "Pad",
                    "ReduceMean",
                    "ReduceSum",
                    "Relu",
                    "Reshape",
                    "Resize",
                    "Sigmoid",
                    "Slice",
                    "Softmax",
                    "SpaceToDepth",
                    "Split",
                    "Squeeze",
                    "Sub",
                    "Tanh",
                    "Transpose",
                    "Unsqueeze",
                ],
                ..Target::Tflite.rules()
            },
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Ort => "ort",
            Target::TensorRt => "tensorrt",
            Target::Tflite => "tflite",
            Target::EdgeTpu => "edgetpu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Range;

    #[test]
    fn prescribed_ranges_give_the_scales_of_the_kernels() {
        let expected = [
            ("Sigmoid", 1.0 / 256.0, -128),
            ("Softmax", 1.0 / 256.0, -128),
            ("Tanh", 1.0 / 128.0, 0),
            ("LogSoftmax", 16.0 / 256.0, 127),
        ];
        for (op, scale, zero) in expected {
            let fixed = Target::Tflite.rules().fixed_outputs;
            let fixed = fixed.iter().find(|f| f.op == op).unwrap();
            let range = Range {
                min: fixed.min,
                max: fixed.max,
            };
            let params = range.params(DType::I8, RangeRule::Asymmetric).unwrap();
            assert_eq!(
                (params.scale[0], params.zero_point[0]),
                (scale, zero),
                "{op}"
            );
        }
    }

    #[test]
    fn the_edge_tpu_takes_no_operator_that_tflite_does_not() {
        let wide = Target::Tflite.rules();
        let narrow = Target::EdgeTpu.rules();
        assert!(narrow.bridges.iter().all(|op| wide.bridges.contains(op)));
        assert!(!narrow.bridges.contains(&"LeakyRelu"));
    }
}
