//! `modelpress inspect`: what a model holds.

use crate::arrays::{DimArgs, as_one};
use crate::context::{Context, bytes_on_disk, load};
use crate::error::Error;
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use modelpress::ir::dims::{fix_dims, open_dims};
use modelpress::ir::infer::infer_shapes_within;
use modelpress::ir::{Catalog, Graph, NodeId, ValueId, cost};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show a model's inputs, outputs, operators, parameters, multiply-accumulates and bytes.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress inspect resnet8.onnx\n  modelpress inspect bert.onnx --dim sequence=128"
)]
pub(crate) struct Inspect {
    /// The ONNX file.
    model: PathBuf,
    #[command(flatten)]
    dims: DimArgs,
}

#[derive(Serialize)]
struct Outcome {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    opset: i64,
    opsets: BTreeMap<String, i64>,
    operators: BTreeMap<String, usize>,
    parameters: u64,
    /// Multiply-accumulates of one run with the sizes of `--dim` and 1 for others; null where a shape is not known.
    macs: Option<u64>,
    /// The sizes that the model leaves open and nobody gave, which count as 1 in `macs`.
    taken_as_one: Vec<String>,
    bytes: u64,
    nodes: usize,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Port {
    name: String,
    dtype: Option<String>,
    /// Sizes as numbers, symbols and expressions as text, unknown sizes as null.
    shape: Option<Vec<serde_json::Value>>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: String,
    output: String,
    parameters: u64,
    /// Bytes of the weights that it reads or holds.
    bytes: u64,
    macs: Option<u64>,
    /// 0 in the model's graph, 1 in a subgraph of it, and so on; the work of a subgraph is in that of its node too.
    depth: usize,
}

impl Inspect {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let mut model = load(&self.model)?;
        fix_dims(&mut model, self.dims.sizes())?;
        infer_shapes_within(&mut model, Catalog::standard())?;
        let graph = &model.graph;
        let symbols = |_: &str| Some(1);
        let mut layers = Vec::new();
        push_layers(graph, 0, &symbols, &mut layers)?;
        let top = || layers.iter().filter(|layer| layer.depth == 0);
        let mut operators = BTreeMap::new();
        for layer in top() {
            *operators.entry(layer.op.clone()).or_default() += 1;
        }
        let assumed = open_dims(graph);
        let outcome = Outcome {
            inputs: graph.required_inputs().map(|v| port(graph, v)).collect(),
            outputs: graph.outputs().iter().map(|&v| port(graph, v)).collect(),
            opset: model.opset(),
            opsets: model
                .opsets
                .iter()
                .map(|(domain, version)| (domain.to_owned(), version))
                .collect(),
            operators,
            parameters: cost::parameters(graph),
            macs: top().try_fold(0u64, |sum, layer| sum.checked_add(layer.macs?)),
            taken_as_one: assumed.iter().map(ToString::to_string).collect(),
            bytes: bytes_on_disk(&self.model)?,
            nodes: graph.node_count(),
            layers,
        };
        cx.report(&outcome, |out| {
            for (what, ports) in [("input", &outcome.inputs), ("output", &outcome.outputs)] {
                for port in ports {
                    writeln!(out, "{what:<11} {} {}", port.name, port.text)?;
                }
            }
            let macs = outcome.macs.map_or("unknown".to_owned(), units::count);
            writeln!(out, "opset       {}", outcome.opset)?;
            writeln!(out, "nodes       {}", outcome.nodes)?;
            writeln!(out, "parameters  {}", units::count(outcome.parameters))?;
            writeln!(out, "MACs        {macs}{}", as_one(&assumed))?;
            writeln!(out, "file        {}", units::bytes(outcome.bytes))?;
            let operators = outcome.operators.iter();
            let operators: Vec<String> = operators.map(|(op, n)| format!("{op} {n}")).collect();
            writeln!(out, "operators   {}", operators.join(", "))?;
            writeln!(out)?;
            let mut table = Table::new(&[
                ("node", Align::Left),
                ("operator", Align::Left),
                ("output", Align::Left),
                ("parameters", Align::Right),
                ("bytes", Align::Right),
                ("MACs", Align::Right),
            ]);
            for layer in &outcome.layers {
                table.row([
                    format!("{}{}", "  ".repeat(layer.depth), layer.name),
                    layer.op.clone(),
                    layer.output.clone(),
                    units::count(layer.parameters),
                    units::bytes(layer.bytes),
                    layer.macs.map_or("?".to_owned(), units::count),
                ]);
            }
            table.print(out)
        })
    }
}

fn port(graph: &Graph, value: ValueId) -> Port {
    let fact = &graph.value(value).fact;
    let tensor = fact.as_tensor();
    let dim = |dim: &modelpress::ir::Dim| match dim.as_known() {
        Some(n) => n.into(),
        None if dim.is_unknown() => serde_json::Value::Null,
        None => dim.to_string().into(),
    };
    let shape = tensor.and_then(|t| t.shape.as_ref());
    Port {
        name: graph.name_of(value).to_owned(),
        dtype: tensor.and_then(|t| t.dtype).map(|d| d.name().to_owned()),
        shape: shape.map(|dims| dims.iter().map(dim).collect()),
        text: fact.to_string(),
    }
}

/// The nodes in the order in which they run, those of a subgraph behind the node that runs it.
fn push_layers(
    graph: &Graph,
    depth: usize,
    symbols: &dyn Fn(&str) -> Option<i64>,
    layers: &mut Vec<Layer>,
) -> Result<(), Error> {
    for id in graph.topological_order()? {
        layers.push(layer(graph, id, depth, symbols));
        for nested in graph.node(id).attributes.graphs() {
            push_layers(nested, depth + 1, symbols, layers)?;
        }
    }
    Ok(())
}

fn layer(graph: &Graph, id: NodeId, depth: usize, symbols: &dyn Fn(&str) -> Option<i64>) -> Layer {
    let node = graph.node(id);
    let first = node.output(0);
    let weight = cost::node_weight(graph, id);
    Layer {
        name: match node.name.as_str() {
            "" => first.map_or_else(String::new, |v| graph.name_of(v).to_owned()),
            name => name.to_owned(),
        },
        op: node.qualified_op(),
        output: first.map_or_else(String::new, |v| graph.value(v).fact.to_string()),
        parameters: weight.parameters,
        bytes: weight.bytes,
        macs: cost::macs(graph, id, symbols),
        depth,
    }
}
