//! `widen-half`: what a model computes in f16 and bfloat16 is computed in f32.
//!
//! ```text
//! y: f16 = op(x: f16, w: f16)   ->   y: f32 = op(x: f32, Cast(w): f32)
//! ```
//! Values between nodes become f32 and keep their names; inputs, outputs, large weights and what subgraphs capture stay as
//! they are, with a `Cast` beside them. A node is widened where the schema of its operator lets every variable that stands
//! for a half type stand for `tensor(float)`, and the types of its outputs follow from those of its inputs. `Cast` rounds
//! as it did; `QuantizeLinear` and `DequantizeLinear`, whose codes hang on the rounding, and nodes with subgraphs compute
//! in halves.
//!
//! Changes: roundings of intermediate results are left out, and what was beyond the range of f16 is no longer infinite.
//! ONNX Runtime runs such models on CPUs in the same way (its `InsertCastTransformer`).

use super::pipeline::{Pass, PassContext, PassError, PassRecord};
use crate::graph::{Graph, GraphError, Node, NodeId, Use, ValueId};
use crate::model::{Model, OpsetImports};
use crate::schema::{Parameter, parameter_at, registry};
use crate::{Fact, TensorFact};
use compress_tensor::{CastOptions, DType};
use std::collections::HashMap;

/// What stands in the metadata of the `Cast` nodes that this pass adds.
const MARK: (&str, &str) = ("modelpress.pass", "widen-half");

/// Computes in f32 what a model computes in f16 or bfloat16.
pub struct WidenHalf;

impl WidenHalf {
    /// Whether this pass added a node: a `Cast` beside a half that the model itself computes with.
    pub fn added(node: &Node) -> bool {
        let (key, value) = MARK;
        node.metadata.iter().any(|(k, v)| k == key && v == value)
    }
}

/// Constants of so many bytes are stored as f32: biases and scales, which rewrites look for among the initializers.
const SMALL_BYTES: usize = 64 << 10;

/// Operators that stay, though their types would allow it: results hang on the type itself.
const KEPT: [&str; 5] = [
    "Cast",
    "CastLike",
    "BitCast",
    "QuantizeLinear",
    "DequantizeLinear",
];

impl Pass for WidenHalf {
    fn name(&self) -> &'static str {
        "widen-half"
    }

    fn run(&self, model: &mut Model, _: &PassContext<'_>) -> Result<PassRecord, PassError> {
        let mut widening = Widening {
            graph: &mut model.graph,
            opsets: &model.opsets,
            wide: HashMap::new(),
            halves: HashMap::new(),
            changes: 0,
        };
        widening.run().map_err(|error| PassError {
            pass: self.name(),
            error,
        })?;
        Ok(PassRecord {
            pass: self.name(),
            version: 1,
            changes: widening.changes,
            skipped: Vec::new(),
        })
    }
}

/// The graph while its nodes are widened, from the first to the last.
struct Widening<'a> {
    graph: &'a mut Graph,
    opsets: &'a OpsetImports,
    /// The f32 number of values that stay halves.
    wide: HashMap<ValueId, ValueId>,
    /// Values that became f32: their old type, and the half beside them, once somebody asked for it.
    halves: HashMap<ValueId, (DType, Option<ValueId>)>,
    changes: usize,
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

