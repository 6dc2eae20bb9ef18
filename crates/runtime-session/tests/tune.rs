//! Tuned sessions compute the same, and remember what they measured.

use compress_tensor::{DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::{Fact, Graph, Model, Node, Value, ValueId};
use runtime_session::{Autotune, Session, SessionOptions, Tuning};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A graph under construction.
struct Net {
    graph: Graph,
    x: ValueId,
    shape: Vec<usize>,
    weights: usize,
}

fn numbers(seed: usize, len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (((i * 37 + seed * 101 + 11) % 97) as f32 - 48.0) / 48.0)
        .collect()
}

impl Net {
    fn new(shape: &[usize]) -> Self {
        let mut graph = Graph::new("net");
        let declared = Fact::tensor(DType::F32, shape.iter().copied());
        let x = graph.add_value("x", declared).unwrap();
        graph.add_input(x);
        Self {
            graph,
            x,
            shape: shape.to_vec(),
            weights: 0,
        }
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_initializer("w", tensor).unwrap()
    }

    fn node(&mut self, node: Node) -> ValueId {
        let y = self.graph.fresh_value("t", Fact::Unknown).unwrap();
        let mut new = Node::new(node.op_type.clone(), node.inputs().to_vec(), [y]);
        new.attributes = node.attributes;
        self.graph.add_node(new).unwrap();
        y
    }

    fn op(&mut self, op: &str, inputs: &[ValueId]) -> ValueId {
        let inputs = inputs.iter().copied().map(Some);
        self.node(Node::new(op, inputs, [None::<ValueId>; 0]))
    }

    fn weight(&mut self, shape: &[usize]) -> ValueId {
        self.weights += 1;
        let data = numbers(self.weights, shape.iter().product());
        self.constant(Tensor::from_vec(shape, data).unwrap())
    }

    fn int8_weight(&mut self, shape: &[usize]) -> ValueId {
        self.weights += 1;
        let data = numbers(self.weights, shape.iter().product());
        let data: Vec<i8> = data.into_iter().map(|v| (v * 127.0) as i8).collect();
        let q = self.constant(Tensor::from_vec(shape, data).unwrap());
        let s = self.constant(Tensor::scalar(0.006f32));
        let z = self.constant(Tensor::scalar(0i8));
        self.op("DequantizeLinear", &[q, s, z])
    }

    fn quantized(&mut self, x: ValueId, scale: f32, zero_point: u8) -> ValueId {
        let s = self.constant(Tensor::scalar(scale));
        let z = self.constant(Tensor::scalar(zero_point));
        let q = self.op("QuantizeLinear", &[x, s, z]);
        self.op("DequantizeLinear", &[q, s, z])
    }

    /// A convolution that keeps the extents; depthwise where the filters have one channel.
    fn conv(&mut self, x: ValueId, w: ValueId, shape: &[usize]) -> ValueId {
        let group = if shape[1] == 1 { shape[0] as i64 } else { 1 };
        let before = shape[2..].iter().map(|&k| (k / 2) as i64);
        let after = shape[2..].iter().map(|&k| ((k - 1) / 2) as i64);
        let pads: Vec<i64> = before.chain(after).collect();
        let node = Node::new("Conv", [Some(x), Some(w)], [None::<ValueId>; 0]);
        self.node(node.with("pads", pads).with("group", group))
    }

    fn f32_conv(&mut self, x: ValueId, shape: &[usize]) -> ValueId {
        let w = self.weight(shape);
        self.conv(x, w, shape)
    }

    fn model(mut self, y: ValueId) -> (Model, Tensor) {
        self.graph.add_output(y);
        let data = numbers(0, self.shape.iter().product());
        let x = Tensor::from_vec(&self.shape, data).unwrap();
        (Model::new(self.graph, 20), x)
    }
}

/// A folder with a file of choices.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("choices.json")
    }

    fn options(&self, threads: usize) -> SessionOptions {
        let autotune = Autotune::default()
            .with_cache(self.file())
            .with_max_time(Duration::from_secs(60));
        SessionOptions::default()
            .with_threads(threads)
            .with_profile()
            .with_autotune(autotune)
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    /// Changes the file.
    fn change(&self, change: impl FnOnce(&mut Json)) {
        let mut json = self.json();
        change(&mut json);
        std::fs::write(self.file(), json.to_string()).unwrap();
    }
}

