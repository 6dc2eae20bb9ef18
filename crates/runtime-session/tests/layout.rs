//! Regions of convolutions run with channels last; nobody outside may tell.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{Session, SessionOptions, TapOrder};

fn value(g: &mut Graph, name: &str) -> ValueId {
    g.add_value(name, Fact::Unknown).unwrap()
}

/// Numbers that look random and are the same on every machine.
fn numbers(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let data: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| next())
        .collect();
    Tensor::from_vec(shape, data).unwrap()
}

fn image(g: &mut Graph, name: &str, shape: [usize; 4]) -> ValueId {
    let x = g.add_value(name, Fact::tensor(DType::F32, shape)).unwrap();
    g.add_input(x);
    x
}

fn conv(g: &mut Graph, x: ValueId, name: &str, weight: &[usize], group: i64) -> ValueId {
    let w = numbers(weight, weight.len() as u32 + name.len() as u32);
    let w = g.add_initializer(&format!("{name}_w"), w).unwrap();
    let b = g
        .add_initializer(&format!("{name}_b"), numbers(&weight[..1], 5))
        .unwrap();
    let y = value(g, name);
    let pads = vec![weight[2] as i64 / 2; 4];
    let node = Node::new("Conv", [x, w, b], [y])
        .with("group", group)
        .with("pads", pads);
    g.add_node(node).unwrap();
    y
}

fn node(g: &mut Graph, op: &str, inputs: &[ValueId], name: &str) -> ValueId {
    let y = value(g, name);
    g.add_node(Node::new(op, inputs.iter().copied(), [y]))
        .unwrap();
    y
}

/// A region with every kind of step: convolutions plain, depthwise and in groups, sums of images and with constants
/// per channel, windows, `Concat`, an operator without a kernel, a branch that reads the model's order, and a head.
fn region() -> Model {
    let mut g = Graph::new("region");
    let x = image(&mut g, "x", [2, 3, 8, 6]);
    let a = conv(&mut g, x, "a", &[8, 3, 3, 3], 1);
    let a = node(&mut g, "Relu", &[a], "relu");
    let d = conv(&mut g, a, "depthwise", &[8, 1, 3, 3], 8);
    let sum = node(&mut g, "Add", &[a, d], "sum");
    let scale = g.add_initializer("scale", numbers(&[8, 1, 1], 9)).unwrap();
    let scaled = node(&mut g, "Mul", &[sum, scale], "scaled");
    let grouped = conv(&mut g, scaled, "grouped", &[8, 4, 1, 1], 2);
    let both = value(&mut g, "both");
    g.add_node(Node::new("Concat", [scaled, grouped], [both]).with("axis", 1i64))
        .unwrap();
    let pooled = value(&mut g, "pooled");
    let pool = Node::new("MaxPool", [both], [pooled])
        .with("kernel_shape", vec![2i64, 2])
        .with("strides", vec![2i64, 2]);
    g.add_node(pool).unwrap();
    let sine = node(&mut g, "Sin", &[pooled], "sine");
    let c = conv(&mut g, sine, "c", &[5, 16, 1, 1], 1);
    let mean = node(&mut g, "GlobalAveragePool", &[c], "mean");
    let flat = node(&mut g, "Flatten", &[mean], "flat");
    let turned = value(&mut g, "turned");
    g.add_node(Node::new("Transpose", [c], [turned]).with("perm", vec![0i64, 2, 3, 1]))
        .unwrap();
    for y in [flat, turned, scaled] {
        g.add_output(y);
    }
    Model::new(g, 17)
}

fn reference(model: &Model, x: &Tensor, names: &[&str]) -> Vec<Tensor> {
    let mut model = model.clone();
    let graph = &mut model.graph;
    for name in names {
        let v = graph.value_by_name(name).unwrap();
        if !graph.is_output(v) {
            graph.add_output(v);
        }
    }
    let feeds = [("x".to_owned(), Value::Tensor(x.clone()))];
    let outputs = Evaluator::new(&model).unwrap().run(feeds).unwrap();
    let named = model.graph.outputs().iter().zip(outputs);
    let named: Vec<(&str, Tensor)> = named
        .map(|(&v, y)| (model.graph.name_of(v), y.into_tensor().unwrap()))
        .collect();
    let find = |name: &&str| named.iter().find(|(n, _)| n == name).unwrap().1.clone();
    names.iter().map(find).collect()
}

fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let pairs = found.data::<f32>().unwrap().into_owned().into_iter();
    for (a, b) in pairs.zip(expected.data::<f32>().unwrap().iter()) {
        assert!(
            (a - b).abs() <= 1e-4 * b.abs().max(1.0),
            "{what}: {a} and {b}"
        );
    }
}

#[test]
fn a_region_gives_what_the_reference_gives_in_the_models_own_order() {
    let model = region();
    let x = numbers(&[2, 3, 8, 6], 1);
    for threads in [1, 2] {
        let options = SessionOptions::default()
            .with_threads(threads)
            .with_profile();
        let session = Session::new(model.clone(), &options).unwrap();
        let found = session.run(&[("x", x.clone())]).unwrap();
        let names = ["flat", "turned", "scaled"];
        for ((found, expected), name) in found.iter().zip(reference(&model, &x, &names)).zip(names)
        {
            assert_close(found, &expected, name);
        }
        // The input, the way into the convolution in groups and out of it, around `Sin`, and before the head; the
        // transposition of the head itself is a view.
        let rows = session.profile().rows;
        let mut moved: Vec<&str> = rows
            .iter()
            .filter_map(|r| r.node.strip_prefix("layout of "))
            .collect();
        moved.sort_unstable();
        assert_eq!(
            moved,
            [
                "`grouped`",
                "`mean`",
                "`pooled`",
                "`scaled`",
                "`sine`",
                "`x`"
            ]
        );
    }
}

