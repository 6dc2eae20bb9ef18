//! Comparisons, logic and casts against the reference evaluator, on every instruction set.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value};
use runtime_session::{Session, SessionOptions};

const NUMBERS: [DType; 5] = [DType::F32, DType::I32, DType::I64, DType::U8, DType::I8];

/// Whole numbers of which some are equal and, for f32, one is none.
fn numbers(dtype: DType, shape: &[usize], seed: usize) -> Tensor {
    let len = shape.iter().product();
    let mut data: Vec<f32> = (0..len).map(|i| ((i * 7 + seed * 3) % 5) as f32).collect();
    if dtype == DType::F32 {
        data[len / 2] = f32::NAN;
    }
    let floats = Tensor::from_vec(shape, data).unwrap();
    floats.cast(dtype, Default::default()).unwrap()
}

/// Runs one node on `inputs`, in a session and by reference; the kernel must be `kernel`.
fn check(node: Node, opset: i64, inputs: &[Tensor], kernel: &str) {
    let what = format!("{} of {:?}", node.op_type, inputs[0].dtype());
    let mut graph = Graph::new("net");
    let (names, mut ids) = (["a", "b"], Vec::new());
    for (name, input) in names.iter().zip(inputs) {
        let fact = Fact::tensor(input.dtype(), input.shape().iter().copied());
        let id = graph.add_value(name, fact).unwrap();
        graph.add_input(id);
        ids.push(id);
    }
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let mut whole = Node::new(node.op_type.clone(), ids, [y]);
    whole.attributes = node.attributes;
    graph.add_node(whole).unwrap();
    graph.add_output(y);
    let model = Model::new(graph, opset);
    let feeds = || names.iter().zip(inputs).map(|(name, x)| (*name, x.clone()));
    let expected = Evaluator::new(&model).unwrap();
    let expected = expected
        .run(feeds().map(|(name, x)| (name.to_owned(), Value::Tensor(x))))
        .unwrap();
    let expected = expected[0].as_tensor().unwrap();
    for isa in runtime_kernels::Isa::available() {
        let options = SessionOptions::default().with_profile().with_isa(isa);
        let session = Session::new(model.clone(), &options).unwrap();
        let found = session.run(&feeds().collect::<Vec<_>>()).unwrap().remove(0);
        assert_eq!(
            (found.dtype(), found.shape()),
            (expected.dtype(), expected.shape())
        );
        assert_eq!(found.bytes(), expected.bytes(), "{what}");
        assert_eq!(session.profile().rows[0].kernel, kernel, "{what}");
    }
}

fn node(op: &str) -> Node {
    Node::new(op, [None; 0], [None; 0])
}

#[test]
fn relations_hold_as_by_reference() {
    let shapes: [[&[usize]; 2]; 5] = [
        [&[3, 5], &[3, 5]],
        [&[2, 33, 1], &[1, 40]],
        [&[], &[17]],
        [&[2, 3, 2, 3], &[2, 1, 2, 1]],
        [&[4, 1], &[1]],
    ];
    for op in ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"] {
        for dtype in NUMBERS {
            for [a, b] in shapes {
                let inputs = [numbers(dtype, a, 1), numbers(dtype, b, 2)];
                check(node(op), 17, &inputs, "compare");
            }
        }
    }
    for op in ["And", "Or", "Xor", "Equal"] {
        let inputs = shapes[1].map(|shape| numbers(DType::Bool, shape, 3));
        check(node(op), 17, &inputs, "compare");
    }
}

#[test]
fn old_relations_broadcast_from_their_axis() {
    let inputs = [
        numbers(DType::F32, &[4, 4], 1),
        numbers(DType::F32, &[4], 2),
    ];
    let old = node("Less").with("axis", 0i64).with("broadcast", 1i64);
    check(old, 1, &inputs, "reference");
}

#[test]
fn casts_between_masks_indices_and_floats_have_a_kernel() {
    let with_kernel = [
        (DType::Bool, DType::F32),
        (DType::Bool, DType::I32),
        (DType::Bool, DType::I64),
        (DType::I32, DType::F32),
        (DType::I64, DType::F32),
        (DType::I32, DType::I64),
        (DType::I64, DType::I32),
        (DType::I32, DType::Bool),
        (DType::I64, DType::Bool),
        (DType::F32, DType::Bool),
    ];
    for (from, to) in with_kernel {
        let cast = node("Cast").with("to", i64::from(code(to)));
        check(cast, 17, &[numbers(from, &[3, 37], 1)], "cast");
    }
    let large = Tensor::vector(vec![i64::MIN, i64::MAX, (1 << 53) + 1, -1, 1 << 32]);
    for to in [DType::F32, DType::I32] {
        let cast = node("Cast").with("to", i64::from(code(to)));
        check(cast, 17, std::slice::from_ref(&large), "cast");
    }
}

/// The number of an element type in `TensorProto`.
fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => 1,
        DType::I32 => 6,
        DType::I64 => 7,
        _ => 9,
    }
}
