//! Opset conversion: what changed between versions is written down, moved or refused, never passed over.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::opset::convert;
use onnx_ir::{Attribute, Catalog, Fact, Graph, Model, Node, ValueId};

/// A model of one node that reads `x` of a shape, and constants after it.
fn model(
    op: &str,
    opset: i64,
    x: &[i64],
    constants: Vec<Tensor>,
    attributes: Vec<(&str, Attribute)>,
) -> Model {
    let mut graph = Graph::new("g");
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, x.to_vec()))
        .unwrap();
    graph.add_input(x);
    let mut inputs: Vec<Option<ValueId>> = vec![Some(x)];
    for (i, constant) in constants.into_iter().enumerate() {
        inputs.push(Some(
            graph.add_initializer(&format!("c{i}"), constant).unwrap(),
        ));
    }
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let mut node = Node::new(op, inputs, [Some(y)]).named("n");
    for (name, value) in attributes {
        node.attributes.set(name, value);
    }
    graph.add_node(node).unwrap();
    graph.add_output(y);
    Model::new(graph, opset)
}

/// What the model makes of `0, 1, 2, …` divided by 8.
fn run(model: &Model) -> Tensor {
    let shape = model
        .fact("x")
        .unwrap()
        .as_tensor()
        .unwrap()
        .sizes()
        .unwrap();
    let count = shape.iter().product::<usize>();
    let x = Tensor::from_vec(&shape, (0..count).map(|n| n as f32 / 8.0).collect()).unwrap();
    let outputs = Evaluator::new(model)
        .unwrap()
        .run([("x".to_owned(), x.into())]);
    outputs.unwrap().remove(0).into_tensor().unwrap()
}

/// The model at another opset, which gives the same.
fn converted(model: &Model, target: i64) -> Model {
    let mut other = model.clone();
    convert(&mut other, target, Catalog::standard()).unwrap();
    assert_eq!(other.opset(), target);
    let (before, after) = (run(model), run(&other));
    assert_eq!(before.shape(), after.shape());
    assert_eq!(before.to_bytes(), after.to_bytes());
    other
}

fn refused(model: &Model, target: i64) -> String {
    let mut other = model.clone();
    let error = convert(&mut other, target, Catalog::standard()).unwrap_err();
    assert_eq!(other.opset(), model.opset(), "the model is unchanged");
    error.to_string()
}

fn attribute(model: &Model, name: &str) -> Option<String> {
    let (_, node) = model.graph.nodes().next()?;
    Some(format!("{:?}", node.attributes.get(name)?))
}

fn operators(model: &Model) -> Vec<&str> {
    model
        .graph
        .nodes()
        .map(|(_, node)| node.op_type.as_str())
        .collect()
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::vector(values.to_vec())
}

#[test]
fn softmax_over_an_inner_axis_goes_down_by_way_of_the_last() {
    let softmax = model(
        "Softmax",
        13,
        &[2, 3, 4],
        vec![],
        vec![("axis", 1i64.into())],
    );
    let old = converted(&softmax, 12);
    assert_eq!(operators(&old), ["Transpose", "Softmax", "Transpose"]);
    let last = model("LogSoftmax", 13, &[2, 3, 4], vec![], vec![]);
    let old = converted(&last, 11);
    assert_eq!(attribute(&old, "axis").unwrap(), "Int(2)");
    let flattened = model("Softmax", 11, &[2, 3, 4], vec![], vec![]);
    assert_eq!(
        operators(&converted(&flattened, 13)),
        ["Shape", "Flatten", "Softmax", "Reshape"]
    );
}

#[test]
fn defaults_that_changed_are_written_down_and_new_ones_dropped() {
    let grid = Tensor::full(&[1, 2, 2, 2], 0.25f32).unwrap();
    let sample = model("GridSample", 16, &[1, 1, 3, 3], vec![grid.clone()], vec![]);
    let new = converted(&sample, 20);
    assert_eq!(
        attribute(&new, "mode").unwrap(),
        format!("{:?}", Attribute::from("linear"))
    );
    let sample = model("GridSample", 20, &[1, 1, 3, 3], vec![grid], vec![]);
    let old = converted(&sample, 17);
    assert_eq!(
        attribute(&old, "mode").unwrap(),
        format!("{:?}", Attribute::from("bilinear"))
    );

    let reshape = |zero: i64| {
        let allow = vec![("allowzero", zero.into())];
        model("Reshape", 14, &[2, 3], vec![ints(&[3, 2])], allow)
    };
    assert_eq!(attribute(&converted(&reshape(0), 13), "allowzero"), None);
    assert!(refused(&reshape(1), 13).contains("`allowzero`"));
}

#[test]
fn regions_of_interest_keep_their_coordinates() {
    let rois = Tensor::from_vec(&[1, 4], vec![0f32, 0.0, 2.0, 2.0]).unwrap();
    let size = || {
        vec![
            ("output_height", 2i64.into()),
            ("output_width", 2i64.into()),
        ]
    };
    let constants = || vec![rois.clone(), ints(&[0])];
    let old = model("RoiAlign", 10, &[1, 1, 4, 4], constants(), size());
    let new = converted(&old, 16);
    converted(&new, 15);
    let half_pixel = model("RoiAlign", 16, &[1, 1, 4, 4], constants(), size());
    assert!(refused(&half_pixel, 15).contains("half a pixel"));
}

#[test]
fn pads_of_some_axes_become_pads_of_all() {
    let constants = vec![ints(&[1, 2]), Tensor::scalar(0.5f32), ints(&[-1])];
    let pad = model("Pad", 18, &[2, 3], constants, vec![]);
    assert_eq!(run(&pad).shape(), [2, 6]);
    converted(&pad, 13);
    let old = converted(&pad, 10);
    assert_eq!(attribute(&old, "pads").unwrap(), "Ints([0, 1, 0, 2])");
}

