//! A model with its gradients, in a session: one run is a forward and a backward pass.

use super::error::TrainError;
use super::feed::Feeder;
use super::loss_node::{DOMAIN, Exchange, LossNode, OPERATOR};
pub(super) use super::observed::observed;
use super::parameters;
use crate::data::{Batch, Column, Field};
use crate::loss::{Loss, LossValue, Outputs};
use crate::optimizer::{ParameterInfo, Update, glob};
use compress_tensor::{DType, Tensor};
use onnx_ir::gradient::{
    ActivationBudget, GradientError, GradientReport, GradientRequest, TrainingMode,
    TrainingModeReport, gradient, recompute, training_mode,
};
use onnx_ir::{Catalog, Fact, Graph, Model, Node, TensorFact, ValueId};
use runtime_session::{Session, SessionOptions};
use std::sync::Arc;

/// What of a model is trained, and how it behaves meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NetworkOptions {
    /// Patterns of initializers to train (`*`: any characters, `?`: one); by default the weights of all operators that lead to the
    /// outputs.
    pub train: Vec<String>,
    /// Patterns of initializers that stay as they are. Where the mean or the variance of a batch normalisation is one of them, it uses
    /// the running statistics, as when the model is run.
    pub freeze: Vec<String>,
    /// The outputs, or values between, that the loss looks at; by default all outputs of f32.
    pub outputs: Vec<String>,
    /// The weight of the old running statistics in the new ones; that of each node where it is not given.
    pub statistics_momentum: Option<f32>,
    /// Whether batch normalisations use their running statistics, and keep them.
    pub freeze_statistics: bool,
    /// Whether dropouts let everything pass.
    pub no_dropout: bool,
    /// The memory that activations may take; all that does not fit is computed anew in the backward pass.
    pub activations: Option<ActivationBudget>,
}

/// A model with its gradients.
///
/// Trained weights are inputs of the graph that runs, so that they change from step to step; their memory, that of gradients and that
/// of samples is used again. The model itself is not changed: [`Network::write_to`] puts the weights back into it.
pub struct Network {
    session: Session,
    feeder: Feeder,
    exchange: Arc<Exchange>,
    /// The names of the observed outputs, as the loss sees them.
    observed: Vec<String>,
    parameters: Vec<ParameterInfo>,
    values: Vec<Tensor>,
    statistics: Vec<Statistic>,
    /// The input that seeds dropouts.
    seed: Option<String>,
    /// Of the last run: observed outputs, gradients, running statistics.
    outputs: Vec<Tensor>,
    /// The values that the forward pass computes, in order.
    forward: Vec<String>,
}

/// A running mean or variance.
struct Statistic {
    name: String,
    value: Tensor,
    /// The place of its next value behind the gradients.
    output: usize,
}

impl Network {
    /// Builds the gradients of a model's weights.
    ///
    /// # Errors
    /// [`TrainError::NoSuchWeight`], [`TrainError::NothingToTrain`], [`TrainError::Blocked`], [`TrainError::NoSuchOutput`], [`TrainError::NoOutput`],
    /// [`TrainError::InputType`], [`TrainError::Gradient`] with the node that is not differentiable, [`TrainError::Session`].
    pub fn new(
        model: &Model,
        loss: Arc<dyn Loss>,
        options: &NetworkOptions,
        session: &SessionOptions,
    ) -> Result<Self, TrainError> {
        let catalog = Catalog::standard();
        let (names, observed) = observed(model, &options.outputs, loss.scores())?;
        let mode = mode(&model.graph, options);
        let (trained, mode) = training_mode(model, &mode, catalog)?;
        let forward = computed(&trained.graph)?;
        let (mut trained, report) = with_gradients(model, &trained, &observed, options)?;
        let (node, exchange) = LossNode::new(loss, names.clone());
        insert_loss(&mut trained, &report)?;
        let parameters: Vec<String> = report.gradients.iter().map(|g| g.of.clone()).collect();
        let mut statistics: Vec<String> = mode
            .statistics
            .iter()
            .map(|s| s.initializer.clone())
            .collect();
        statistics.sort_unstable();
        statistics.dedup();
        let values = free(&mut trained.graph, &parameters)?;
        let statistic_values = free(&mut trained.graph, &statistics)?;
        set_outputs(&mut trained.graph, &observed, &report, &mode)?;
        if let Some(budget) = options.activations {
            spare(&mut trained, &report, budget)?;
        }
        let others: Vec<&str> = parameters
            .iter()
            .chain(&statistics)
            .chain(&mode.seed)
            .map(String::as_str)
            .collect();
        let feeder = Feeder::new(&trained.graph, &others)?;
        let catalog = catalog.clone().with_operator(node);
        // Of several normalisations with one statistic the last one counts.
        let place = |name: &String| mode.statistics.iter().rposition(|s| s.initializer == *name);
        Ok(Self {
            session: Session::with_catalog(trained, catalog, session)?,
            feeder,
            exchange,
            observed: names,
            parameters: parameters
                .iter()
                .zip(&values)
                .map(|(name, value)| ParameterInfo::new(name, value.shape()))
                .collect(),
            values,
            statistics: statistics
                .iter()
                .zip(statistic_values)
                .map(|(name, value)| Statistic {
                    output: place(name).unwrap_or_default(),
                    name: name.clone(),
                    value,
                })
                .collect(),
            seed: mode.seed,
            outputs: Vec::new(),
            forward,
        })
    }