impl Widening<'_> {
    fn run(&mut self) -> Result<(), GraphError> {
        let any_half = |graph: &Graph| {
            let dtype = |fact: &Fact| fact.as_tensor().and_then(|f| f.dtype);
            graph
                .values()
                .any(|(_, v)| dtype(&v.fact).is_some_and(is_half))
        };
        if !any_half(self.graph) {
            return Ok(());
        }
        self.round_stored()?;
        for id in self.graph.topological_order()? {
            if self.can_widen(id) {
                self.widen(id)?;
                self.changes += 1;
            } else if !self.graph.node(id).is("Cast") {
                self.keep(id)?;
            }
        }
        Ok(())
    }

    /// Stores halves that are rounded from what is stored anew in every run: converters that keep the types of a model's inputs
    /// write weights that are among them so.
    fn round_stored(&mut self) -> Result<(), GraphError> {
        for id in self.graph.topological_order()? {
            let node = self.graph.node(id);
            let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
                continue;
            };
            let to = self.dtype(y).filter(|&d| is_half(d));
            let Some(to) = to.filter(|_| node.is("Cast") && !self.stays(y)) else {
                continue;
            };
            let stored = self.graph.constant(x).filter(|t| t.dtype() == DType::F32);
            let rounded = stored.and_then(|t| t.cast(to, CastOptions::default()).ok());
            if let Some(rounded) = rounded {
                self.graph.remove_node(id);
                self.graph.set_initializer(y, rounded);
                self.changes += 1;
            }
        }
        Ok(())
    }

    /// The type of a value before this pass.
    fn dtype(&self, v: ValueId) -> Option<DType> {
        match self.halves.get(&v) {
            Some(&(dtype, _)) => Some(dtype),
            None => self.graph.value(v).fact.as_tensor()?.dtype,
        }
    }

    fn can_widen(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        if KEPT.contains(&node.op_type.as_str()) || node.attributes.graphs().next().is_some() {
            return false;
        }
        let opset = self.opsets.get(&node.domain).unwrap_or(1);
        let Some(schema) = registry().lookup(&node.domain, &node.op_type, opset) else {
            return false;
        };
        // The type variables that stand for a half type.
        let mut variables = Vec::new();
        let mut read = |values: &[Option<ValueId>], parameters: &[Parameter], is_input: bool| {
            values.iter().enumerate().all(|(index, v)| {
                let Some(v) = *v else { return true };
                let (Some(dtype), Some(parameter)) =
                    (self.dtype(v), parameter_at(parameters, index))
                else {
                    return false;
                };
                if !is_half(dtype) {
                    return true;
                }
                if is_input {
                    variables.push(parameter.type_name);
                }
                variables.contains(&parameter.type_name)
                    && schema.allowed_types(parameter).contains("tensor(float)")
            })
        };
        read(node.inputs(), &schema.inputs, true)
            && read(node.outputs(), &schema.outputs, false)
            && !variables.is_empty()
    }

    fn widen(&mut self, id: NodeId) -> Result<(), GraphError> {
        let whole = self.is_folded_into(id);
        for (index, v) in self
            .graph
            .node(id)
            .inputs()
            .to_vec()
            .into_iter()
            .enumerate()
        {
            if let Some(v) = v
                && !self.halves.contains_key(&v)
                && self.dtype(v).is_some_and(is_half)
            {
                let wide = self.wide_of(v, whole)?;
                self.graph.set_node_input(id, index, Some(wide));
            }
        }
        let mut outputs = self.graph.node(id).outputs().to_vec();
        let mut beside = Vec::new();
        for output in &mut outputs {
            let Some(v) = *output else { continue };
            let Some(dtype) = self.dtype(v).filter(|&d| is_half(d)) else {
                continue;
            };
            if !self.stays(v) {
                self.graph.value_mut(v).fact = widened(&self.graph.value(v).fact);
                self.halves.insert(v, (dtype, None));
                continue;
            }
            let wide = self.fresh(v, widened(&self.graph.value(v).fact))?;
            self.wide.insert(v, wide);
            *output = Some(wide);
            beside.push((wide, v, dtype));
        }
        if !beside.is_empty() {
            let node = self.graph.node(id).clone().with_outputs(outputs);
            self.graph.replace_node(id, node)?;
        }
        for (wide, v, dtype) in beside {
            self.graph.add_node(cast(wide, v, dtype))?;
        }
        Ok(())
    }

    /// Gives a node that computes in halves what it reads.
    fn keep(&mut self, id: NodeId) -> Result<(), GraphError> {
        for (index, v) in self
            .graph
            .node(id)
            .inputs()
            .to_vec()
            .into_iter()
            .enumerate()
        {
            let Some(v) = v else { continue };
            let Some(&(dtype, made)) = self.halves.get(&v) else {
                continue;
            };
            let half = match made {
                Some(half) => half,
                None => {
                    let shape = self
                        .graph
                        .value(v)
                        .fact
                        .as_tensor()
                        .and_then(|f| f.shape.clone());
                    let fact = TensorFact::with_shape(Some(dtype), shape);
                    let half = self.fresh(v, fact.into())?;
                    self.graph.add_node(cast(v, half, dtype))?;
                    self.halves.insert(v, (dtype, Some(half)));
                    half
                }
            };
            self.graph.set_node_input(id, index, Some(half));
        }
        Ok(())
    }

    /// Whether others than nodes of this graph see a value.
    fn stays(&self, v: ValueId) -> bool {
        let captured = |u: &Use| matches!(u, Use::Captured { .. });
        self.graph.is_output(v) || self.graph.uses(v).iter().any(captured)
    }

    /// Whether a batch normalization behind a node could be folded into its weights, which are to be f32 then.
    fn is_folded_into(&self, id: NodeId) -> bool {
        let graph = &*self.graph;
        let reader = graph.node(id).output(0).and_then(|y| graph.sole_use(y));
        reader.is_some_and(|(reader, _)| graph.node(reader).is("BatchNormalization"))
    }

    /// The f32 number of a value that stays a half; one that is stored is stored so too where it is small or `whole`.
    fn wide_of(&mut self, v: ValueId, whole: bool) -> Result<ValueId, GraphError> {
        if let Some(&wide) = self.wide.get(&v) {
            return Ok(wide);
        }
        let stored = self.graph.constant(v);
        let stored = stored.filter(|t| whole || t.byte_len() <= SMALL_BYTES);
        let stored = stored.and_then(|t| t.cast(DType::F32, CastOptions::default()).ok());
        let wide = match stored {
            Some(tensor) => {
                let fact = TensorFact::new(DType::F32, tensor.shape().iter().copied());
                let wide = self.fresh(v, fact.into())?;
                self.graph.set_initializer(wide, tensor);
                wide
            }
            None => {
                let wide = self.fresh(v, widened(&self.graph.value(v).fact))?;
                self.graph.add_node(cast(v, wide, DType::F32))?;
                wide
            }
        };
        self.wide.insert(v, wide);
        Ok(wide)
    }

    /// A new value that is named after another.
    fn fresh(&mut self, v: ValueId, fact: Fact) -> Result<ValueId, GraphError> {
        let name = format!("{}.cast", self.graph.name_of(v));
        self.graph.fresh_value(&name, fact)
    }
}