/// What a session gives, what it tuned and the variants that ran.
fn ran(model: &Model, x: &Tensor, options: &SessionOptions) -> (Tensor, Tuning, Vec<String>) {
    let session = Session::new(model.clone(), options).unwrap();
    let first = session.run(&[("x", x.clone())]).unwrap().remove(0);
    let again = session.run(&[("x", x.clone())]).unwrap().remove(0);
    assert_eq!(floats(&first), floats(&again));
    let rows = session.profile().rows;
    let variants = rows.into_iter().filter_map(|row| row.variant).collect();
    (again, session.tuning().unwrap_or_default(), variants)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype() {
        DType::U8 => tensor
            .data::<u8>()
            .unwrap()
            .iter()
            .map(|&v| v.into())
            .collect(),
        _ => tensor.data::<f32>().unwrap().into_owned(),
    }
}

fn expected(model: &Model, x: &Tensor) -> Vec<f32> {
    let feeds = [("x".to_owned(), Value::Tensor(x.clone()))];
    let outputs = Evaluator::new(model).unwrap().run(feeds).unwrap();
    floats(outputs[0].as_tensor().unwrap())
}

/// Each step that has a choice runs in each of its ways, by a file that says so; results must be within `bound` of the largest, and where that
/// is 0 those of a session without choices. Gives the ways.
fn each_way(model: &Model, x: &Tensor, threads: usize, bound: f32) -> BTreeSet<String> {
    let place = Place::new();
    let options = place.options(threads);
    let exact = match bound {
        0.0 => floats(&ran(model, x, &SessionOptions::default()).0),
        _ => expected(model, x),
    };
    let largest = exact.iter().fold(0.0f32, |largest, e| largest.max(e.abs()));
    let near = |found: &Tensor, how: &str| {
        let found = floats(found);
        assert_eq!(found.len(), exact.len());
        let apart = found.iter().zip(&exact).map(|(f, e)| (f - e).abs());
        let apart = apart.fold(0.0, f32::max);
        assert!(apart <= bound * largest, "{how}: {apart} of {largest}");
    };
    let (found, tuning, _) = ran(model, x, &options);
    near(&found, "measured");
    assert!(
        tuning.measured > 0 && tuning.remarks.is_empty(),
        "{tuning:?}"
    );
    let mut ways = BTreeSet::new();
    for (key, _) in place.json()["hosts"][0]["steps"].as_object().unwrap() {
        // Alone, `planes` is a convolution of a region that was tried in the model's order.
        if let Some((_, by)) = key.rsplit_once(" by ").filter(|(_, by)| *by != "planes") {
            ways.extend(by.split(' ').map(str::to_owned));
        }
    }
    let alone = ways.iter().map(|way| format!("{way} on one thread"));
    let alone: Vec<String> = alone.filter(|_| threads > 1).collect();
    for way in ways.iter().cloned().chain(alone) {
        place.change(|json| {
            for (key, entry) in json["hosts"][0]["steps"].as_object_mut().unwrap() {
                let name = way.split(' ').next().unwrap();
                let by = key.rsplit_once(" by ").map_or("", |(_, by)| by);
                if by.split(' ').any(|known| known == name) {
                    entry["chosen"] = way.clone().into();
                }
                if key.starts_with("layout of ") {
                    entry["chosen"] = "channels-last".into();
                }
            }
        });
        let (found, tuning, variants) = ran(model, x, &options);
        assert_eq!(tuning.measured, 0, "{way}: {tuning:?}");
        assert!(
            tuning.steps.iter().any(|step| step.chosen == way),
            "{way}: {tuning:?}"
        );
        let shown = way == "plain" || variants.contains(&way);
        assert!(shown, "{way}: {variants:?}");
        near(&found, &way);
    }
    ways
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn images_are_the_same_in_each_way() {
    let mut net = Net::new(&[1, 6, 26, 23]);
    let y = net.f32_conv(net.x, &[18, 6, 3, 3]);
    let y = net.op("Relu", &[y]);
    let y = net.f32_conv(y, &[10, 18, 11, 11]);
    let y = net.f32_conv(y, &[10, 1, 21, 21]);
    let (model, x) = net.model(y);
    let ways = each_way(&model, &x, 1, 2e-6);
    assert!(
        ways.is_superset(&names(&["direct", "winograd2", "winograd4"])),
        "{ways:?}"
    );
    assert!(ways.iter().any(|way| way.starts_with("fft")), "{ways:?}");
}

#[test]
fn signals_are_the_same_in_each_way() {
    let mut net = Net::new(&[2, 5, 900]);
    let y = net.f32_conv(net.x, &[20, 5, 200]);
    let y = net.f32_conv(y, &[20, 1, 100]);
    let (model, x) = net.model(y);
    let ways = each_way(&model, &x, 1, 2e-6);
    assert!(ways.is_superset(&names(&["direct", "planes"])), "{ways:?}");
    assert!(ways.iter().any(|way| way.starts_with("fft1x")), "{ways:?}");
}

#[test]
fn products_and_blocks_are_the_same_in_each_way_and_on_one_thread() {
    let mut net = Net::new(&[2, 6, 70, 71]);
    let y = net.f32_conv(net.x, &[70, 6, 1, 1]);
    let y = net.op("Relu", &[y]);
    let y = net.f32_conv(y, &[70, 1, 3, 3]);
    let y = net.f32_conv(y, &[6, 70, 1, 1]);
    let w = net.weight(&[71, 40]);
    let y = net.op("MatMul", &[y, w]);
    let (model, x) = net.model(y);
    let ways = each_way(&model, &x, 2, 2e-6);
    let known = names(&[
        "bands128k",
        "bands384k",
        "bands1024k",
        "whole",
        "rows-in-place",
        "rows-packed",
    ]);
    assert!(ways.is_superset(&known), "{ways:?}");
}

#[test]
fn quantized_blocks_have_the_same_bytes_in_each_way() {
    let mut net = Net::new(&[1, 6, 60, 56]);
    let x = net.quantized(net.x, 0.008, 120);
    let shapes: [&[usize]; 3] = [&[70, 6, 1, 1], &[70, 1, 3, 3], &[6, 70, 1, 1]];
    let mut y = x;
    for (shape, scale) in shapes.into_iter().zip([0.02, 0.03, 0.05]) {
        let w = net.int8_weight(shape);
        y = net.conv(y, w, shape);
        y = net.quantized(y, scale, 100);
    }
    let (model, x) = net.model(y);
    for threads in [1, 2] {
        let ways = each_way(&model, &x, threads, 0.0);
        assert!(
            ways.is_superset(&names(&["bands128k", "bands384k", "whole"])),
            "{ways:?}"
        );
    }
}

/// One convolution that has a choice.
fn small() -> (Model, Tensor) {
    let mut net = Net::new(&[1, 8, 12, 12]);
    let y = net.f32_conv(net.x, &[16, 8, 3, 3]);
    net.model(y)
}

#[test]
fn regions_may_stay_in_the_order_of_the_model() {
    let (model, x) = small();
    let place = Place::new();
    let options = place.options(1);
    let (_, tuning, _) = ran(&model, &x, &options);
    let layout = |tuning: &Tuning| {
        let mut steps = tuning.steps.iter().filter(|step| step.kernel == "layout");
        steps.next().unwrap().chosen.clone()
    };
    assert!(["channels-last", "planes 0"].contains(&layout(&tuning).as_str()));
    for (chosen, turns) in [("channels-last", 2), ("planes 0", 0)] {
        place.change(|json| {
            for (key, entry) in json["hosts"][0]["steps"].as_object_mut().unwrap() {
                if key.starts_with("layout of ") {
                    entry["chosen"] = chosen.into();
                }
            }
        });
        let session = Session::new(model.clone(), &options).unwrap();
        let found = session.run(&[("x", x.clone())]).unwrap().remove(0);
        let tuning = session.tuning().unwrap();
        assert_eq!((layout(&tuning), tuning.measured), (chosen.to_owned(), 0));
        let rows = session.profile().rows;
        assert_eq!(
            rows.iter().filter(|row| row.kernel == "permute").count(),
            turns
        );
        for (f, e) in floats(&found).iter().zip(expected(&model, &x)) {
            assert!((f - e).abs() <= 1e-5 * (1.0 + e.abs()), "{f} {e}");
        }
    }
}

#[test]
fn what_a_file_holds_is_not_measured_again() {
    let (model, x) = small();
    let place = Place::new();
    let options = place.options(1);
    let (first, measured, _) = ran(&model, &x, &options);
    let written = std::fs::read(place.file()).unwrap();
    let (again, known, _) = ran(&model, &x, &options);
    assert_eq!(floats(&first), floats(&again));
    assert!(measured.measured > 0 && measured.time > Duration::ZERO);
    assert_eq!(
        (known.measured, known.steps.len()),
        (0, measured.steps.len())
    );
    for (a, b) in measured.steps.iter().zip(&known.steps) {
        assert_eq!((&a.node, &a.chosen, a.time), (&b.node, &b.chosen, b.time));
        assert!(!b.is_measured);
    }
    assert_eq!(std::fs::read(place.file()).unwrap(), written);
    // A plan that is made again and again is reported once.
    let mut options = options;
    options.cached_plans = 0;
    let session = Session::new(model, &options).unwrap();
    for _ in 0..3 {
        session.run(&[("x", x.clone())]).unwrap();
    }
    assert_eq!(session.tuning().unwrap().steps.len(), known.steps.len());
}

#[test]
fn stale_entries_are_measured_again() {
    let (model, x) = small();
    let place = Place::new();
    let options = place.options(1);
    let (_, first, _) = ran(&model, &x, &options);
    let all = first.measured;
    // A way that is not known any more.
    place.change(|json| {
        for (_, entry) in json["hosts"][0]["steps"].as_object_mut().unwrap() {
            entry["chosen"] = "by hand".into();
        }
    });
    assert_eq!(ran(&model, &x, &options).1.measured, all);
    // Other steps.
    place.change(|json| {
        let steps = json["hosts"][0]["steps"].as_object_mut().unwrap();
        let others = std::mem::take(steps).into_iter();
        steps.extend(others.map(|(key, entry)| (format!("{key} winograd8"), entry)));
    });
    assert_eq!(ran(&model, &x, &options).1.measured, all);
    // Another processor, version, or number of threads: its entries are kept, and not used.
    for field in ["cpu", "version", "identity"] {
        place.change(|json| json["hosts"][0]["host"][field] = "another".into());
        assert_eq!(ran(&model, &x, &options).1.measured, all, "{field}");
        let json = place.json();
        let hosts = json["hosts"].as_array().unwrap();
        assert!(hosts.iter().any(|table| table["host"][field] == "another"));
        place.change(|json| {
            json["hosts"]
                .as_array_mut()
                .unwrap()
                .retain(|t| t["host"][field] != "another")
        });
    }
    let count = place.json()["hosts"].as_array().unwrap().len();
    assert!(ran(&model, &x, &place.options(2)).1.measured > 0);
    assert_eq!(place.json()["hosts"].as_array().unwrap().len(), count + 1);
}

#[test]
fn options_decide_which_ways_there_are() {
    let (model, x) = small();
    let place = Place::new();
    let mut options = place.options(1);
    let (plain, ..) = ran(&model, &x, &SessionOptions::default().with_winograd(false));
    options.winograd = false;
    let (found, tuning, variants) = ran(&model, &x, &options);
    assert!(
        !variants.iter().any(|v| v.starts_with("winograd")),
        "{variants:?}"
    );
    assert!(
        tuning
            .steps
            .iter()
            .all(|step| !step.chosen.contains("winograd")),
        "{tuning:?}"
    );
    if variants == ["direct"] {
        assert_eq!(floats(&found), floats(&plain));
    }
}

/// What a session remarks with a file of this content, which must stay as it is.
fn remarked(content: &str, options: &SessionOptions, file: &Path) -> Vec<String> {
    let (model, x) = small();
    std::fs::write(file, content).unwrap();
    let (_, tuning, _) = ran(&model, &x, options);
    assert!(tuning.measured > 0);
    assert_eq!(std::fs::read_to_string(file).unwrap(), content);
    tuning.remarks
}

#[test]
fn a_file_that_is_no_cache_is_remarked_and_left_as_it_is() {
    let place = Place::new();
    let options = place.options(1);
    for content in [
        "",
        "not json",
        "{\"format\": \"another\", \"hosts\": []}",
        "[]",
    ] {
        let remarks = remarked(content, &options, &place.file());
        let [remark] = &remarks[..] else {
            panic!("{remarks:?}")
        };
        assert!(
            remark.contains("choices.json is ignored and left as it is"),
            "{remark}"
        );
    }
    // A folder that cannot be written: the choices last as long as the session.
    std::fs::remove_file(place.file()).unwrap();
    let blocked = place.0.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let autotune = Autotune::default().with_cache(blocked.join("choices.json"));
    let (model, x) = small();
    let (_, tuning, _) = ran(&model, &x, &options.with_autotune(autotune));
    assert!(
        tuning.measured > 0 && tuning.remarks.len() == 1,
        "{tuning:?}"
    );
}

#[test]
fn a_file_that_is_only_read_is_not_written_and_nothing_is_measured() {
    let (model, x) = small();
    let place = Place::new();
    let read_only = |place: &Place| {
        let autotune = Autotune::default().with_cache(place.file()).read_only();
        SessionOptions::default()
            .with_profile()
            .with_autotune(autotune)
    };
    let (by_rule, ..) = ran(&model, &x, &SessionOptions::default());
    let (found, tuning, _) = ran(&model, &x, &read_only(&place));
    assert_eq!(floats(&found), floats(&by_rule));
    assert_eq!((tuning.measured, place.file().exists()), (0, false));
    assert!(tuning.remarks[0].starts_with("there is no file "));
    assert!(
        tuning
            .steps
            .iter()
            .all(|step| step.rule == step.chosen && step.time.is_none())
    );
    ran(&model, &x, &place.options(1));
    place.change(|json| {
        for (key, entry) in json["hosts"][0]["steps"].as_object_mut().unwrap() {
            if key.starts_with("conv.f32") {
                entry["chosen"] = "winograd2".into();
            }
            if key.starts_with("layout of ") {
                entry["chosen"] = "channels-last".into();
            }
        }
    });
    let (_, tuning, variants) = ran(&model, &x, &read_only(&place));
    assert_eq!(tuning.measured, 0);
    assert_eq!(variants, ["winograd2"]);
}

#[test]
fn no_time_means_the_rule() {
    let (model, x) = small();
    let place = Place::new();
    let autotune = Autotune::default()
        .with_cache(place.file())
        .with_max_time(Duration::ZERO);
    let options = SessionOptions::default().with_autotune(autotune);
    let (found, tuning, _) = ran(&model, &x, &options);
    let (by_rule, ..) = ran(&model, &x, &SessionOptions::default());
    assert_eq!(floats(&found), floats(&by_rule));
    assert_eq!(
        (tuning.measured, tuning.remarks.len()),
        (0, 1),
        "{tuning:?}"
    );
    assert!(!place.file().exists());
}

#[test]
fn without_a_measurement_signals_of_unknown_length_are_summed_directly() {
    let signal = |cut: bool| {
        let mut net = Net::new(&[1, 20, 4000]);
        let mut x = net.x;
        if cut {
            // An end that depends on the numbers.
            let largest = net.op("ReduceMax", &[x]);
            let zero = net.constant(Tensor::scalar(0.0f32));
            let end = net.op("Mul", &[largest, zero]);
            let end = Node::new("Cast", [Some(end)], [None::<ValueId>; 0]).with("to", 7i64);
            let end = net.node(end);
            let one = net.constant(Tensor::vector(vec![1i64]));
            let end = net.op("Reshape", &[end, one]);
            let (four, start) = (
                net.constant(Tensor::vector(vec![4i64])),
                net.constant(Tensor::vector(vec![0i64])),
            );
            let end = net.op("Add", &[end, four]);
            let axis = net.constant(Tensor::vector(vec![2i64]));
            x = net.op("Slice", &[x, start, end, axis]);
        }
        let y = net.f32_conv(x, &[20, 20, 33]);
        let (model, x) = net.model(y);
        let options = SessionOptions::default().with_threads(1).with_profile();
        let (_, _, variants) = ran(&model, &x, &options);
        variants
    };
    let transformed = |variants: &[String]| variants.iter().any(|v| v.starts_with("fft"));
    assert!(transformed(&signal(false)));
    assert!(!transformed(&signal(true)));
}
