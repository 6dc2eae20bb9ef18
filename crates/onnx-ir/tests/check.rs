//! The checker, rule by rule, on models as files hold them.

use onnx_ir::Model;
use onnx_ir::check::{Finding, Problem, Severity, check, check_with_facts};
use onnx_ir::proto::attribute_proto::AttributeType;
use onnx_ir::proto::type_proto::{self, Value};
use onnx_ir::proto::*;

fn value(name: &str, elem_type: i32) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: Some(elem_type),
        shape: Some(TensorShapeProto::default()),
        ..Default::default()
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn node(op_type: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.into()),
        name: Some("n".into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..Default::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

fn graph(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: Some("g".into()),
        node: nodes,
        input: vec![value("x", 1)],
        output: vec![value("y", 1)],
        ..Default::default()
    }
}

fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto {
        domain: Some(domain.into()),
        version: Some(version),
        ..Default::default()
    }
}

fn model(nodes: Vec<NodeProto>) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![import("", 17)],
        graph: Some(graph(nodes)),
        ..Default::default()
    }
}

fn findings(model: ModelProto) -> Vec<Finding> {
    let model = Model::load_bytes(model.encode_to_vec().into(), None).expect("loads");
    check(&model)
}

/// The problems of a model that is invalid.
fn errors(model: ModelProto) -> Vec<Problem> {
    let findings = findings(model);
    assert!(findings.iter().all(Finding::is_error), "{findings:?}");
    findings
        .into_iter()
        .map(|finding| finding.problem)
        .collect()
}

#[test]
fn a_valid_model_has_no_findings() {
    assert_eq!(findings(model(vec![node("Relu", &["x"], &["y"])])), []);
}

#[test]
fn versions_that_do_not_exist_are_errors() {
    let mut bad = model(vec![node("Relu", &["x"], &["y"])]);
    bad.ir_version = Some(99);
    assert_eq!(
        errors(bad.clone()),
        [Problem::IrVersion {
            found: 99,
            newest: 14
        }]
    );
    bad.ir_version = Some(8);
    for version in [0, -3, 9999] {
        bad.opset_import = vec![import("", version)];
        let expected = Problem::OpsetVersion {
            domain: String::new(),
            version,
            newest: 28,
        };
        assert_eq!(errors(bad.clone()), [expected]);
    }
    bad.opset_import.clear();
    let rules: Vec<_> = errors(bad).iter().map(Problem::rule).collect();
    assert_eq!(rules, ["no-opset"]);
}

#[test]
fn arity_is_held_against_the_schema_of_the_imported_version() {
    let two = model(vec![node("Relu", &["x", "x"], &["y"])]);
    assert_eq!(
        errors(two),
        [Problem::InputCount {
            found: 2,
            least: 1,
            most: Some(1)
        }]
    );
    // Dropout has one input up to version 10, up to three from version 12 on.
    let mut old = model(vec![node("Dropout", &["x", "x"], &["y"])]);
    old.opset_import = vec![import("", 10)];
    assert_eq!(
        errors(old),
        [Problem::InputCount {
            found: 2,
            least: 1,
            most: Some(1)
        }]
    );
    let none = model(vec![
        node("Relu", &["x"], &["y"]),
        node("Concat", &[], &["z"]),
    ]);
    let rules: Vec<_> = errors(none).iter().map(Problem::rule).collect();
    assert_eq!(rules, ["input-count", "missing-attribute"]);
    let left_out = model(vec![node("Clip", &["", "x"], &["y"])]);
    assert_eq!(
        errors(left_out),
        [Problem::MissingInput {
            index: 0,
            parameter: "input"
        }]
    );
}

#[test]
fn attributes_are_known_typed_and_there() {
    let with = |attributes| NodeProto {
        attribute: attributes,
        ..node("Concat", &["x"], &["y"])
    };
    assert_eq!(
        errors(model(vec![with(vec![])])),
        [Problem::MissingAttribute { attribute: "axis" }]
    );
    let both = vec![int("axis", 0), int("axes", 0)];
    let unknown = Problem::UnknownAttribute {
        attribute: "axes".into(),
        version: 17,
    };
    assert_eq!(errors(model(vec![with(both)])), [unknown]);
    let float = AttributeProto {
        name: Some("axis".into()),
        r#type: Some(AttributeType::Float as i32),
        f: Some(0.0),
        ..Default::default()
    };
    let kind = Problem::AttributeKind {
        attribute: "axis".into(),
        expected: AttributeType::Int,
        found: "FLOAT",
    };
    assert_eq!(errors(model(vec![with(vec![float])])), [kind]);
    assert_eq!(
        findings(model(vec![with(vec![int("axis", 0), int("__runtime", 1)])])),
        []
    );
}