#[test]
fn taps_show_values_in_the_models_own_order() {
    let model = region();
    let x = numbers(&[2, 3, 8, 6], 1);
    let names = [
        "a",
        "depthwise",
        "sum",
        "grouped",
        "both",
        "pooled",
        "c",
        "mean",
    ];
    let expected = reference(&model, &x, &names);
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let mut seen = Vec::new();
    session
        .run_with_taps(&[("x", x)], &names, |name, tensor| {
            let at = names.iter().position(|n| *n == name).unwrap();
            assert_close(tensor, &expected[at], name);
            seen.push(at);
        })
        .unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn taps_in_memory_order_show_the_same_numbers_and_copy_no_image() {
    let model = region();
    let x = numbers(&[2, 3, 8, 6], 1);
    let names = ["depthwise", "sum", "c"];
    let expected = reference(&model, &x, &names);
    let options = SessionOptions::default()
        .with_tap_order(TapOrder::Memory)
        .with_profile();
    let session = Session::new(model, &options).unwrap();
    let mut seen = Vec::new();
    session
        .run_with_taps(&[("x", x)], &names, |name, tensor| {
            let at = names.iter().position(|n| *n == name).unwrap();
            let in_order = expected[at].view::<f32>().unwrap();
            let last = in_order.permuted_axes([0, 2, 3, 1].as_slice());
            let last = Tensor::from_array(last.as_standard_layout().into_owned());
            assert_close(tensor, &last, name);
            seen.push(name.to_owned());
        })
        .unwrap();
    seen.sort_unstable();
    assert_eq!(seen, ["c", "depthwise", "sum"]);
    let rows = session.profile().rows;
    let copied = |name: &&str| rows.iter().any(|r| r.node == format!("layout of `{name}`"));
    assert!(!names.iter().any(copied));
}

#[test]
fn a_transposition_into_channels_first_is_a_view_before_a_convolution() {
    let mut g = Graph::new("converted");
    let x = image(&mut g, "x", [1, 6, 5, 3]);
    let turned = value(&mut g, "turned");
    g.add_node(Node::new("Transpose", [x], [turned]).with("perm", vec![0i64, 3, 1, 2]))
        .unwrap();
    let y = conv(&mut g, turned, "y", &[4, 3, 3, 3], 1);
    let z = value(&mut g, "z");
    g.add_node(Node::new("Transpose", [y], [z]).with("perm", vec![0i64, 2, 3, 1]))
        .unwrap();
    g.add_output(z);
    let model = Model::new(g, 17);
    let x = numbers(&[1, 6, 5, 3], 3);
    let session = Session::new(model.clone(), &SessionOptions::default().with_profile()).unwrap();
    let found = session.run(&[("x", x.clone())]).unwrap();
    assert_close(&found[0], &reference(&model, &x, &["z"])[0], "z");
    let rows = session.profile().rows;
    assert!(
        rows.iter().all(|r| !r.node.starts_with("layout of")),
        "{rows:?}"
    );
}

/// `y = relu(conv(x, w))` where `w` is listed as an input with a default, as files before IR version 4 list weights.
#[test]
fn a_default_is_bound_as_a_constant_and_can_be_replaced() {
    let mut g = Graph::new("old");
    let x = image(&mut g, "x", [1, 2, 4, 4]);
    let y = conv(&mut g, x, "y", &[3, 2, 1, 1], 1);
    let w = g.value_by_name("y_w").unwrap();
    g.add_input(w);
    g.add_output(y);
    let model = Model::new(g, 17);
    let (x, other) = (numbers(&[1, 2, 4, 4], 3), numbers(&[3, 2, 1, 1], 77));
    let session = Session::new(model.clone(), &SessionOptions::default().with_profile()).unwrap();
    let found = session.run(&[("x", x.clone())]).unwrap();
    assert_close(&found[0], &reference(&model, &x, &["y"])[0], "default");
    assert!(
        session
            .profile()
            .rows
            .iter()
            .any(|r| r.kernel == "conv.f32")
    );
    let feeds = [
        ("x".to_owned(), Value::Tensor(x.clone())),
        ("y_w".to_owned(), Value::Tensor(other.clone())),
    ];
    let expected = Evaluator::new(&model).unwrap().run(feeds).unwrap();
    let found = session.run(&[("x", x), ("y_w", other)]).unwrap();
    assert_close(&found[0], expected[0].as_tensor().unwrap(), "replaced");
}

fn permuted(g: &mut Graph, x: ValueId, name: &str, perm: [i64; 4]) -> ValueId {
    let y = value(g, name);
    g.add_node(Node::new("Transpose", [x], [y]).with("perm", perm.to_vec()))
        .unwrap();
    y
}

/// `name = Cast(x)` to the type of this number in ONNX.
fn cast(g: &mut Graph, x: ValueId, name: &str, to: i64) -> ValueId {
    let y = value(g, name);
    g.add_node(Node::new("Cast", [x], [y]).with("to", to))
        .unwrap();
    y
}

/// Whole numbers from 0 to 4, which all types hold.
fn whole(shape: &[usize], seed: u32) -> Tensor {
    let data = numbers(shape, seed).into_vec::<f32>().unwrap();
    let data = data.iter().map(|x| (x.abs() * 50.0).floor() % 5.0);
    Tensor::from_vec(shape, data.collect()).unwrap()
}

/// Runs a session and the reference evaluator on `x`: f32 outputs are close, others the same bits.
fn assert_as_reference(g: Graph, outputs: &[ValueId], x: &Tensor, what: &str) {
    let mut g = g;
    outputs.iter().for_each(|&v| g.add_output(v));
    let names: Vec<String> = outputs.iter().map(|&v| g.name_of(v).to_owned()).collect();
    let model = Model::new(g, 17);
    let feeds = [("x".to_owned(), Value::Tensor(x.clone()))];
    let expected = Evaluator::new(&model).unwrap().run(feeds).unwrap();
    let session = Session::new(model, &SessionOptions::default()).unwrap();
    let found = session.run(&[("x", x.clone())]).unwrap();
    for ((found, expected), name) in found.iter().zip(expected).zip(names) {
        let (expected, what) = (expected.into_tensor().unwrap(), format!("{what}: {name}"));
        assert_eq!(found.dtype(), expected.dtype(), "{what}");
        assert_eq!(found.shape(), expected.shape(), "{what}");
        match found.dtype() {
            DType::F32 => assert_close(found, &expected, &what),
            _ => assert_eq!(found.bytes(), expected.bytes(), "{what}"),
        }
    }
}

const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// Numbers of ONNX: f32, u8, i8, u16, i32, i64, bool, f16, f64.
const TYPES: [i64; 9] = [1, 2, 3, 4, 6, 7, 9, 10, 11];

#[test]
fn images_of_integers_beside_a_convolution_keep_their_order() {
    for to in [1, 2, 3, 6, 7, 11] {
        let mut g = Graph::new("centred");
        let x = image(&mut g, "x", [1, 5, 4, 3]);
        let typed = cast(&mut g, x, "typed", to);
        let first = permuted(&mut g, typed, "first", TO_FIRST);
        // Three constants that differ by channel, and by row and column too.
        let mut sums = vec![first];
        for (i, shape) in [&[3, 1, 1][..], &[1, 3, 1, 1], &[1, 3, 5, 4]]
            .iter()
            .enumerate()
        {
            let c = g
                .add_initializer(&format!("c{i}"), whole(shape, 7))
                .unwrap();
            let c = cast(&mut g, c, &format!("typed{i}"), to);
            let sum = node(&mut g, "Add", &[sums[i], c], &format!("sum{i}"));
            sums.push(sum);
        }
        let float = cast(&mut g, sums[3], "float", 1);
        let y = conv(&mut g, float, "y", &[4, 3, 3, 3], 1);
        let outputs = [sums[1], y];
        let what = format!("type {to}");
        assert_as_reference(g, &outputs, &whole(&[1, 5, 4, 3], 3), &what);
    }
}

#[test]
fn masks_of_any_type_pass_by_a_convolution() {
    for to in TYPES {
        let mut g = Graph::new("masked");
        let x = image(&mut g, "x", [1, 4, 4, 3]);
        let image = permuted(&mut g, x, "image", TO_FIRST);
        let y = conv(&mut g, image, "y", &[4, 3, 3, 3], 1);
        let typed = cast(&mut g, x, "typed", to);
        let mask = permuted(&mut g, typed, "mask", TO_FIRST);
        let same = node(&mut g, "Identity", &[mask], "same");
        let last = permuted(&mut g, same, "last", [0, 2, 3, 1]);
        let what = format!("type {to}");
        assert_as_reference(g, &[y, mask, same, last], &whole(&[1, 4, 4, 3], 3), &what);
    }
}

#[test]
fn windows_over_images_that_no_kernel_takes_run_beside_a_convolution() {
    for to in [1, 10, 11] {
        let mut g = Graph::new("pooled");
        let x = image(&mut g, "x", [1, 4, 4, 3]);
        let image = permuted(&mut g, x, "image", TO_FIRST);
        let y = conv(&mut g, image, "y", &[4, 3, 3, 3], 1);
        let typed = cast(&mut g, x, "typed", to);
        let first = permuted(&mut g, typed, "first", TO_FIRST);
        let most = value(&mut g, "most");
        let pool = Node::new("MaxPool", [first], [most]).with("kernel_shape", vec![2i64, 2]);
        g.add_node(pool).unwrap();
        let mean = node(&mut g, "GlobalAveragePool", &[first], "mean");
        let both = value(&mut g, "both");
        g.add_node(Node::new("Concat", [first, first], [both]).with("axis", 1i64))
            .unwrap();
        let what = format!("type {to}");
        let outputs = [y, most, mean, both];
        assert_as_reference(g, &outputs, &whole(&[1, 4, 4, 3], 3), &what);
    }
}

#[test]
fn constants_of_all_ranks_beside_images() {
    let shapes: [&[usize]; 9] = [
        &[],
        &[1],
        &[6],
        &[5, 6],
        &[4, 1, 1],
        &[1, 4, 5, 6],
        &[2, 4, 5, 6],
        &[1, 1, 1, 1, 1],
        &[1, 2, 4, 5, 6],
    ];
    for op in ["Add", "Mul", "Max"] {
        for shape in shapes {
            let mut g = Graph::new("constants");
            let x = image(&mut g, "x", [2, 3, 5, 6]);
            let a = conv(&mut g, x, "a", &[4, 3, 3, 3], 1);
            let a = node(&mut g, "Sigmoid", &[a], "sigmoid");
            let c = g.add_initializer("c", numbers(shape, 21)).unwrap();
            let b = node(&mut g, op, &[a, c], "b");
            let relu = node(&mut g, "Relu", &[b], "relu");
            let what = format!("{op} {shape:?}");
            assert_as_reference(g, &[b, relu], &numbers(&[2, 3, 5, 6], 3), &what);
        }
    }
}

#[test]
fn residuals_concatenated_constants_and_second_readers() {
    let mut g = Graph::new("rest");
    let x = image(&mut g, "x", [2, 5, 6, 3]);
    // Read by a convolution, and in the model's order by an operator without a kernel and by a product of rows.
    let first = permuted(&mut g, x, "first", TO_FIRST);
    let sine = node(&mut g, "Sin", &[first], "sine");
    let a = conv(&mut g, first, "a", &[4, 3, 3, 3], 1);
    // A residual that varies, and one that is a constant image.
    let b = conv(&mut g, a, "b", &[4, 4, 3, 3], 1);
    let sum = node(&mut g, "Add", &[b, a], "sum");
    let relu = node(&mut g, "Relu", &[sum], "relu");
    let c = conv(&mut g, relu, "c", &[4, 4, 1, 1], 1);
    let plane = g
        .add_initializer("plane", numbers(&[2, 4, 5, 6], 31))
        .unwrap();
    let shifted = node(&mut g, "Add", &[c, plane], "shifted");
    let both = value(&mut g, "both");
    let inputs = [shifted, plane, relu];
    g.add_node(Node::new("Concat", inputs, [both]).with("axis", -3i64))
        .unwrap();
    let d = conv(&mut g, both, "d", &[3, 12, 3, 3], 1);
    let wide = value(&mut g, "wide");
    g.add_node(Node::new("Concat", [d, sine], [wide]).with("axis", 3i64))
        .unwrap();
    let outputs = [sine, shifted, wide];
    assert_as_reference(g, &outputs, &numbers(&[2, 5, 6, 3], 3), "rest");
}

#[test]
fn quantized_images_beside_convolutions() {
    let mut g = Graph::new("bytes");
    let x = image(&mut g, "x", [1, 6, 6, 3]);
    let scale = g
        .add_initializer("scale", Tensor::scalar(1.0f32 / 64.0))
        .unwrap();
    // An even zero point: in the fused sum, halves are rounded to even with the zero point added already.
    let zero = g.add_initializer("zero", Tensor::scalar(4u8)).unwrap();
    let bytes = node(&mut g, "QuantizeLinear", &[x, scale, zero], "bytes");
    let first = permuted(&mut g, bytes, "first", TO_FIRST);
    let most = value(&mut g, "most");
    let pool = Node::new("MaxPool", [first], [most])
        .with("kernel_shape", vec![3i64, 3])
        .with("pads", vec![1i64; 4]);
    g.add_node(pool).unwrap();
    let both = value(&mut g, "both");
    g.add_node(Node::new("Concat", [first, most], [both]).with("axis", 1i64))
        .unwrap();
    let pairs = [first, most].map(|v| {
        let name = format!("{} float", g.name_of(v));
        node(&mut g, "DequantizeLinear", &[v, scale, zero], &name)
    });
    let sum = node(&mut g, "Add", &pairs, "sum");
    let wide = g
        .add_initializer("wide", Tensor::scalar(1.0f32 / 32.0))
        .unwrap();
    let sum = node(&mut g, "QuantizeLinear", &[sum, wide, zero], "sum bytes");
    let float = node(&mut g, "DequantizeLinear", &[both, scale, zero], "float");
    let y = conv(&mut g, float, "y", &[4, 6, 3, 3], 1);
    let z = node(&mut g, "DequantizeLinear", &[sum, wide, zero], "z");
    let z = conv(&mut g, z, "last", &[4, 3, 3, 3], 1);
    // Scales per channel are no constants that broadcast.
    let scales = g
        .add_initializer("scales", Tensor::vector(vec![0.25f32, 0.5, 1.0]))
        .unwrap();
    let zeros = g
        .add_initializer("zeros", Tensor::vector(vec![1u8, 2, 3]))
        .unwrap();
    let each = value(&mut g, "each");
    g.add_node(Node::new("DequantizeLinear", [most, scales, zeros], [each]).with("axis", 1i64))
        .unwrap();
    let outputs = [first, both, sum, y, z, each];
    assert_as_reference(g, &outputs, &numbers(&[1, 6, 6, 3], 3), "bytes");
}
