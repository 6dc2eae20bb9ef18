//! Gradients against finite differences: `f'(x) = (f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12 h`, in f64.

use compress_tensor::{CastOptions, DType, Tensor};
use onnx_ir::check::{Finding, check_with_facts};
use onnx_ir::eval::Evaluator;
use onnx_ir::gradient::{GradientRequest, gradient};
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Attribute, Catalog, Dim, Fact, Graph, Model, Node, TensorFact, Value};

/// The step, of numbers about 1: the error of the formula and that of rounding are both about 1e-12 there.
const STEP: f64 = 1e-3;
/// What two gradients may differ by, relative to the larger one.
const TOLERANCE: f64 = 1e-6;
/// What they may differ by beside a gradient that is 0, relative to the largest element: the error of the differences.
const FLOOR: f64 = 1e-9;

/// One input of a case.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Fed, and differentiated.
    Real(Tensor),
    /// Fed, and not differentiated.
    Fed(Tensor),
    /// An initializer.
    Constant(Tensor),
    /// Left out.
    None,
}

/// One node and its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The node, without inputs and outputs.
    pub node: Node,
    /// The opset of its domain and of the default one.
    pub opset: i64,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// How many outputs the node has.
    pub outputs: usize,
    /// Those that the loss does not depend on.
    pub ignored: Vec<usize>,
}

/// The newest opset, in which most cases are.
pub(crate) const NEWEST: i64 = 24;

/// A case of an operator of the default domain.
pub(crate) fn case(op: &str) -> Case {
    Case {
        node: Node::new(op, [None; 0], [None; 0]),
        opset: NEWEST,
        inputs: Vec::new(),
        outputs: 1,
        ignored: Vec::new(),
    }
}

/// A case of an operator of ONNX Runtime's domain.
pub(crate) fn microsoft(op: &str) -> Case {
    let mut case = case(op);
    case.node = case.node.in_domain("com.microsoft");
    case
}

/// A case of an operator of this project's domain.
pub(crate) fn private(op: &str) -> Case {
    let mut case = case(op);
    case.node = case.node.in_domain("modelpress");
    case
}

impl Case {
    pub(crate) fn with(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.node = self.node.with(name, value);
        self
    }
    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }
    pub(crate) fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }
    pub(crate) fn ignoring(mut self, outputs: &[usize]) -> Self {
        self.ignored = outputs.to_vec();
        self
    }
    fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }
    /// A differentiated input with values between `low` and `high`, all of them different and none near 0.
    pub(crate) fn real(self, shape: &[usize], low: f64, high: f64) -> Self {
        let values = spread(shape, low, high, self.inputs.len());
        self.input(Input::Real(values))
    }
    /// A differentiated input with these values.
    pub(crate) fn given(self, values: Tensor) -> Self {
        self.input(Input::Real(values))
    }
    /// As [`Case::real`], not differentiated.
    pub(crate) fn fed(self, shape: &[usize], low: f64, high: f64) -> Self {
        let values = spread(shape, low, high, self.inputs.len());
        self.input(Input::Fed(values))
    }
    pub(crate) fn ints(self, shape: &[usize], values: &[i64]) -> Self {
        self.constant(Tensor::from_vec(shape, values.to_vec()).unwrap())
    }
    pub(crate) fn fed_ints(self, shape: &[usize], values: &[i64]) -> Self {
        self.input(Input::Fed(
            Tensor::from_vec(shape, values.to_vec()).unwrap(),
        ))
    }
    pub(crate) fn bools(self, shape: &[usize], values: &[bool]) -> Self {
        self.input(Input::Fed(
            Tensor::from_vec(shape, values.to_vec()).unwrap(),
        ))
    }
    pub(crate) fn constant(self, tensor: Tensor) -> Self {
        self.input(Input::Constant(tensor))
    }
    pub(crate) fn without(self) -> Self {
        self.input(Input::None)
    }

    /// `domain.op`, as the catalog names it.
    pub(crate) fn op(&self) -> (String, String) {
        (self.node.domain.clone(), self.node.op_type.clone())
    }

    /// The model of the node alone; with sizes left open where they are `symbolic`.
    pub(crate) fn model(&self, symbolic: bool) -> Model {
        let mut g = Graph::new("case");
        let mut inputs = Vec::new();
        for (i, input) in self.inputs.iter().enumerate() {
            inputs.push(match input {
                Input::None => None,
                Input::Constant(tensor) => {
                    Some(g.add_initializer(&format!("x{i}"), tensor.clone()).unwrap())
                }
                Input::Real(tensor) | Input::Fed(tensor) => {
                    let fact = declared(tensor, symbolic);
                    let id = g.add_value(format!("x{i}"), fact).unwrap();
                    g.add_input(id);
                    Some(id)
                }
            });
        }
        let outputs: Vec<_> = (0..self.outputs)
            .map(|i| g.add_value(format!("y{i}"), Fact::Unknown).unwrap())
            .collect();
        for &output in &outputs {
            g.add_output(output);
        }
        let outputs = outputs.into_iter().map(Some).collect();
        let node = self.node.clone().with_inputs(inputs).with_outputs(outputs);
        g.add_node(node.named("case")).unwrap();
        let mut model = Model::new(g, self.opset);
        model.ir_version = 10;
        if !self.node.domain.is_empty() {
            model.opsets.set(&self.node.domain, 1);
        }
        model
    }

    /// The names of the differentiated inputs.
    pub(crate) fn names_of_reals(&self) -> Vec<String> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .filter(|(_, input)| matches!(input, Input::Real(_)))
            .map(|(i, _)| format!("x{i}"))
            .collect()
    }

    /// The case with inputs of f32 in place of f64.
    pub(crate) fn single(mut self) -> Self {
        for input in &mut self.inputs {
            if let Input::Real(tensor) | Input::Fed(tensor) | Input::Constant(tensor) = input
                && tensor.dtype() == DType::F64
            {
                *tensor = narrowed(tensor);
            }
        }
        self
    }

    pub(crate) fn feeds(&self) -> Vec<(String, Tensor)> {
        let inputs = self.inputs.iter().enumerate();
        inputs
            .filter_map(|(i, input)| match input {
                Input::Real(tensor) | Input::Fed(tensor) => Some((format!("x{i}"), tensor.clone())),
                Input::Constant(_) | Input::None => None,
            })
            .collect()
    }
}