#[test]
fn operators_are_known_and_not_deprecated() {
    let unknown = findings(model(vec![node("Rilu", &["x"], &["y"])]));
    let text = unknown[0].to_string();
    assert_eq!(
        text,
        "error[unknown-operator] graph `g`, node `n` (Rilu): \
         domain `ai.onnx` has no operator `Rilu` in version 17"
    );
    let deprecated = model(vec![node("Scatter", &["x", "x", "x"], &["y"])]);
    let expected = Problem::DeprecatedOperator {
        op: "Scatter".into(),
        version: 17,
    };
    assert_eq!(errors(deprecated), [expected]);

    let foreign = NodeProto {
        domain: Some("my.ops".into()),
        ..node("Magic", &["x"], &["y"])
    };
    let mut imported = model(vec![foreign.clone()]);
    let expected = Problem::DomainNotImported {
        domain: "my.ops".into(),
    };
    assert_eq!(errors(imported.clone()), [expected]);
    imported.opset_import.push(import("my.ops", 1));
    let warnings = findings(imported);
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        (warnings[0].severity, warnings[0].rule()),
        (Severity::Warning, "foreign-operator")
    );
}

#[test]
fn declared_types_are_allowed_and_agree() {
    let mut graph = graph(vec![node("Add", &["x", "b"], &["y"])]);
    graph.input.push(value("b", 7));
    let mismatch = Problem::TypeMismatch {
        variable: "T",
        first: "tensor(float)".into(),
        second: "tensor(int64)".into(),
    };
    let model = ModelProto {
        graph: Some(graph.clone()),
        ..model(vec![])
    };
    assert_eq!(errors(model.clone()), [mismatch]);
    graph.input[1] = value("b", 9);
    let found = errors(ModelProto {
        graph: Some(graph),
        ..model
    });
    let [
        Problem::TypeNotAllowed {
            index: 1,
            parameter: "B",
            found,
            allowed,
            ..
        },
    ] = found.as_slice()
    else {
        panic!("{found:?}");
    };
    assert_eq!(found, "tensor(bool)");
    assert!(allowed.contains(&"tensor(float)"));
}

#[test]
fn edges_lead_somewhere() {
    let nowhere = model(vec![node("Add", &["x", "nowhere"], &["y"])]);
    let expected = Problem::UndefinedInput {
        index: 1,
        value: "nowhere".into(),
    };
    assert_eq!(errors(nowhere), [expected]);
    let no_output = model(vec![node("Relu", &["x"], &["z"])]);
    assert_eq!(
        errors(no_output),
        [Problem::UndefinedOutput { value: "y".into() }]
    );
    let cycle = model(vec![
        node("Add", &["x", "b"], &["a"]),
        node("Relu", &["a"], &["b"]),
        node("Abs", &["b"], &["y"]),
    ]);
    assert!(matches!(errors(cycle).as_slice(), [Problem::Cycle { .. }]));
    let unsorted = findings(model(vec![
        node("Relu", &["t"], &["y"]),
        node("Abs", &["x"], &["t"]),
    ]));
    assert_eq!(
        (unsorted.len(), unsorted[0].severity),
        (1, Severity::Warning)
    );
    assert_eq!(
        unsorted[0].problem,
        Problem::NotSorted { value: "t".into() }
    );
}

fn branch(nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: Some("branch".into()),
        node: nodes,
        output: vec![value("o", 1)],
        ..Default::default()
    }
}

fn choice(then_branch: GraphProto, else_branch: GraphProto) -> NodeProto {
    let branch = |name: &str, graph| AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(graph),
        ..Default::default()
    };
    NodeProto {
        attribute: vec![
            branch("then_branch", then_branch),
            branch("else_branch", else_branch),
        ],
        ..node("If", &["flag"], &["y"])
    }
}

fn with_choice(then_branch: GraphProto) -> ModelProto {
    let relu = branch(vec![node("Relu", &["t"], &["o"])]);
    let mut model = model(vec![node("Abs", &["x"], &["t"]), choice(then_branch, relu)]);
    if let Some(graph) = &mut model.graph {
        graph.input.push(value("flag", 9));
    }
    model
}

