//! What the steps of a plan compute and move for given shapes.

use crate::plan::{Operand, Plan, PlannedStep};
use onnx_ir::graph::Attribute;
use onnx_ir::{Graph, Node, NodeId, Value, ValueId, cost};
use runtime_kernels::Isa;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepWork {
    /// The row of the profile.
    pub(crate) row: usize,
    pub(crate) node: String,
    pub(crate) kernel: &'static str,
    /// The multiply-accumulates of all nodes; `None` where a shape is not known.
    pub(crate) macs: Option<u64>,
    /// Bytes read and written, weights included; `None` where a shape is not known.
    pub(crate) bytes: Option<u64>,
    /// Bytes of weights among them.
    pub(crate) weights: u64,
    /// What takes the time: one piece, and one for a function that is computed with it; none of a view.
    pub(crate) pieces: Vec<Piece>,
    /// The steps of the node's subgraphs, one of which runs.
    pub(crate) branches: Vec<Vec<StepWork>>,
    /// Whether a subgraph runs as often as the data say.
    pub(crate) repeats: bool,
}

/// Work of one class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// `kernel/kind`: a key of [`super::Machine::rates`].
    pub(crate) class: String,
    /// Multiply-accumulates as vectors compute them: channels fill whole vectors, and few rows take as long as [`LEAST_ROWS`].
    pub(crate) macs: f64,
    /// Bytes of activations read and written.
    pub(crate) bytes: f64,
}

/// Rows of a product with weights from which on it takes time by its rows.
const LEAST_ROWS: u64 = 6;

/// Functions of elements that take the most time of those that a step may fuse, the slowest first.
const FUNCTIONS: [&str; 7] = ["Erf", "Gelu", "Tanh", "Sigmoid", "Softplus", "Exp", "Pow"];

/// The work of the steps of a plan on an instruction set; the graph has the shapes of the run.
pub(crate) fn works(plan: &Plan, graph: &Graph, isa: Isa) -> Vec<StepWork> {
    let lanes = lanes(isa);
    let at = At {
        plan,
        graph,
        isa,
        lanes,
    };
    plan.steps.iter().map(|step| at.work(step)).collect()
}

struct At<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    isa: Isa,
    /// Elements of a vector.
    lanes: u64,
}