/// The fact of the same value in f32.
fn widened(fact: &Fact) -> Fact {
    let shape = fact.as_tensor().and_then(|f| f.shape.clone());
    TensorFact::with_shape(Some(DType::F32), shape).into()
}

fn cast(from: ValueId, to: ValueId, dtype: DType) -> Node {
    let code = match dtype {
        DType::F16 => 10i64,
        DType::BF16 => 16,
        _ => 1,
    };
    let mut node = Node::new("Cast", [from], [to]).with("to", code);
    let (key, value) = MARK;
    node.metadata.push((key.to_owned(), value.to_owned()));
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Evaluator;
    use crate::infer::infer_shapes;
    use crate::operator::Catalog;
    use crate::value::Value;
    use compress_tensor::Tensor;
    use half::f16;

    fn halves(x: &[f32]) -> Vec<f16> {
        x.iter().map(|&x| f16::from_f32(x)).collect()
    }

    /// `y = Relu(x w + b)`, `z = QuantizeLinear(y)`, with `y` an output or not.
    fn model(y_is_output: bool) -> Model {
        let mut graph = Graph::new("g");
        let x = graph
            .add_value("x", Fact::tensor(DType::F16, [2usize, 2]))
            .unwrap();
        graph.add_input(x);
        let stored = |x: &[f32], shape: &[usize]| Tensor::from_vec(shape, halves(x)).unwrap();
        let w = graph
            .add_initializer("w", stored(&[1.0, 0.5, 0.25, 2.0], &[2, 2]))
            .unwrap();
        let b = graph
            .add_initializer("b", stored(&[0.1, -3.0], &[2]))
            .unwrap();
        let s = graph.add_initializer("s", stored(&[0.01], &[])).unwrap();
        let value = |graph: &mut Graph, name| graph.add_value(name, Fact::Unknown).unwrap();
        let (p, a) = (value(&mut graph, "p"), value(&mut graph, "a"));
        let (y, z) = (value(&mut graph, "y"), value(&mut graph, "z"));
        graph.add_node(Node::new("MatMul", [x, w], [p])).unwrap();
        graph.add_node(Node::new("Add", [p, b], [a])).unwrap();
        graph.add_node(Node::new("Relu", [a], [y])).unwrap();
        graph
            .add_node(Node::new("QuantizeLinear", [y, s], [z]))
            .unwrap();
        if y_is_output {
            graph.add_output(y);
        }
        graph.add_output(z);
        let mut model = Model::new(graph, 19);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        model
    }

    fn widen(model: &mut Model) -> usize {
        let cx = PassContext {
            catalog: Catalog::standard(),
        };
        let changes = WidenHalf.run(model, &cx).unwrap().changes;
        infer_shapes(model, Catalog::standard()).unwrap();
        changes
    }

    fn dtype(model: &Model, name: &str) -> Option<DType> {
        let id = model.graph.value_by_name(name)?;
        model.graph.value(id).fact.as_tensor()?.dtype
    }

    #[test]
    fn values_between_nodes_become_single_precision_and_keep_their_names() {
        let mut model = model(false);
        assert_eq!(widen(&mut model), 3);
        for name in ["p", "a", "y", "w.cast", "b.cast"] {
            assert_eq!(dtype(&model, name), Some(DType::F32), "{name}");
        }
        for name in ["x", "w", "s", "y.cast"] {
            assert_eq!(dtype(&model, name), Some(DType::F16), "{name}");
        }
        assert_eq!(widen(&mut model), 0);
    }

    #[test]
    fn outputs_stay_what_they_were() {
        let mut model = model(true);
        widen(&mut model);
        assert_eq!(dtype(&model, "y"), Some(DType::F16));
        assert_eq!(dtype(&model, "y.cast"), Some(DType::F32));
        assert_eq!(dtype(&model, "z"), Some(DType::U8));
    }

    #[test]
    fn results_are_those_of_single_precision_rounded_once() {
        let x = Tensor::from_vec(&[2, 2], halves(&[1.0, 2.0, 0.333, -5.0])).unwrap();
        let run = |model: &Model| {
            let inputs = [("x".to_owned(), Value::Tensor(x.clone()))];
            Evaluator::new(model).unwrap().run(inputs).unwrap()
        };
        let mut wide = model(true);
        let plain = run(&wide);
        widen(&mut wide);
        let rounded_once = run(&wide);
        let of = |v: &Value| -> Vec<f32> {
            let t = v.as_tensor().unwrap();
            t.as_slice::<f16>()
                .unwrap()
                .iter()
                .map(|x| x.to_f32())
                .collect()
        };
        let exact = |x: &[f32; 2], column: usize| {
            let w = [[1.0, 0.25], [0.5, 2.0]][column];
            let b = f16::from_f32([0.1, -3.0][column]).to_f32();
            f16::from_f32((x[0] * w[0] + x[1] * w[1] + b).max(0.0)).to_f32()
        };
        let third = f16::from_f32(0.333).to_f32();
        let rows = [[1.0, 2.0], [third, -5.0]];
        let expected: Vec<f32> = (0..4).map(|i| exact(&rows[i / 2], i % 2)).collect();
        assert_eq!(of(&rounded_once[0]), expected);
        for (a, b) in of(&plain[0]).iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-3 * b.abs(), "{a} {b}");
        }
    }

    #[test]
    fn stored_numbers_that_the_model_rounds_are_stored_rounded() {
        let mut graph = Graph::new("g");
        let x = Fact::tensor(DType::F16, [3usize]);
        let x = graph.add_value("x", x).unwrap();
        graph.add_input(x);
        let third = Tensor::from_vec(&[3], vec![1.0f32 / 3.0; 3]).unwrap();
        let stored = graph.add_initializer("third", third).unwrap();
        let [rounded, y] = ["rounded", "y"].map(|n| graph.add_value(n, Fact::Unknown).unwrap());
        let cast = Node::new("Cast", [stored], [rounded]).with("to", 10i64);
        graph.add_node(cast).unwrap();
        graph.add_node(Node::new("Mul", [x, rounded], [y])).unwrap();
        graph.add_output(y);
        let mut model = Model::new(graph, 19);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        widen(&mut model);
        let rounded = f16::from_f32(1.0 / 3.0);
        let of = |name: &str| {
            let id = model.graph.value_by_name(name).unwrap();
            model.graph.constant(id).cloned()
        };
        let half = of("rounded").unwrap();
        assert_eq!(half.as_slice::<f16>().unwrap(), [rounded; 3]);
        let wide = of("rounded.cast").unwrap();
        assert_eq!(wide.as_slice::<f32>().unwrap(), [rounded.to_f32(); 3]);
    }
}