    /// The trained weights.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// The values of a weight, by its place in [`Network::parameters`]; empty where there is none.
    pub fn value(&self, index: usize) -> &[f32] {
        let value = self.values.get(index);
        value.and_then(|v| v.as_slice().ok()).unwrap_or_default()
    }

    /// The names of the running means and variances that change.
    pub fn statistics(&self) -> impl Iterator<Item = &str> {
        self.statistics.iter().map(|s| s.name.as_str())
    }

    /// All that changes while the model trains, by name: weights, then running statistics. The data are shared.
    pub fn state(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let weights = self.parameters.iter().zip(&self.values);
        let weights = weights.map(|(info, value)| (info.name.as_str(), value));
        weights.chain(self.statistics.iter().map(|s| (s.name.as_str(), &s.value)))
    }

    /// Sets a weight or a running statistic.
    ///
    /// # Errors
    /// [`TrainError::NoSuchWeight`], [`TrainError::Misfit`] for another shape, [`TrainError::Tensor`] for another type.
    pub fn set(&mut self, name: &str, value: &Tensor) -> Result<(), TrainError> {
        let weights = self.parameters.iter().map(|p| p.name.as_str());
        let weights = weights.zip(&mut self.values);
        let statistics = self.statistics.iter_mut();
        let mut all = weights.chain(statistics.map(|s| (s.name.as_str(), &mut s.value)));
        let Some((_, to)) = all.find(|(known, _)| *known == name) else {
            let names = self.parameters.iter().take(5);
            return Err(TrainError::NoSuchWeight {
                pattern: name.to_owned(),
                examples: names.map(|p| p.name.clone()).collect(),
            });
        };
        if to.shape() != value.shape() {
            return Err(TrainError::Misfit {
                name: name.to_owned(),
                found: value.shape().to_vec(),
                expected: to.shape().to_vec(),
            });
        }
        *to = Tensor::from_vec(value.shape(), value.data::<f32>()?.into_owned())?;
        Ok(())
    }

    /// Whether a field of the data feeds an input of the model; all others are targets of the loss.
    pub fn is_input(&self, field: &str) -> bool {
        self.feeder.is_input(field)
    }

    /// Checks that the fields of some data feed all inputs, in batches of a size.
    pub(super) fn check(
        &self,
        fields: &[Field],
        batch: usize,
        are_all_whole: bool,
    ) -> Result<(), TrainError> {
        self.feeder.check(fields, batch, are_all_whole)
    }

    /// One forward and one backward pass: fields that are named as an input feed it, the others are the targets. `draw` seeds the
    /// dropouts. The batch is afterwards as before, but for columns of bytes among the targets.
    ///
    /// # Errors
    /// [`TrainError::MissingInput`], [`TrainError::WrongKind`], [`TrainError::Range`], [`TrainError::NoSuchClass`], [`TrainError::Loss`],
    /// [`TrainError::Session`]. Samples are named by their index in the data set.
    pub fn run(&mut self, batch: &mut Batch, draw: i64) -> Result<LossValue, TrainError> {
        self.observe(batch, draw, |_, _, _| Ok(()))
    }