fn declared(tensor: &Tensor, symbolic: bool) -> Fact {
    if symbolic {
        let dims = vec![Dim::Unknown; tensor.rank()];
        return TensorFact::with_shape(Some(tensor.dtype()), Some(dims)).into();
    }
    Fact::tensor(tensor.dtype(), tensor.shape().to_vec())
}

/// Values between `low` and `high` without two that are near each other, in no order; none is near 0.
pub(crate) fn spread(shape: &[usize], low: f64, high: f64, salt: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| {
        let place = (0.29 + 0.17 * salt as f64 + i as f64 * 0.618_033_988_749_894_9).fract();
        let v = low + (high - low) * place;
        if v.abs() < 0.02 { v + 0.05 } else { v }
    });
    Tensor::from_vec(shape, values.collect()).unwrap()
}

pub(crate) fn run(model: &Model, feeds: &[(String, Tensor)]) -> Result<Vec<Tensor>, String> {
    let evaluator = Evaluator::new(model).map_err(|e| e.to_string())?;
    let feeds = feeds
        .iter()
        .map(|(n, t)| (n.clone(), Value::Tensor(t.clone())));
    let outputs = evaluator.run(feeds).map_err(|e| e.to_string())?;
    Ok(outputs.into_iter().filter_map(Value::into_tensor).collect())
}

/// Holds the gradients of a case against finite differences.
pub(crate) fn judge(case: &Case) -> Result<(), String> {
    for symbolic in [false, true] {
        judge_model(case, symbolic).map_err(|e| {
            let kind = if symbolic { "open" } else { "fixed" };
            format!(
                "{:?}, sizes {kind}: {e}\n  {:?}",
                case.op(),
                case.node.attributes
            )
        })?;
    }
    Ok(())
}

fn judge_model(case: &Case, symbolic: bool) -> Result<(), String> {
    let model = case.model(symbolic);
    let feeds = case.feeds();
    let forward = run(&model, &feeds)?;
    let losses: Vec<usize> = (0..case.outputs)
        .filter(|i| !case.ignored.contains(i) && forward[*i].dtype().is_float())
        .collect();
    let adjoints: Vec<Tensor> = losses
        .iter()
        .map(|&i| spread(forward[i].shape(), -1.5, 2.0, 7 + i))
        .collect();
    let reals = case.names_of_reals();
    let request = GradientRequest::of(losses.iter().map(|i| format!("y{i}")), reals.clone());
    let request = request.seeded_by_inputs();
    let (trained, report) =
        gradient(&model, &request, Catalog::standard()).map_err(|e| e.to_string())?;
    let trained = sound(&trained)?;

    let mut all = feeds.clone();
    for ((_, input), adjoint) in report.seeds.iter().zip(&adjoints) {
        all.push((input.clone(), adjoint.clone()));
    }
    let outputs = run(&trained, &all)?;
    let gradients = &outputs[outputs.len() - reals.len()..];
    let weighted = |feeds: &[(String, Tensor)]| -> Result<f64, String> {
        let outputs = run(&model, feeds)?;
        let pairs = losses.iter().zip(&adjoints);
        Ok(pairs
            .flat_map(|(&i, r)| {
                let (y, r) = (outputs[i].to_f64_vec().unwrap(), r.to_f64_vec().unwrap());
                y.into_iter().zip(r).map(|(y, r)| y * r)
            })
            .sum())
    };
    for (name, found) in reals.iter().zip(gradients) {
        let at = feeds.iter().position(|(n, _)| n == name).unwrap();
        let values = feeds[at].1.to_f64_vec().unwrap();
        if found.shape() != feeds[at].1.shape() {
            let shapes = format!("{:?} and {:?}", found.shape(), feeds[at].1.shape());
            return Err(format!("{name} and its gradient have the shapes {shapes}"));
        }
        let mut expected = Vec::new();
        for i in 0..values.len() {
            let moved = |steps: f64| {
                let mut values = values.clone();
                values[i] += steps * STEP;
                let mut feeds = feeds.clone();
                feeds[at].1 = Tensor::from_vec(feeds[at].1.shape(), values).unwrap();
                weighted(&feeds)
            };
            let inner = moved(1.0)? - moved(-1.0)?;
            let outer = moved(2.0)? - moved(-2.0)?;
            expected.push((8.0 * inner - outer) / (12.0 * STEP));
        }
        near(name, &found.to_f64_vec().unwrap(), &expected)?;
    }
    Ok(())
}