#[test]
fn subgraphs_see_what_is_around_and_do_not_overwrite_it() {
    assert_eq!(
        findings(with_choice(branch(vec![node("Neg", &["t"], &["o"])]))),
        []
    );
    let undefined = with_choice(branch(vec![node("Neg", &["nowhere"], &["o"])]));
    assert_eq!(
        errors(undefined),
        [Problem::UndefinedInput {
            index: 0,
            value: "nowhere".into()
        }]
    );
    let shadowed = with_choice(branch(vec![
        node("Neg", &["x"], &["t"]),
        node("Neg", &["t"], &["o"]),
    ]));
    assert_eq!(errors(shadowed), [Problem::Shadowed { value: "t".into() }]);
    // A captured value has the type that it has around.
    let not_a_bool = with_choice(branch(vec![node("Not", &["x"], &["o"])]));
    let rules: Vec<_> = errors(not_a_bool).iter().map(Problem::rule).collect();
    assert_eq!(rules, ["type-not-allowed", "type-not-allowed"]);
}

fn function(name: &str, calls: &str) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("f".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        opset_import: vec![import("", 17), import("f", 1)],
        node: vec![NodeProto {
            domain: Some("f".into()),
            ..node(calls, &["a"], &["b"])
        }],
        ..Default::default()
    }
}

fn with_functions(functions: Vec<FunctionProto>) -> ModelProto {
    let call = NodeProto {
        domain: Some("f".into()),
        ..node("F", &["x"], &["y"])
    };
    let mut model = model(vec![call]);
    model.opset_import.push(import("f", 1));
    model.functions = functions;
    model
}

#[test]
fn functions_do_not_call_themselves() {
    let round = with_functions(vec![function("F", "G"), function("G", "F")]);
    let calls = ["F", "G", "F"].map(String::from).to_vec();
    assert_eq!(errors(round), [Problem::RecursiveFunction { calls }]);

    let mut leaf = function("G", "Relu");
    leaf.node[0].domain = None;
    assert_eq!(
        findings(with_functions(vec![function("F", "G"), leaf.clone()])),
        []
    );
    leaf.node[0].attribute = vec![AttributeProto {
        ref_attr_name: Some("slope".into()),
        ..int("alpha", 0)
    }];
    leaf.node[0].op_type = Some("Elu".into());
    let rules: Vec<_> = errors(with_functions(vec![function("F", "G"), leaf]))
        .iter()
        .map(Problem::rule)
        .collect();
    assert_eq!(rules, ["dangling-reference", "attribute-type"]);
}

#[test]
fn many_functions_that_call_one_another_are_followed_once() {
    // Each calls the next twice: 2^60 paths, 60 functions.
    let chain = (0..60).map(|level| {
        let mut function = function(&format!("L{level}"), &format!("L{}", level + 1));
        let again = NodeProto {
            output: vec!["c".into()],
            ..function.node[0].clone()
        };
        function.node.push(again);
        function
    });
    let mut functions: Vec<_> = chain.collect();
    functions[59].node = vec![node("Relu", &["a"], &["b"])];
    functions.push(function("F", "L0"));
    assert_eq!(findings(with_functions(functions)), []);
}

#[test]
fn a_chain_of_fifty_thousand_nodes_is_checked() {
    let name = |i: usize| match i {
        0 => "x".to_owned(),
        50_000 => "y".to_owned(),
        _ => format!("t{i}"),
    };
    let nodes = (0..50_000).map(|i| node("Relu", &[&name(i)], &[&name(i + 1)]));
    assert_eq!(findings(model(nodes.collect())), []);
}

/// The rules of what is wrong with a model once its facts are inferred.
fn rules_with_facts(model: ModelProto) -> Vec<&'static str> {
    let model = Model::load_bytes(model.encode_to_vec().into(), None).expect("loads");
    check_with_facts(&model).iter().map(Finding::rule).collect()
}

fn rules(model: ModelProto) -> Vec<&'static str> {
    errors(model).iter().map(Problem::rule).collect()
}