#[test]
fn axes_are_counted_from_the_front_before_opset_11() {
    let squeeze = model("Squeeze", 13, &[2, 1, 3], vec![ints(&[-2])], vec![]);
    let old = converted(&squeeze, 10);
    assert_eq!(attribute(&old, "axes").unwrap(), "Ints([1])");
    let unsqueeze = model("Unsqueeze", 13, &[2, 3], vec![ints(&[-1, 0])], vec![]);
    let old = converted(&unsqueeze, 9);
    assert_eq!(attribute(&old, "axes").unwrap(), "Ints([3, 0])");
}

#[test]
fn a_split_into_unequal_parts_keeps_its_parts() {
    let split = |size: i64| {
        let mut split = model(
            "Split",
            18,
            &[size],
            vec![],
            vec![("num_outputs", 2i64.into())],
        );
        let (id, node) = split
            .graph
            .nodes()
            .next()
            .map(|(id, n)| (id, n.clone()))
            .unwrap();
        let z = split.graph.add_value("z", Fact::Unknown).unwrap();
        let both = vec![node.output(0), Some(z)];
        split
            .graph
            .replace_node(id, node.with_outputs(both))
            .unwrap();
        split
    };
    let uneven = converted(&split(5), 11);
    assert_eq!(attribute(&uneven, "split").unwrap(), "Ints([3, 2])");
    assert_eq!(attribute(&converted(&split(6), 13), "split"), None);
}

#[test]
fn scales_for_each_slice_and_training_are_refused() {
    let scales = Tensor::vector(vec![1f32, 2.0, 4.0]);
    let sliced = model("QuantizeLinear", 13, &[2, 3], vec![scales], vec![]);
    assert!(refused(&sliced, 12).contains("one scale for each slice"));
    let one = model(
        "QuantizeLinear",
        13,
        &[2, 3],
        vec![Tensor::scalar(0.5f32)],
        vec![],
    );
    converted(&one, 10);
    let training = vec![Tensor::scalar(0.5f32), Tensor::scalar(true)];
    let training = model("Dropout", 13, &[2, 3], training, vec![]);
    assert!(refused(&training, 11).contains("training"));
}

#[test]
fn upsampling_survives_every_version() {
    let scales = vec![("scales", Attribute::Floats(vec![1.0, 1.0, 2.0, 2.0]))];
    let oldest = model("Upsample", 7, &[1, 1, 2, 2], vec![], scales);
    let mut at = converted(&oldest, 9);
    for target in [10, 11, 13, 19, 13, 11, 10, 9, 7] {
        at = converted(&at, target);
    }
    assert_eq!(operators(&at), ["Upsample"]);
}

#[test]
fn names_and_forms_that_changed_are_changed() {
    let matrix = Tensor::full(&[3, 2], 1f32).unwrap();
    let gemm = model("Gemm", 11, &[2, 3], vec![matrix], vec![]);
    let old = converted(&gemm, 9);
    assert_eq!(old.graph.nodes().next().unwrap().1.inputs().len(), 3);

    let scatter = vec![ints(&[1]), Tensor::vector(vec![9f32])];
    let scatter = model("Scatter", 9, &[3], scatter, vec![]);
    let new = converted(&scatter, 18);
    assert_eq!(operators(&new), ["ScatterElements"]);
    assert_eq!(operators(&converted(&new, 9)), ["Scatter"]);

    let shape = vec![("start", 1i64.into()), ("end", 2i64.into())];
    let shape = model("Shape", 15, &[2, 3, 4], vec![], shape);
    assert_eq!(operators(&converted(&shape, 13)), ["Shape", "Slice"]);

    let dft = model("DFT", 17, &[1, 4, 1], vec![], vec![]);
    let new = converted(&dft, 20);
    converted(&new, 17);
}

#[test]
fn opsets_before_7_say_how_they_broadcast() {
    let upwards = |mut model: Model| {
        convert(&mut model, 13, Catalog::standard()).unwrap();
        model
    };
    let along = vec![("broadcast", 1i64.into()), ("axis", 1i64.into())];
    let bias = Tensor::vector(vec![100f32, 200.0, 300.0]);
    let sum = upwards(model("Add", 6, &[2, 3, 2], vec![bias], along));
    let expected: Vec<f32> = (0..12)
        .map(|n| n as f32 / 8.0 + [100f32, 200.0, 300.0][n / 2 % 3])
        .collect();
    assert_eq!(run(&sum).to_f32_vec().unwrap(), expected);

    let slope = Tensor::vector(vec![1f32, 2.0, 3.0]);
    let slopes = upwards(model("PRelu", 6, &[1, 3, 2, 2], vec![slope], vec![]));
    assert_eq!(run(&slopes).shape(), [1, 3, 2, 2]);

    let shape = vec![
        ("shape", vec![3i64, 2].into()),
        ("consumed_inputs", vec![0i64].into()),
    ];
    let reshaped = upwards(model("Reshape", 1, &[2, 3], vec![], shape));
    assert_eq!(run(&reshaped).shape(), [3, 2]);

    let cast = upwards(model("Cast", 1, &[2], vec![], vec![("to", "INT32".into())]));
    assert_eq!(run(&cast).dtype(), DType::I32);

    let training = vec![("is_test", 0i64.into())];
    let dropout = model("Dropout", 6, &[2], vec![], training);
    assert!(refused(&dropout, 7).contains("training"));
    assert!(refused(&model("Relu", 8, &[2], vec![], vec![]), 6).contains("outside of 7"));
}
