//! The quantization facet of the whole catalog: each rule fits the operator's schema, and the operators of
//! convolutional networks and transformers have the rules that quantizers rely on.

use onnx_ir::operator::{Catalog, QuantRule};
use onnx_ir::schema::{AttributeType, OpSchema, ParameterKind, parameter_at, registry};
use onnx_ir::{Attribute, Node, OpsetImports, ValueId};

/// A node with each required attribute set to something, at the newest opset of its domain.
fn rule_of(domain: &str, name: &str) -> Option<QuantRule> {
    let mut node = Node::new(name, [None::<ValueId>; 0], [None::<ValueId>; 0]).in_domain(domain);
    let opset = registry().newest_opset(domain).unwrap_or(1);
    if let Some(schema) = registry().lookup(domain, name, opset) {
        for attribute in schema.attributes.iter().filter(|a| a.required) {
            let value = match attribute.kind {
                AttributeType::Int => Attribute::Int(1),
                AttributeType::Ints => Attribute::Ints(vec![1, 1]),
                AttributeType::Float => Attribute::Float(1.0),
                _ => return None,
            };
            node = node.with(attribute.name, value);
        }
    }
    let mut opsets = OpsetImports::onnx(registry().newest_opset("").unwrap_or(1));
    opsets.set(domain, opset);
    let operator = Catalog::standard().parse(&node, &opsets).ok()?;
    Some(operator.quantization())
}

fn allows_float(schema: &OpSchema, input: usize) -> bool {
    parameter_at(&schema.inputs, input)
        .is_some_and(|p| schema.allowed_types(p).contains("tensor(float)"))
}

fn makes_float(schema: &OpSchema) -> bool {
    schema
        .outputs
        .first()
        .is_some_and(|p| schema.allowed_types(p).contains("tensor(float)"))
}

fn reads_or_writes_bytes(schema: &OpSchema) -> bool {
    let mut parameters = schema.inputs.iter().chain(&schema.outputs);
    parameters.any(|p| {
        let types = schema.allowed_types(p);
        types.contains("tensor(uint8)") || types.contains("tensor(int8)")
    })
}

#[test]
fn every_rule_fits_the_schema_of_its_operator() {
    let mut checked = 0;
    for entry in Catalog::standard().entries() {
        let signature = entry.signature;
        let opset = registry().newest_opset(signature.domain).unwrap_or(1);
        let Some(schema) = registry().lookup(signature.domain, signature.name, opset) else {
            continue;
        };
        let Some(rule) = rule_of(signature.domain, signature.name) else {
            continue;
        };
        checked += 1;
        let name = signature.name;
        let ports: Vec<usize> = match rule {
            QuantRule::Weighted { weight, bias, .. } => {
                let bias = bias.into_iter();
                for port in bias.clone() {
                    let kind = schema.inputs[port].kind;
                    assert_eq!(
                        kind,
                        ParameterKind::Optional,
                        "{name}: the bias is optional"
                    );
                }
                [0, weight].into_iter().chain(bias).collect()
            }
            QuantRule::OwnScale { inputs } | QuantRule::SameScale { inputs } => {
                inputs.map_or(vec![0], <[usize]>::to_vec)
            }
            QuantRule::FixedOutput { min, max } => {
                assert!(min < max && min.is_finite() && max.is_finite(), "{name}");
                vec![0]
            }
            QuantRule::FusableActivation => vec![0],
            QuantRule::AlreadyQuantized => {
                assert!(reads_or_writes_bytes(schema), "{name} has no 8-bit operand");
                continue;
            }
            QuantRule::FloatOnly(reason) => {
                assert!(!reason.is_empty(), "{name}");
                continue;
            }
            _ => continue,
        };
        for port in ports {
            assert!(
                allows_float(schema, port),
                "{name}: input {port} is no float"
            );
        }
        assert!(makes_float(schema), "{name}: the output is no float");
    }
    assert!(checked > 150, "only {checked} operators were checked");
}

#[test]
fn weights_have_a_channel_axis_and_a_bias() {
    let weighted = |name, channel_axis, bias| {
        let weight = 1;
        let expected = QuantRule::Weighted {
            weight,
            channel_axis,
            bias,
        };
        assert_eq!(rule_of("", name), Some(expected), "{name}");
    };
    weighted("Conv", 0, Some(2));
    weighted("ConvTranspose", 1, Some(2));
    weighted("Gemm", 1, Some(2));
    weighted("MatMul", -1, None);
}

#[test]
fn what_only_moves_or_selects_values_keeps_their_scale() {
    let first = Some(&[0][..]);
    for name in [
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Resize",
    ] {
        assert_eq!(
            rule_of("", name),
            Some(QuantRule::SameScale { inputs: first }),
            "{name}"
        );
    }
    for name in ["Concat", "GlobalMaxPool", "MaxPool"] {
        assert_eq!(
            rule_of("", name),
            Some(QuantRule::SameScale { inputs: None }),
            "{name}"
        );
    }
    let both = Some(&[1, 2][..]);
    assert_eq!(
        rule_of("", "Where"),
        Some(QuantRule::SameScale { inputs: both })
    );
}

#[test]
fn bounded_outputs_have_a_fixed_range_and_clamps_can_be_fused() {
    for (name, min) in [
        ("Sigmoid", 0.0),
        ("Softmax", 0.0),
        ("HardSigmoid", 0.0),
        ("Tanh", -1.0),
    ] {
        let expected = QuantRule::FixedOutput { min, max: 1.0 };
        assert_eq!(rule_of("", name), Some(expected), "{name}");
    }
    for name in ["Relu", "Clip"] {
        assert_eq!(
            rule_of("", name),
            Some(QuantRule::FusableActivation),
            "{name}"
        );
    }
    for name in ["Add", "AveragePool", "GlobalAveragePool", "Mul"] {
        assert_eq!(
            rule_of("", name),
            Some(QuantRule::OwnScale { inputs: None }),
            "{name}"
        );
    }
}

#[test]
fn integer_operators_are_quantized_already() {
    for name in [
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    ] {
        assert_eq!(
            rule_of("", name),
            Some(QuantRule::AlreadyQuantized),
            "{name}"
        );
    }
    for name in [
        "QLinearAdd",
        "QLinearMul",
        "QGemm",
        "QLinearSigmoid",
        "DynamicQuantizeMatMul",
    ] {
        let rule = rule_of("com.microsoft", name);
        assert_eq!(rule, Some(QuantRule::AlreadyQuantized), "{name}");
    }
}