impl At<'_> {
    fn work(&self, step: &PlannedStep) -> StepWork {
        let (kernel, fused) = (step.step.kernel(), &step.fused);
        let root = fused.nodes.first().map(|&id| self.graph.node(id));
        let branches = root.map_or_else(Vec::new, |root| {
            let graphs = root.attributes.graphs();
            let bodies = step.step.bodies().iter().zip(graphs);
            bodies
                .map(|(body, graph)| works(&body.plan, graph, self.isa))
                .collect()
        });
        let moved = self.moved(step);
        let mut work = StepWork {
            row: step.row,
            node: step.node.to_string(),
            kernel,
            macs: fused.macs(self.graph),
            bytes: moved.and_then(|(read, written)| {
                read.checked_add(written)?.checked_add(fused.weight_bytes)
            }),
            weights: fused.weight_bytes,
            pieces: Vec::new(),
            repeats: !branches.is_empty() && root.is_some_and(|root| !root.is("If")),
            branches,
        };
        if step.step.is_view() || !work.branches.is_empty() {
            return work;
        }
        if let Some((read, written)) = moved {
            work.pieces = self.pieces(step, read, written).unwrap_or_default();
        }
        if work.pieces.is_empty() {
            work.bytes = None;
        }
        work
    }

    /// Bytes of activations that a step reads and writes, without packed weights.
    fn moved(&self, step: &PlannedStep) -> Option<(u64, u64)> {
        if step.step.is_view() {
            return Some((0, 0));
        }
        let mut written = 0u64;
        for &slot in step.outputs.iter().flatten() {
            written = written.checked_add(self.slot_bytes(slot)?)?;
        }
        let mut read = 0u64;
        for (index, operand) in step.inputs.iter().enumerate() {
            let bytes = match *operand {
                None => 0,
                _ if step.step.picks_from(index) => written,
                Some(Operand::Constant(i)) => match self.plan.constants.get(i) {
                    Some(Value::Tensor(tensor)) => tensor.byte_len() as u64,
                    _ => 0,
                },
                Some(Operand::Slot(slot)) => self.slot_bytes(slot)?,
            };
            read = read.checked_add(bytes)?;
        }
        Some((read, written))
    }

    fn slot_bytes(&self, slot: usize) -> Option<u64> {
        let value = *self.plan.slot_values.get(slot)?;
        self.bytes(*self.plan.origins.get(value.index())?)
    }

    fn bytes(&self, value: ValueId) -> Option<u64> {
        let bits = self.graph.value(value).fact.as_tensor()?.dtype?.bits()? as u64;
        let count = product(&self.sizes(value)?)?;
        Some(count.checked_mul(bits)?.div_ceil(8))
    }

    fn sizes(&self, value: ValueId) -> Option<Vec<u64>> {
        if let Some(tensor) = self.graph.initializer(value) {
            return Some(tensor.shape().iter().map(|&n| n as u64).collect());
        }
        let sizes = self.graph.value(value).fact.as_tensor()?.sizes()?;
        Some(sizes.into_iter().map(|n| n as u64).collect())
    }

    /// What takes a step's time; `None` where a shape is not known.
    fn pieces(&self, step: &PlannedStep, read: u64, written: u64) -> Option<Vec<Piece>> {
        let kernel = step.step.kernel();
        let nodes = || step.fused.nodes.iter().copied();
        let mut products = Vec::new();
        for id in nodes() {
            if cost::macs(self.graph, id, &|_| None)? > 0 {
                products.push(id);
            }
        }
        let ops = || nodes().map(|id| self.graph.node(id).op_type.as_str());
        let function = FUNCTIONS.into_iter().find(|f| ops().any(|op| op == *f));
        if products.is_empty() {
            let op = function.or(ops().next()).unwrap_or("Transpose");
            return Some(vec![Piece {
                class: format!("{kernel}/{op}"),
                macs: 0.0,
                bytes: (read + written) as f64,
            }]);
        }
        let (mut macs, mut bytes, mut kind) = (0.0, 0, "block");
        for &id in &products {
            let (own_kind, own_macs) = self.product(id, step)?;
            macs += own_macs;
            match products.len() {
                1 => (kind, bytes) = (own_kind, read + written),
                // The images between are written and read too, though they stay in the cache.
                _ => {
                    let node = self.graph.node(id);
                    let moved = self.bytes(node.input(0)?)?;
                    let moved = moved.checked_add(self.bytes(node.output(0)?)?)?;
                    bytes = u64::checked_add(bytes, moved)?;
                }
            }
        }
        let mut pieces = vec![Piece {
            class: format!("{kernel}/{kind}"),
            macs,
            bytes: bytes as f64,
        }];
        // A function of the sums is computed from the registers.
        if let Some(function) = function.filter(|_| kernel.ends_with(".f32")) {
            pieces.push(Piece {
                class: format!("elementwise.f32/{function}"),
                macs: 0.0,
                bytes: written as f64,
            });
        }
        Some(pieces)
    }

    /// The kind of a product and its multiply-accumulates, vectors filled up.
    fn product(&self, id: NodeId, step: &PlannedStep) -> Option<(&str, f64)> {
        let node = self.graph.node(id);
        let result = self.sizes(node.output(0)?)?;
        let filled = |n: u64| n.div_ceil(self.lanes) * self.lanes;
        match node.op_type.as_str() {
            "Conv" | "ConvInteger" | "QLinearConv" | "FusedConv" => {
                let weight = if node.op_type == "QLinearConv" { 3 } else { 1 };
                let weight = self.sizes(node.input(weight)?)?;
                let (&[channels, in_per_group], taps) = weight.split_first_chunk::<2>()?;
                let pixels = product(&result)?.checked_div(channels)?;
                let (groups, taps) = (groups(node), product(taps)?);
                let depth = in_per_group.checked_mul(taps)? as f64;
                let image = self.sizes(node.input(0)?)?;
                // Transforms take as long as so many products of the same kind.
                let transformed = step.step.transformed_macs(&image, self.isa);
                let (kind, columns) = match step.step.algorithm().filter(|_| transformed.is_none())
                {
                    Some(algorithm) => (algorithm, filled(channels)),
                    None if groups > 1 && in_per_group == 1 => ("depthwise", filled(channels)),
                    None if groups > 1 => ("grouped", filled(channels / groups) * groups),
                    None if weight.len() == 3 => ("signal", filled(channels)),
                    None if taps == 1 => ("pointwise", filled(channels)),
                    None => ("spatial", filled(channels)),
                };
                let rows = pixels.max(LEAST_ROWS) as f64;
                let macs = rows * columns as f64 * depth;
                Some((kind, transformed.unwrap_or(macs)))
            }
            op if op.contains("MatMul") || op.ends_with("Gemm") => {
                let (&columns, rows) = result.split_last()?;
                let (rows, columns) = (product(rows)?, columns.max(1));
                let macs = cost::macs(self.graph, id, &|_| None)? as f64;
                let full = macs / columns as f64 * filled(columns) as f64;
                match rows {
                    _ if step.fused.weight_bytes == 0 => Some(("dynamic", full)),
                    1 => Some(("row", full)),
                    _ => Some(("product", full / rows as f64 * rows.max(LEAST_ROWS) as f64)),
                }
            }
            op => Some((op, cost::macs(self.graph, id, &|_| None)? as f64)),
        }
    }
}

