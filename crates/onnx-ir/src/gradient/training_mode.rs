//! From a model for inference to one for training: statistics of the batch, and dropout.

use super::error::GradientError;
use crate::fact::Fact;
use crate::functions::inline_functions;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::model::Model;
use crate::operator::{Catalog, DynOperator, PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION};
use crate::ops::normalization::{BatchNormalization, BatchStatistics};
use crate::opset;
use compress_tensor::DType;

/// The first opset in which an attribute tells whether a batch normalisation is training.
const LEAST_OPSET: i64 = 14;

/// What changes between inference and training.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TrainingMode {
    /// Whether batch normalisations use the statistics of the batch.
    pub batch_statistics: bool,
    /// The weight of the old running statistics in the new ones; that of each node where it is not given.
    pub momentum: Option<f32>,
    /// Whether dropouts leave out elements.
    pub dropout: bool,
    /// Nodes that stay as they are, by name.
    pub frozen: Vec<String>,
}

impl Default for TrainingMode {
    fn default() -> Self {
        Self {
            batch_statistics: true,
            momentum: None,
            dropout: true,
            frozen: Vec::new(),
        }
    }
}

/// What became of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainingModeReport {
    /// The running statistics: after a step, each initializer takes the value of its output.
    pub statistics: Vec<RunningStatistic>,
    /// The input that seeds all dropouts (an i64 scalar), where there are any.
    pub seed: Option<String>,
    /// Nodes that stay as they are though they were asked for: name, reason.
    pub skipped: Vec<(String, &'static str)>,
}

/// A running mean or variance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningStatistic {
    /// The initializer that holds it.
    pub initializer: String,
    /// The output that gives the next one: `running/NAME`.
    pub output: String,
}

/// The model as it is trained: its batch normalisations use the statistics of the batch and give the running ones out, its
/// dropouts leave out elements by a seed that is an input (`SeededDropout` of the private domain). Names of weights stay, so
/// that trained ones can be put back into the model that this one was made of. Models of an opset below 14 are converted.
///
/// # Errors
/// [`GradientError::Opset`], [`GradientError::Function`], [`GradientError::Graph`].
pub fn training_mode(
    model: &Model,
    options: &TrainingMode,
    catalog: &Catalog,
) -> Result<(Model, TrainingModeReport), GradientError> {
    let mut model = model.clone();
    inline_functions(&mut model)?;
    if model.opset() < LEAST_OPSET {
        opset::convert(&mut model, LEAST_OPSET, catalog).map_err(|error| GradientError::Opset {
            least: LEAST_OPSET,
            error: Box::new(error),
        })?;
    }
    let mut report = TrainingModeReport::default();
    let nodes: Vec<NodeId> = model.graph.topological_order()?;
    for id in nodes {
        let label = model.graph.label(id).to_owned();
        if options.frozen.contains(&label) {
            continue;
        }
        let node = model.graph.node(id);
        if options.batch_statistics && node.is("BatchNormalization") {
            let operator = catalog.parse(node, &model.opsets).ok();
            let typed = operator
                .as_deref()
                .and_then(<dyn DynOperator>::downcast_ref);
            let given = typed
                .is_some_and(|op: &BatchNormalization| op.statistics == BatchStatistics::Given);
            match statistics(&model.graph, id).filter(|_| given) {
                Some(initializers) => {
                    train_statistics(&mut model.graph, id, initializers, options, &mut report)?;
                }
                None if given => report
                    .skipped
                    .push((label, "its statistics are no initializers")),
                None => {}
            }
        } else if options.dropout && node.is("Dropout") {
            seed_dropout(&mut model, id, &mut report)?;
        }
    }
    Ok((model, report))
}

/// The initializers that are a batch normalisation's mean and variance.
fn statistics(graph: &Graph, id: NodeId) -> Option<[ValueId; 2]> {
    let node = graph.node(id);
    let initializer = |index: usize| {
        let value = node.input(index)?;
        graph.initializer(value).map(|_| value)
    };
    Some([initializer(3)?, initializer(4)?])
}

fn train_statistics(
    graph: &mut Graph,
    id: NodeId,
    initializers: [ValueId; 2],
    options: &TrainingMode,
    report: &mut TrainingModeReport,
) -> Result<(), GradientError> {
    let node = graph.node(id).clone();
    let mut outputs = vec![node.output(0)];
    for value in initializers {
        let name = graph.name_of(value).to_owned();
        let fact = graph.value(value).fact.clone();
        let next = graph.fresh_value(&format!("running/{name}"), fact)?;
        graph.add_output(next);
        report.statistics.push(RunningStatistic {
            initializer: name,
            output: graph.name_of(next).to_owned(),
        });
        outputs.push(Some(next));
    }
    let mut trained = node.with("training_mode", 1i64).with_outputs(outputs);
    if let Some(momentum) = options.momentum {
        trained = trained.with("momentum", momentum);
    }
    graph.replace_node(id, trained)?;
    Ok(())
}

fn seed_dropout(
    model: &mut Model,
    id: NodeId,
    report: &mut TrainingModeReport,
) -> Result<(), GradientError> {
    let graph = &mut model.graph;
    let seed = match &report.seed {
        Some(name) => graph.value_named(name)?,
        None => {
            let scalar: [usize; 0] = [];
            let seed = graph.fresh_value("dropout_seed", Fact::tensor(DType::I64, scalar))?;
            graph.add_input(seed);
            report.seed = Some(graph.name_of(seed).to_owned());
            seed
        }
    };
    let old = graph.node(id);
    let inputs = [old.input(0), old.input(1), Some(seed)];
    let node = Node::new("SeededDropout", inputs, old.outputs().to_vec())
        .in_domain(PRIVATE_DOMAIN)
        .named(old.name.clone())
        .with("stream", id.index() as i64);
    graph.replace_node(id, node)?;
    model.opsets.set(PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION);
    Ok(())
}