fn narrowed(tensor: &Tensor) -> Tensor {
    tensor.cast(DType::F32, CastOptions::default()).unwrap()
}

/// Holds the gradients of a case in f32 against those in f64: they are of the type of what they are of, and near.
pub(crate) fn judge_single(case: &Case) -> Result<(), String> {
    let narrow = case.clone().single();
    let run_gradients = |case: &Case| -> Result<Vec<Tensor>, String> {
        let model = case.model(false);
        let forward = run(&model, &case.feeds())?;
        let losses = (0..case.outputs)
            .filter(|i| !case.ignored.contains(i) && forward[*i].dtype().is_float());
        let reals = case.names_of_reals();
        let request = GradientRequest::of(losses.map(|i| format!("y{i}")), reals.clone());
        let (trained, _) =
            gradient(&model, &request, Catalog::standard()).map_err(|e| e.to_string())?;
        let outputs = run(&sound(&trained)?, &case.feeds())?;
        Ok(outputs[outputs.len() - reals.len()..].to_vec())
    };
    let place = |e: String| format!("{:?} in f32: {e}\n  {:?}", case.op(), case.node.attributes);
    let wide = run_gradients(case).map_err(place)?;
    let found = run_gradients(&narrow).map_err(place)?;
    for (found, wide) in found.iter().zip(&wide) {
        if found.dtype() != DType::F32 {
            return Err(place(format!("a gradient is of {:?}", found.dtype())));
        }
        let (f, w) = (found.to_f64_vec().unwrap(), wide.to_f64_vec().unwrap());
        let most = w.iter().fold(1f64, |m, v| m.max(v.abs()));
        let apart = |(f, w): (&f64, &f64)| f.is_nan() || (f - w).abs() > 2e-4 * most;
        if f.len() != w.len() || f.iter().zip(&w).any(apart) {
            return Err(place(format!("{f:?}\n  {w:?}")));
        }
    }
    Ok(())
}

/// Two gradients of `name`, element by element.
pub(crate) fn near(name: &str, found: &[f64], expected: &[f64]) -> Result<(), String> {
    let most = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let bound = TOLERANCE * f.abs().max(e.abs()) + FLOOR * most.max(1.0);
        let apart = (f - e).abs();
        if apart > bound || apart.is_nan() {
            return Err(format!(
                "{name}[{i}] has the gradient {f}, differences say {e}\n  {found:?}\n  {expected:?}"
            ));
        }
    }
    Ok(())
}

/// The model after it was checked, inferred, saved and loaded.
pub(crate) fn sound(model: &Model) -> Result<Model, String> {
    let findings: Vec<Finding> = check_with_facts(model);
    // ONNX Runtime's own operators do not take f64, which is a warning.
    let ours = |f: &Finding| {
        f.place
            .op
            .as_ref()
            .is_some_and(|op| op.starts_with("modelpress."))
    };
    // The first stands in ONNX's domain without being of the standard, the second takes no f64 there, the third has a form that is
    // deprecated.
    let foreign = |f: &Finding| {
        let op = f.place.op.as_deref();
        matches!(
            op,
            Some("SimplifiedLayerNormalization" | "RotaryEmbedding" | "GroupNormalization")
        )
    };
    let found = findings
        .iter()
        .find(|f| (f.is_error() || ours(f)) && !foreign(f));
    if let Some(finding) = found {
        return Err(format!("the checker finds: {finding:?}"));
    }
    let mut inferred = model.clone();
    let report = infer_shapes(&mut inferred, Catalog::standard()).map_err(|e| e.to_string())?;
    if let Some(issue) = report.issues.first() {
        return Err(format!("inference finds: {issue}"));
    }
    let bytes = model.to_bytes().map_err(|e| e.to_string())?;
    Model::load_bytes(bytes, None).map_err(|e| e.to_string())
}

#[test]
fn a_gradient_that_is_off_is_found() {
    assert!(near("x", &[1.0, 0.0], &[1.0 + 5e-7, 0.0]).is_ok());
    assert!(near("x", &[1.0, 0.0], &[1.0 + 2e-6, 0.0]).is_err());
    assert!(near("x", &[1.0, 1e-8], &[1.0, 0.0]).is_err());
    assert!(near("x", &[f64::NAN], &[1.0]).is_err());
}