    /// As [`Network::run`], and shows the names of the outputs, the outputs and the targets to `look`.
    pub(super) fn observe(
        &mut self,
        batch: &mut Batch,
        draw: i64,
        look: impl FnOnce(&[String], &[Tensor], &[Column]) -> Result<(), TrainError>,
    ) -> Result<LossValue, TrainError> {
        // A network with codes may make a number of what is none.
        if let Some(error) = Feeder::not_finite(batch) {
            return Err(error);
        }
        let targets = self.feeder.fill(batch)?;
        self.exchange.give(targets, batch.len());
        let mut feeds = feeds(
            &self.feeder,
            &self.parameters,
            &self.values,
            &self.statistics,
        );
        if let Some(name) = &self.seed {
            feeds.push((name, Tensor::scalar(draw)));
        }
        let done = self.session.run_into(&feeds, &mut self.outputs);
        drop(feeds);
        let (targets, found) = self.exchange.take();
        let seen = match (&done, &found) {
            (Ok(()), Some(Ok(_))) => {
                let outputs = &self.outputs[..self.observed.len()];
                look(&self.observed, outputs, &targets)
            }
            _ => Ok(()),
        };
        let found = found.map(|found| {
            found.map_err(|error| TrainError::from(error).in_batch(&targets, &batch.indices))
        });
        let seen = seen.map_err(|error| error.in_batch(&targets, &batch.indices));
        self.feeder.restore(batch, targets);
        match found {
            Some(Err(error)) => Err(error),
            Some(Ok(found)) => {
                done?;
                seen?;
                self.take_statistics();
                Ok(found)
            }
            None => {
                done?;
                Err(TrainError::NoLoss)
            }
        }
    }

    /// The running statistics of the last run become those of the next.
    fn take_statistics(&mut self) {
        let first = self.observed.len() + self.parameters.len();
        for statistic in &mut self.statistics {
            if let Some(next) = self.outputs.get_mut(first + statistic.output) {
                std::mem::swap(&mut statistic.value, next);
            }
        }
    }

    /// The observed outputs of the last run; none before one.
    pub fn outputs(&self) -> Outputs<'_> {
        let views = self.observed.iter().zip(&self.outputs);
        Outputs::new(views.filter_map(|(name, o)| Some((name.as_str(), o.view::<f32>().ok()?))))
    }

    /// The gradients of the last run, in the order of [`Network::parameters`], to be changed in place; none before one.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn gradients(&mut self) -> Result<Vec<&mut [f32]>, TrainError> {
        let count = self.parameters.len();
        let outputs = self.outputs.iter_mut();
        let gradients = outputs.skip(self.observed.len()).take(count);
        Ok(gradients
            .map(|g| g.data_mut::<f32>())
            .collect::<Result<_, _>>()?)
    }

    /// Calls `update` with each weight and its gradient of the last run.
    ///
    /// # Errors
    /// [`TrainError::Tensor`]; that of `update`.
    pub fn update<E: From<TrainError>>(
        &mut self,
        mut update: impl FnMut(usize, &mut [f32], &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let gradients = self.outputs.iter().skip(self.observed.len());
        for (index, (value, gradient)) in self.values.iter_mut().zip(gradients).enumerate() {
            let gradient = gradient.as_slice::<f32>().map_err(TrainError::from)?;
            let value = value.data_mut::<f32>().map_err(TrainError::from)?;
            update(index, value, gradient)?;
        }
        Ok(())
    }

    /// Each weight with its gradient of the last run, to be changed together; none before one.
    ///
    /// # Errors
    /// [`TrainError::Tensor`].
    pub fn updates(&mut self) -> Result<Vec<Update<'_>>, TrainError> {
        let gradients = self.outputs.iter().skip(self.observed.len());
        let pairs = self.values.iter_mut().zip(gradients).enumerate();
        pairs
            .map(|(index, (value, gradient))| {
                Ok(Update {
                    index,
                    value: value.data_mut::<f32>()?,
                    gradient: gradient.as_slice::<f32>()?,
                })
            })
            .collect()
    }

    /// Puts the weights and running statistics into a model; nothing else is changed.
    ///
    /// # Errors
    /// [`TrainError::NoSuchWeight`], [`TrainError::Misfit`] where it is not the model that this one was made of.
    pub fn write_to(&self, model: &mut Model) -> Result<(), TrainError> {
        write(self.state(), model)
    }

    /// The first value of the forward pass that is not finite, as in `value` of node …; none where the pass cannot be run again.
    pub(super) fn first_not_finite(&mut self, batch: &mut Batch, draw: i64) -> Option<String> {
        let targets = self.feeder.fill(batch).ok()?;
        self.exchange.give(targets, batch.len());
        let mut feeds = feeds(
            &self.feeder,
            &self.parameters,
            &self.values,
            &self.statistics,
        );
        if let Some(name) = &self.seed {
            feeds.push((name, Tensor::scalar(draw)));
        }
        let names: Vec<&str> = self.forward.iter().map(String::as_str).collect();
        let mut first = None;
        let _ = self.session.run_with_taps(&feeds, &names, |name, tensor| {
            let is_finite = |t: &Tensor| {
                t.data::<f32>()
                    .is_ok_and(|d| d.iter().all(|v| v.is_finite()))
            };
            if first.is_none() && tensor.dtype() == DType::F32 && !is_finite(tensor) {
                first = Some(name.to_owned());
            }
        });
        drop(feeds);
        let (targets, _) = self.exchange.take();
        self.feeder.restore(batch, targets);
        first
    }
}