#[test]
fn facts_that_contradict_or_do_not_fit_are_found_by_inference() {
    let fine = model(vec![node("Relu", &["x"], &["y"])]);
    assert_eq!(rules_with_facts(fine), [""; 0]);

    let mut contradicts = model(vec![node("Relu", &["x"], &["y"])]);
    let shape = TensorShapeProto {
        dim: vec![Default::default()],
        ..Default::default()
    };
    let output = &mut contradicts.graph.as_mut().expect("a graph").output[0];
    if let Some(Value::TensorType(tensor)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        tensor.shape = Some(shape);
    }
    assert_eq!(rules(contradicts.clone()), [""; 0]);
    assert_eq!(rules_with_facts(contradicts), ["contradicts-declared"]);

    let softmax = NodeProto {
        attribute: vec![int("axis", 5)],
        ..node("Softmax", &["x"], &["y"])
    };
    assert_eq!(rules_with_facts(model(vec![softmax])), ["broken-rule"]);

    // The type of `b` is known by inference only.
    let types = vec![
        node("Equal", &["x", "x"], &["b"]),
        node("Relu", &["b"], &["y"]),
    ];
    assert_eq!(rules(model(types.clone())), [""; 0]);
    let found = rules_with_facts(model(types));
    assert!(found.contains(&"type-not-allowed"), "{found:?}");
}

#[test]
fn a_call_needs_the_import_of_its_domain() {
    let function = FunctionProto {
        name: Some("Twice".into()),
        domain: Some("com.example".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Add", &["a", "a"], &["b"])],
        opset_import: vec![import("", 17)],
        ..Default::default()
    };
    let call = NodeProto {
        domain: Some("com.example".into()),
        ..node("Twice", &["x"], &["y"])
    };
    let mut calling = model(vec![call]);
    calling.functions.push(function);
    assert_eq!(rules(calling.clone()), ["domain-not-imported"]);
    calling.opset_import.push(import("com.example", 1));
    assert_eq!(rules(calling.clone()), [""; 0]);

    // `Add` is of one version from 14 on, and of another before.
    calling.functions[0].opset_import = vec![import("", 14)];
    assert_eq!(rules(calling.clone()), [""; 0]);
    assert_eq!(rules_with_facts(calling.clone()), [""; 0]);
    calling.functions[0].opset_import = vec![import("", 13)];
    assert_eq!(rules(calling.clone()), ["function-opset"]);
    calling.functions[0].opset_import.clear();
    assert_eq!(rules(calling), ["domain-not-imported"]);
}

#[test]
fn a_constant_has_one_value() {
    let constant = |attribute| NodeProto {
        attribute,
        ..node("Constant", &[], &["y"])
    };
    assert_eq!(rules(model(vec![constant(vec![])])), ["constant-values"]);
    let two = vec![int("value_int", 1), int("sparse_value", 1)];
    let two = rules(model(vec![constant(two)]));
    assert!(two.contains(&"constant-values"), "{two:?}");
}

#[test]
fn versions_know_what_came_with_them() {
    let mut old = model(vec![node("Relu", &["x"], &["y"])]);
    old.ir_version = Some(2);
    assert_eq!(rules(old), ["opset-before-its-time"]);

    let mut untyped = model(vec![node("Relu", &["x"], &["y"])]);
    untyped.graph.as_mut().expect("a graph").input = vec![value("x", 0)];
    assert_eq!(rules(untyped), ["untyped-value"]);
}

#[test]
fn values_of_two_kinds_or_in_two_fields_are_refused_at_load() {
    let load = |model: ModelProto| Model::load_bytes(model.encode_to_vec().into(), None);
    let two = AttributeProto {
        f: Some(1.0),
        ..int("axis", 0)
    };
    let concat = NodeProto {
        attribute: vec![two],
        ..node("Concat", &["x"], &["y"])
    };
    let error = load(model(vec![concat]))
        .expect_err("two values")
        .to_string();
    assert!(
        error.contains("`axis`") && error.contains("FLOAT"),
        "{error}"
    );

    let mut doubled = model(vec![node("Relu", &["x"], &["y"])]);
    let graph = doubled.graph.as_mut().expect("a graph");
    graph.initializer.push(TensorProto {
        name: Some("w".into()),
        dims: vec![1],
        data_type: Some(1),
        raw_data: Some(vec![0u8; 4].into()),
        float_data: vec![1.0],
        ..Default::default()
    });
    let error = load(doubled).expect_err("two fields").to_string();
    assert!(
        error.contains("`w`") && error.contains("`float_data`"),
        "{error}"
    );
}

#[test]
fn what_an_output_declares_comes_before_the_inner_values() {
    let mut declared = model(vec![node("Relu", &["x"], &["y"])]);
    let graph = declared.graph.as_mut().expect("a graph");
    graph.value_info.push(value("y", 7));
    assert_eq!(findings(declared), []);
}