/// Elements of 32 bits in a vector of an instruction set.
fn lanes(isa: Isa) -> u64 {
    match isa.name() {
        "scalar" => 1,
        "avx2" => 8,
        "neon" => 4,
        _ => 16,
    }
}

fn groups(node: &Node) -> u64 {
    match node.attributes.get("group") {
        Some(Attribute::Int(n)) => u64::try_from(*n).unwrap_or(1).max(1),
        _ => 1,
    }
}

fn product(sizes: &[u64]) -> Option<u64> {
    sizes.iter().try_fold(1u64, |n, &size| n.checked_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Session, SessionOptions};
    use compress_tensor::{DType, Tensor};
    use onnx_ir::{Fact, Model};

    #[test]
    fn a_transformed_convolution_is_the_work_of_its_transforms() {
        let shape = [1usize, 32, 56, 56];
        let mut graph = Graph::new("large window");
        let x = graph
            .add_value("x", Fact::tensor(DType::F32, shape))
            .unwrap();
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        graph.add_input(x);
        let w = Tensor::full(&[32, 1, 31, 31], 0.01f32).unwrap();
        let w = graph.add_initializer("w", w).unwrap();
        let node = Node::new("Conv", [x, w], [y]).with("group", 32i64);
        graph.add_node(node.with("pads", vec![15i64; 4])).unwrap();
        graph.add_output(y);
        let model = Model::new(graph, 17);
        let work = |fft| {
            let options = SessionOptions::default().with_fft(fft);
            let session = Session::new(model.clone(), &options).unwrap();
            let works = session.works(&[("x", &shape)]).unwrap();
            let conv = works.into_iter().find(|work| work.kernel == "conv.f32");
            let conv = conv.unwrap();
            assert_eq!(conv.macs, Some(32 * 56 * 56 * 31 * 31));
            conv.pieces[0].clone()
        };
        let (direct, transformed) = (work(false), work(true));
        assert_eq!(direct.class, "conv.f32/depthwise");
        assert_eq!(
            (&transformed.class, transformed.bytes),
            (&direct.class, direct.bytes)
        );
        let part = transformed.macs / direct.macs;
        assert!((0.02..0.7).contains(&part), "{part}");
    }
}