/// The values that nodes write, in an order in which they can.
fn computed(graph: &Graph) -> Result<Vec<String>, TrainError> {
    let order = graph.topological_order()?;
    let written = order.iter().flat_map(|&id| graph.node(id).outputs());
    Ok(written
        .flatten()
        .map(|&id| graph.name_of(id).to_owned())
        .collect())
}

/// What a run is fed, but for the seed of dropouts.
fn feeds<'a>(
    feeder: &'a Feeder,
    parameters: &'a [ParameterInfo],
    values: &'a [Tensor],
    statistics: &'a [Statistic],
) -> Vec<(&'a str, Tensor)> {
    let weights = parameters.iter().zip(values);
    let mut feeds = Vec::with_capacity(parameters.len() + statistics.len() + 4);
    feeds.extend(feeder.feeds());
    feeds.extend(weights.map(|(info, value)| (info.name.as_str(), value.clone())));
    feeds.extend(
        statistics
            .iter()
            .map(|s| (s.name.as_str(), s.value.clone())),
    );
    feeds
}

/// Puts values into the initializers of their names.
pub(super) fn write<'a>(
    values: impl Iterator<Item = (&'a str, &'a Tensor)>,
    model: &mut Model,
) -> Result<(), TrainError> {
    for (name, value) in values {
        let graph = &mut model.graph;
        let id = graph.value_by_name(name);
        let Some((id, old)) = id.and_then(|id| Some((id, graph.initializer(id)?))) else {
            let names = graph.initializers().take(5);
            return Err(TrainError::NoSuchWeight {
                pattern: name.to_owned(),
                examples: names.map(|(id, _)| graph.name_of(id).to_owned()).collect(),
            });
        };
        if old.shape() != value.shape() {
            return Err(TrainError::Misfit {
                name: name.to_owned(),
                found: old.shape().to_vec(),
                expected: value.shape().to_vec(),
            });
        }
        graph.set_initializer(id, value.clone());
    }
    Ok(())
}

/// How the model behaves while it trains.
fn mode(graph: &Graph, options: &NetworkOptions) -> TrainingMode {
    let mut mode = TrainingMode::default();
    mode.batch_statistics = !options.freeze_statistics;
    mode.dropout = !options.no_dropout;
    mode.momentum = options.statistics_momentum;
    for (id, node) in graph
        .nodes()
        .filter(|(_, node)| node.is("BatchNormalization"))
    {
        let statistics = [3, 4].into_iter().filter_map(|index| node.input(index));
        let mut names = statistics.map(|value| graph.name_of(value));
        if names.any(|name| options.freeze.iter().any(|p| glob::matches(p, name))) {
            mode.frozen.push(graph.label(id).to_owned());
        }
    }
    mode
}

/// The model with the gradients of its weights. Weights that were chosen by rule and do not reach the outputs by way of real numbers are
/// left out.
fn with_gradients(
    model: &Model,
    trained: &Model,
    observed: &[String],
    options: &NetworkOptions,
) -> Result<(Model, GradientReport), TrainError> {
    let ids = observed
        .iter()
        .filter_map(|name| model.graph.value_by_name(name));
    let ids: Vec<ValueId> = ids.collect();
    let mut weights = parameters::choose(&model.graph, &ids, &options.train, &options.freeze)?;
    let mut blocked: Option<(String, String)> = None;
    loop {
        let request = GradientRequest::of(observed.iter().cloned(), weights.iter().cloned())
            .seeded_by_inputs();
        match gradient(trained, &request, Catalog::standard()) {
            Err(GradientError::Unreached { name, by }) if options.train.is_empty() => {
                weights.retain(|weight| *weight != name);
                blocked = blocked.or(by.map(|node| (name, node)));
                if weights.is_empty() {
                    return Err(
                        blocked.map_or(TrainError::NothingToTrain, |(weight, node)| {
                            TrainError::Blocked { weight, node }
                        }),
                    );
                }
            }
            other => return Ok(other?),
        }
    }
}

