//! The trainer: trains ONNX models as they are.
//!
//! A [`Trainer`] takes a model and a [`Loss`], makes a graph that also computes gradients ([`onnx_ir::gradient`]), runs it in a
//! [`Session`](runtime_session::Session) and changes the model's initializers. What comes out is the model that went in, with other
//! numbers: nothing else of the file is touched. [`Network`] is the part that computes; the rest is bookkeeping around it.
//!
//! The same seed gives the same bytes: two runs, runs with any number of threads, and runs that were broken off and resumed from a
//! checkpoint end in the same model, log and checkpoint. All cores work on each batch within the kernels, whose results do
//! not depend on the number of threads; statistics of batch normalisations are thus those of the whole batch.

mod callback;
mod config;
mod course;
mod error;
mod evaluate;
mod feed;
mod fit;
mod initialize;
mod loss_node;
mod metric;
mod network;
mod observed;
mod parameters;
mod predict;
mod records;
mod resume;

pub use callback::{Callback, EpochEnd, Flow, StepEnd};
pub use config::{CheckpointConfig, Hold, Keep, LogConfig, OptimizerConfig, TrainerConfig};
pub use course::Course;
pub use error::TrainError;
pub use initialize::Initialization;
pub use metric::{Metric, Score, TopK};
pub use network::{Network, NetworkOptions};
pub use observed::scored;
pub use parameters::ancestors;
pub use predict::Predict;

