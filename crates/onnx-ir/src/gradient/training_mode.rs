//! From a model for inference to one for training: statistics of the batch, and dropout.

use super::error::GradientError;
use crate::fact::{Fact, TensorFact};
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
    /// The running statistics, one for each initializer: after a step, it takes the value of its output.
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
    /// The output that gives the next one: `running/NAME`, where the model did not name it.
    pub output: String,
}

/// The model as it is trained: its batch normalisations use the statistics of the batch and give the running ones out, its
/// dropouts leave out elements by a seed that is an input (`SeededDropout` of the private domain). Names of weights stay, so
/// that trained ones can be put back into the model that this one was made of. Models of an opset below 14 are converted.
/// Nodes that train already keep doing so, and give their running statistics out too.
///
/// Running statistics are ONNX's: `running = running * momentum + current * (1 - momentum)`, where the current variance is that of the
/// population, `sum (x - mean)^2 / m` over the `m` elements of a channel in the batch. PyTorch divides by `m - 1` there (and its momentum
/// is `1 - momentum`): its running variance is larger by `m / (m - 1)` in what each batch contributes. Where several nodes share a
/// running statistic, each moves it on from where the node before it in topological order left it, as with a module of PyTorch that is called several times.
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
    let mut running = Running::default();
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
                .and_then(<dyn DynOperator>::downcast_ref::<BatchNormalization>);
            let found = match typed {
                None => Err("its attributes cannot be read"),
                Some(op) => statistics(&model.graph, id, op.statistics),
            };
            match found {
                Ok(initializers) => running.train(&mut model.graph, id, initializers, options)?,
                Err(reason) => report.skipped.push((label, reason)),
            }
        } else if options.dropout && node.is("Dropout") {
            seed_dropout(&mut model, id, &mut report)?;
        }
    }
    report.statistics = running.give_out(&mut model.graph);
    Ok((model, report))
}

/// The initializers that are a batch normalisation's mean and variance, or why they cannot be kept up.
fn statistics(
    graph: &Graph,
    id: NodeId,
    now: BatchStatistics,
) -> Result<[ValueId; 2], &'static str> {
    let node = graph.node(id);
    let initializer = |index: usize| {
        let value = node.input(index)?;
        graph.initializer(value).map(|_| value)
    };
    match (initializer(3), initializer(4), now) {
        (Some(mean), Some(variance), _) if mean == variance => {
            Err("its mean and variance are one initializer")
        }
        (Some(mean), Some(variance), _) => Ok([mean, variance]),
        (_, _, BatchStatistics::Given) => Err("its statistics are no initializers"),
        (_, _, BatchStatistics::OfBatch) => {
            Err("it trains already, and its running statistics are no initializers")
        }
    }
}

/// The running statistics so far: their initializers and the values that hold the next ones.
#[derive(Default)]
struct Running(Vec<(ValueId, ValueId)>);

impl Running {
    /// Makes a batch normalisation train, from where nodes before it left the running statistics.
    fn train(
        &mut self,
        graph: &mut Graph,
        id: NodeId,
        initializers: [ValueId; 2],
        options: &TrainingMode,
    ) -> Result<(), GradientError> {
        let node = graph.node(id).clone();
        let mut inputs = node.inputs().to_vec();
        let mut outputs = vec![node.output(0)];
        for (index, initializer) in initializers.into_iter().enumerate() {
            let next = match node.output(1 + index) {
                Some(named) => named,
                None => {
                    let name = format!("running/{}", graph.name_of(initializer));
                    // What it holds now is not what it will hold.
                    let fact = match graph.value(initializer).fact.as_tensor() {
                        Some(TensorFact { dtype, shape, .. }) => {
                            Fact::Tensor(TensorFact::with_shape(*dtype, shape.clone()))
                        }
                        None => Fact::Unknown,
                    };
                    graph.fresh_value(&name, fact)?
                }
            };
            outputs.push(Some(next));
            match self.0.iter_mut().find(|(of, _)| *of == initializer) {
                Some((_, latest)) => {
                    inputs[3 + index] = Some(*latest);
                    *latest = next;
                }
                None => self.0.push((initializer, next)),
            }
        }
        let mut trained = node
            .with("training_mode", 1i64)
            .with_inputs(inputs)
            .with_outputs(outputs);
        if let Some(momentum) = options.momentum {
            trained = trained.with("momentum", momentum);
        }
        graph.replace_node(id, trained)?;
        Ok(())
    }

    /// Makes the last ones outputs.
    fn give_out(self, graph: &mut Graph) -> Vec<RunningStatistic> {
        let statistics = self.0.into_iter().map(|(initializer, next)| {
            if !graph.is_output(next) {
                graph.add_output(next);
            }
            RunningStatistic {
                initializer: graph.name_of(initializer).to_owned(),
                output: graph.name_of(next).to_owned(),
            }
        });
        statistics.collect()
    }
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