/// Lets the loss give the adjoints that were inputs.
fn insert_loss(model: &mut Model, report: &GradientReport) -> Result<(), TrainError> {
    let graph = &mut model.graph;
    let mut inputs = Vec::new();
    let mut adjoints = Vec::new();
    for (loss, seed) in &report.seeds {
        inputs.push(graph.value_named(loss)?);
        adjoints.push(graph.value_named(seed)?);
    }
    let rest = graph
        .inputs()
        .iter()
        .copied()
        .filter(|id| !adjoints.contains(id));
    let rest = rest.collect();
    graph.set_inputs(rest);
    graph.add_node(
        Node::new(OPERATOR, inputs, adjoints)
            .in_domain(DOMAIN)
            .named("loss"),
    )?;
    model.opsets.set(DOMAIN, 1);
    Ok(())
}

/// Computes activations anew where they would take too much memory.
fn spare(
    model: &mut Model,
    report: &GradientReport,
    budget: ActivationBudget,
) -> Result<(), TrainError> {
    let graph = &model.graph;
    let order = graph.topological_order()?.into_iter();
    let (forward, rest): (Vec<_>, Vec<_>) = order.partition(|id| id.index() < report.forward_bound);
    // The loss was added last and comes first; the nodes behind it stand in the order in which the gradient was gone through.
    let (first, mut rest): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|&id| graph.node(id).domain == DOMAIN);
    rest.sort_unstable_by_key(|id| id.index());
    let backward = [first, rest].concat();
    recompute(model, &forward, &backward, budget, Catalog::standard())?;
    Ok(())
}

/// Makes inputs of initializers, and gives copies of their values.
fn free(graph: &mut Graph, names: &[String]) -> Result<Vec<Tensor>, TrainError> {
    let mut values = Vec::with_capacity(names.len());
    for name in names {
        let id = graph.value_named(name)?;
        let Some(tensor) = graph.remove_initializer(id) else {
            return Err(TrainError::NoSuchWeight {
                pattern: name.clone(),
                examples: Vec::new(),
            });
        };
        graph.value_mut(id).fact = Fact::tensor(tensor.dtype(), tensor.shape().iter().copied());
        if !graph.is_input(id) {
            graph.add_input(id);
        }
        values.push(Tensor::from_vec(
            tensor.shape(),
            tensor.data::<f32>()?.into_owned(),
        )?);
    }
    forget(graph, names)?;
    Ok(values)
}

/// What is computed from initializers that are none any more is no longer known by value.
fn forget(graph: &mut Graph, freed: &[String]) -> Result<(), TrainError> {
    let mut changes = vec![false; graph.value_bound()];
    for name in freed {
        changes[graph.value_named(name)?.index()] = true;
    }
    for id in graph.topological_order()? {
        let node = graph.node(id);
        // Sizes stay.
        let is_size = node.is("Shape") || node.is("Size");
        if is_size || !node.inputs().iter().flatten().any(|v| changes[v.index()]) {
            continue;
        }
        let outputs: Vec<ValueId> = node.outputs().iter().flatten().copied().collect();
        for output in outputs {
            changes[output.index()] = true;
            let fact = &mut graph.value_mut(output).fact;
            if let Some(TensorFact { dtype, shape, .. }) = fact.as_tensor() {
                *fact = Fact::Tensor(TensorFact::with_shape(*dtype, shape.clone()));
            }
        }
    }
    Ok(())
}

/// Observed outputs, gradients, running statistics: what a step needs, and nothing else.
fn set_outputs(
    graph: &mut Graph,
    observed: &[String],
    report: &GradientReport,
    mode: &TrainingModeReport,
) -> Result<(), TrainError> {
    let gradients = report.gradients.iter().map(|g| &g.output);
    let statistics = mode.statistics.iter().map(|s| &s.output);
    let names = observed.iter().chain(gradients).chain(statistics);
    let ids = names.map(|name| graph.value_named(name));
    let ids: Vec<ValueId> = ids.collect::<Result<_, _>>()?;
    graph.set_outputs(ids);
    Ok(())
}