use crate::augment::Augmentation;
use crate::data::Position;
use crate::digest;
use crate::ema::Ema;
use crate::gradient::Accumulator;
use crate::loss::Loss;
use crate::optimizer::{Optimizer, ParameterInfo};
use crate::stopping::{BestValue, BestWeights, Better, EarlyStopping, StoppingConfig};
use compress_tensor::Tensor;
use evaluate::Evaluator;
use metric::Tally;
use onnx_ir::Model;
use runtime_session::{Parallelism, SessionError, SessionOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The condition that the weights to begin with are the same.
const MODEL: &str = "weights of the model";
/// The condition that its nodes are the same.
const NODES: &str = "nodes of the model";

/// Trains an ONNX model.
///
/// # Examples
/// A line through four points:
/// ```
/// use compress_tensor::{DType, Tensor};
/// use compress_train::data::ArrayDataset;
/// use compress_train::loss::Mse;
/// use compress_train::trainer::{Trainer, TrainerConfig};
/// use onnx_ir::{Dim, Fact, Graph, Model, Node};
/// use std::sync::Arc;
///
/// let mut graph = Graph::new("line");
/// let batch = Dim::symbol("batch");
/// let x = graph.add_value("x", Fact::tensor(DType::F32, [batch, 1usize.into()]))?;
/// let w = graph.add_initializer("w", Tensor::from_vec(&[1, 1], vec![0.1f32])?)?;
/// let b = graph.add_initializer("b", Tensor::vector(vec![0f32]))?;
/// let y = graph.add_value("y", Fact::Unknown)?;
/// graph.add_input(x);
/// graph.add_node(Node::new("Gemm", [x, w, b], [y]))?;
/// graph.add_output(y);
/// let model = Model::new(graph, 17);
///
/// let points = Tensor::from_vec(&[4, 1], vec![-1f32, 0.0, 1.0, 2.0])?;
/// let values = Tensor::from_vec(&[4, 1], vec![-1f32, 1.0, 3.0, 5.0])?;
/// let data = ArrayDataset::new([("x", points), ("value", values)])?;
/// let mut config = TrainerConfig::default();
/// (config.epochs, config.batch, config.step_share) = (200, 4, Some(0.0));
/// let mut trainer = Trainer::new(&model, Mse::default(), config)?;
/// let report = trainer.fit(Arc::new(data), None)?;
/// assert!(report.epochs[199].train[0].value < 1e-3);
/// let trained = trainer.model()?;
/// let w = trained.graph.value_by_name("w").unwrap();
/// assert!((trained.graph.initializer(w).unwrap().as_slice::<f32>()?[0] - 2.0).abs() < 0.05);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    config: TrainerConfig,
    model: Model,
    loss: Arc<dyn Loss>,
    metrics: Vec<Box<dyn Metric>>,
    callbacks: Vec<Box<dyn Callback>>,
    augmentation: Option<Arc<Augmentation>>,
    preparation: Option<Augmentation>,
    session: SessionOptions,
    network: Network,
    evaluator: Evaluator,
    optimizer: Box<dyn Optimizer>,
    accumulator: Accumulator,
    ema: Option<Ema>,
    stopping: EarlyStopping,
    best: Option<BestWeights>,
    /// Steps done.
    step: u64,
    /// Where the data stand; at their beginning before the first step.
    position: Option<Position>,
    /// Of the epoch at hand.
    tally: Tally,
    epochs: Vec<EpochEnd>,
    has_stopped: bool,
    kept: Vec<String>,
    /// What results depend on beside the settings, by name.
    conditions: BTreeMap<String, String>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrainReport {
    /// Steps done, those before an interruption too.
    pub steps: u64,
    /// All epochs in order.
    pub epochs: Vec<EpochEnd>,
    /// The score that was watched.
    pub watched: String,
    /// Its best value and the step of it.
    pub best: Option<BestValue>,
    /// Whether the run ended before its last epoch.
    pub stopped_early: bool,
    /// The initializers that were trained.
    pub trained: Vec<String>,
    /// The running statistics that were updated.
    pub statistics: Vec<String>,
    /// Trained initializers that kept the values of the file where new ones were asked for, since what they are for is not known.
    pub not_initialized: Vec<String>,
}

impl Trainer {
    /// A trainer with one thread; see [`Trainer::with_session`].
    ///
    /// # Errors
    /// [`TrainError::Setting`], [`TrainError::Optimizer`], [`TrainError::Ema`]; those of [`Network::new`].
    pub fn new(
        model: &Model,
        loss: impl Loss + 'static,
        config: TrainerConfig,
    ) -> Result<Self, TrainError> {
        Self::with_session(model, loss, config, &SessionOptions::default())
    }

    /// A trainer whose passes run with these options, as with more threads. Results do not depend on the number of threads, and
    /// kernels are chosen by rule, whatever [`SessionOptions::autotune`] says.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`TrainError::Session`].
    pub fn with_session(
        model: &Model,
        loss: impl Loss + 'static,
        config: TrainerConfig,
        session: &SessionOptions,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let loss: Arc<dyn Loss> = Arc::new(loss);
        let threads = match session.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let mut session = session.clone();
        // What is measured differs from run to run, and with it the bits.
        session.autotune = None;
        if session.parallelism.is_none() {
            let shared = Parallelism::with_threads(threads).map_err(SessionError::Threads)?;
            session = session.with_parallelism(shared);
        }
        let initializers = model.graph.initializers();
        let initializers = initializers.map(|(id, tensor)| (model.graph.name_of(id), tensor));
        let weights = digest::of_tensors(initializers);
        let nodes = digest::of_nodes(&model.graph);
        let options = config.network_options();
        let mut network = Network::new(model, Arc::clone(&loss), &options, &session)?;
        let kept =
            initialize::initialize(&mut network, &model.graph, config.initialize, config.seed)?;
        let parameters = network.parameters().to_vec();
        let ema = match &config.average {
            Some(average) => Some(Ema::new(parameters.clone(), average.clone())?),
            None => None,
        };
        let evaluator = Evaluator::new(model, &config.outputs, &*loss)?;
        Ok(Self {
            optimizer: config.build_optimizer(&parameters, threads)?,
            accumulator: Accumulator::new(parameters.iter().map(ParameterInfo::count)),
            stopping: EarlyStopping::new(StoppingConfig::default()),
            model: model.clone(),
            loss,
            metrics: Vec::new(),
            callbacks: Vec::new(),
            augmentation: None,
            preparation: None,
            session,
            network,
            evaluator,
            ema,
            best: None,
            step: 0,
            position: None,
            tally: Tally::new(0),
            epochs: Vec::new(),
            has_stopped: false,
            kept,
            config,
            conditions: BTreeMap::from([(MODEL.to_owned(), weights), (NODES.to_owned(), nodes)]),
        })
    }

    /// The same with something that results depend on beside the settings, as the data that it is given or its loss: a checkpoint in which
    /// another text stands under this name is of another run.
    #[must_use]
    pub fn with_condition(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.conditions.insert(name.into(), text.into());
        self
    }

    /// The same with a metric, measured beside the loss. The first one is watched unless the settings name another score.
    #[must_use]
    pub fn with_metric(mut self, metric: impl Metric + 'static) -> Self {
        self.metrics.push(Box::new(metric));
        self.tally = Tally::new(self.metrics.len());
        self
    }

    /// The same with a change of the samples that are trained on.
    #[must_use]
    pub fn with_augmentation(mut self, augmentation: Augmentation) -> Self {
        self.augmentation = Some(Arc::new(augmentation));
        self
    }

    /// The same with a change of held-out samples before they are evaluated, as a normalisation that is part of the augmentation too.
    #[must_use]
    pub fn with_preparation(mut self, preparation: Augmentation) -> Self {
        self.preparation = Some(preparation);
        self
    }

    /// The same with somebody who looks on.
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// The settings.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The model with its gradients.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model with the weights as they are: the best ones where the settings keep those, averages where weights are averaged.
    /// Nothing but initializers differs from the model that was given.
    ///
    /// # Errors
    /// [`TrainError::Ema`], [`TrainError::Tensor`].
    pub fn model(&self) -> Result<Model, TrainError> {
        let mut model = self.model.clone();
        let weights = match (&self.best, self.config.keep) {
            (Some(best), Keep::Best) => best.weights.clone(),
            _ => self.weights()?,
        };
        network::write(weights.iter().map(|(n, t)| (n.as_str(), t)), &mut model)?;
        Ok(model)
    }

    /// Weights and running statistics as they are to be used: averages where weights are averaged.
    fn weights(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let state = self.network.state();
        let mut weights: BTreeMap<String, Tensor> = state
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        if let Some(ema) = &self.ema {
            for (index, info) in ema.parameters().iter().enumerate() {
                let mut value = self.network.value(index).to_vec();
                ema.read(index, &mut value)?;
                weights.insert(info.name.clone(), Tensor::from_vec(&info.shape, value)?);
            }
        }
        Ok(weights)
    }

    /// The score that is watched, and which values of it are better.
    fn watched(&self) -> Result<(String, Better), TrainError> {
        let first = self.metrics.first().map_or("loss", |metric| metric.name());
        let name = self.config.watch.as_deref().unwrap_or(first);
        if name == "loss" {
            return Ok((name.to_owned(), Better::Smaller));
        }
        let found = self.metrics.iter().find(|metric| metric.name() == name);
        let metric = found.ok_or_else(|| TrainError::NoSuchScore {
            name: name.to_owned(),
            names: std::iter::once("loss")
                .chain(self.metrics.iter().map(|metric| metric.name()))
                .map(str::to_owned)
                .collect(),
        })?;
        Ok((name.to_owned(), metric.better()))
    }

    fn report(&self, watched: String, steps: u64) -> TrainReport {
        TrainReport {
            steps: self.step,
            epochs: self.epochs.clone(),
            watched,
            best: self.best.as_ref().map(|best| best.at),
            stopped_early: self.step < steps,
            trained: self
                .network
                .parameters()
                .iter()
                .map(|p| p.name.clone())
                .collect(),
            statistics: self.network.statistics().map(str::to_owned).collect(),
            not_initialized: self.kept.clone(),
        }
    }
}
