//! The run: a student that learns from teachers.

use super::checks::{labels, validate};
use super::config::{KdConfig, LossTerm};
use super::contrast::{Contrast, negatives};
use super::error::DistillError;
use super::kinds::KdTerm;
use super::names;
use super::taps::{ProjectionReport, Tapped, tap};
use super::teacher::{Copied, Steps, Taught, TeacherReport, Teachers};
use super::term::Term;
use compress_train::augment::Augmentation;
use compress_train::data::Dataset;
use compress_train::digest;
use compress_train::loss::WeightedSum;
use compress_train::optimizer::{Group, StepControl};
use compress_train::trainer::{
    Callback, Initialization, Keep, Metric, OptimizerConfig, TrainError, TrainReport, Trainer,
    TrainerConfig,
};
use onnx_ir::Model;
use runtime_session::{Parallelism, SessionError, SessionOptions};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What a student learns from, and how it is made ready.
pub struct KdData {
    train: Arc<dyn Dataset>,
    held_out: Option<Arc<dyn Dataset>>,
    augmentation: Option<Augmentation>,
    preparation: Option<Augmentation>,
}

impl KdData {
    /// Samples to learn from: fields that are named as an input feed both networks, the first other one holds the labels.
    pub fn new(train: Arc<dyn Dataset>) -> Self {
        Self {
            train,
            held_out: None,
            augmentation: None,
            preparation: None,
        }
    }

    /// With samples to evaluate on after epochs.
    #[must_use]
    pub fn with_held_out(mut self, held_out: Arc<dyn Dataset>) -> Self {
        self.held_out = Some(held_out);
        self
    }

    /// With changes of the samples that are learned from, which differ from epoch to epoch, in place of the preparation. The teachers see
    /// what the student sees.
    #[must_use]
    pub fn with_augmentation(mut self, augmentation: Augmentation) -> Self {
        self.augmentation = Some(augmentation);
        self
    }

    /// With a change of samples that is the same in each epoch, as a normalisation: of those held out, and of those that are learned from
    /// where they are not augmented.
    #[must_use]
    pub fn with_preparation(mut self, preparation: Augmentation) -> Self {
        self.preparation = Some(preparation);
        self
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KdReport {
    /// The run of the trainer.
    pub training: TrainReport,
    /// When the teachers ran.
    pub teacher: TeacherReport,
    /// The terms of the loss by name, with their weights.
    pub losses: Vec<(String, f64)>,
    /// The layers that were trained along and left behind.
    pub projections: Vec<ProjectionReport>,
    /// Weights that no term of the loss leads to, which stay as they are, and so do the running statistics of batch normalisations there.
    pub unreached: Vec<String>,
}

/// Trains a student of some teachers.
///
/// The student is trained with [`Trainer`]; what it needs beside (the projections of hints, tapped tensors) is in the graph that is trained and in
/// its checkpoints, and not in the model that comes out, of which nothing but weights differs from the one that was given. The same
/// seed gives the same bytes, with any number of threads and over interruptions.
pub struct Distiller {
    trainer: Trainer,
    student: Model,
    data: Arc<dyn Dataset>,
    held_out: Option<Arc<dyn Dataset>>,
    teacher: TeacherReport,
    losses: Vec<(String, f64)>,
    projections: Vec<ProjectionReport>,
    unreached: Vec<String>,
    /// Initializers of the student that are trained or tracked.
    own: Vec<String>,
    /// Whether the loss is 0 on held-out samples, whatever the student computes, and something goes by it unless a metric is watched.
    is_blind: bool,
    has_metrics: bool,
}

impl Distiller {
    /// A run at its beginning; teachers that run once run here.
    ///
    /// # Errors
    /// [`DistillError`].
    pub fn new(
        teachers: &[Model],
        student: &Model,
        data: KdData,
        config: &KdConfig,
        session: &SessionOptions,
    ) -> Result<Self, DistillError> {
        let held_out = data.held_out.as_deref();
        validate(config, &*data.train, held_out, student, teachers)?;
        let seed = config.trainer.seed;
        let labels = labels(config, &*data.train, student, teachers);
        let tapped = tap(student, teachers, config)?;
        let session = shared(session)?;
        let columns: Vec<String> = tapped
            .pairs
            .iter()
            .flatten()
            .flat_map(|pair| pair.teachers.clone())
            .chain(tapped.inputs.iter().map(|(_, column)| column.clone()))
            .collect();
        let fields = data.train.fields();
        let taught = Teachers::new(teachers, student, &columns, fields, config, &session)?;
        let losses = named(&config.losses);
        let loss = sum(&tapped, config, &losses, labels.as_deref(), &*data.train)?;
        let preparation = data.preparation.unwrap_or_else(|| Augmentation::new(0));
        let preparation = Arc::new(preparation);
        let is_augmented = data.augmentation.is_some();
        let sides = std::iter::once(data.train).chain(data.held_out);
        let (mut sides, report) = taught.teach(
            sides.collect(),
            &preparation,
            is_augmented,
            &config.teacher_runs,
            config.trainer.batch,
        )?;
        let held_out = (sides.len() > 1).then(|| sides.pop()).flatten();
        let Some(train) = sides.pop() else {
            return Err(DistillError::NoLosses);
        };
        let steps = |side: &Taught, changes: Option<Augmentation>| {
            let prepared = || Augmentation::new(seed).with(Steps(Arc::clone(&preparation)));
            let mut all = changes.unwrap_or_else(prepared);
            if !side.is_stored {
                all = taught.add_to(all)?;
            }
            for (input, column) in &tapped.inputs {
                all = all.with(Copied {
                    field: column.clone(),
                    column: input.clone(),
                });
            }
            Ok::<_, DistillError>(match &config.mask {
                Some(field) => all.with(Copied {
                    field: field.clone(),
                    column: names::mask_column(),
                }),
                None => all,
            })
        };
        let augmentation = steps(&train, data.augmentation)?;
        let loss = Arc::new(loss);
        let begin = |freeze: &[String]| {
            let settings = trained(&tapped, config, freeze)?;
            let trainer =
                Trainer::with_session(&tapped.model, Arc::clone(&loss), settings, &session)?;
            Ok::<_, DistillError>(trainer)
        };
        let mut trainer = begin(&[])?;
        let idle = tapped.unreached(&trainer, &config.losses);
        let statistics: Vec<String> = trainer.network().statistics().map(str::to_owned).collect();
        if !idle.is_empty() {
            // Neither decays what nothing teaches, nor are running statistics those of other weights.
            trainer = begin(&idle)?;
        }
        let is_weight = |name: &String| !names::is_private(name) && !statistics.contains(name);
        let unreached = idle.into_iter().filter(is_weight).collect();
        trainer = trainer.with_augmentation(augmentation);
        if let Some(held_out) = &held_out {
            trainer = trainer.with_preparation(steps(held_out, None)?);
        }
        for (name, text) in conditions(config, teachers, report.runs) {
            trainer = trainer.with_condition(name, text);
        }
        let own = trainer.network().state().map(|(name, _)| name.to_owned());
        let own = own.filter(|name| !tapped.weights.contains(name)).collect();
        Ok(Self {
            own,
            is_blind: held_out.is_some() && is_blind(config),
            has_metrics: false,
            trainer,
            student: student.clone(),
            data: tapped.marked(train.data, true),
            held_out: held_out.map(|side| tapped.marked(side.data, false)),
            teacher: report,
            losses,
            projections: tapped.projections,
            unreached,
        })
    }

    /// The same with a metric, measured beside the loss on the student's first output and the labels.
    #[must_use]
    pub fn with_metric(mut self, metric: impl Metric + 'static) -> Self {
        self.has_metrics = true;
        self.trainer = self.trainer.with_metric(metric);
        self
    }

    /// The same with somebody who looks on.
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback + 'static) -> Self {
        self.trainer = self.trainer.with_callback(callback);
        self
    }

    /// The same with something that results depend on beside the settings; see [`Trainer::with_condition`].
    #[must_use]
    pub fn with_condition(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.trainer = self.trainer.with_condition(name, text);
        self
    }

    /// Goes on from the checkpoint that a run of the same student, teachers and settings wrote, to the bytes that an unbroken one ends in.
    ///
    /// # Errors
    /// Those of [`Trainer::resume`].
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), DistillError> {
        Ok(self.trainer.resume(path)?)
    }

    /// Trains to the end of the run.
    ///
    /// # Errors
    /// [`DistillError::NothingToWatch`]; those of [`Trainer::fit`].
    pub fn fit(&mut self) -> Result<KdReport, DistillError> {
        let watch = self.trainer.config().watch.as_deref();
        if self.is_blind && watch.map_or(!self.has_metrics, |name| name == "loss") {
            return Err(DistillError::NothingToWatch);
        }
        let held_out = self.held_out.as_deref();
        let mut training = self.trainer.fit(Arc::clone(&self.data), held_out)?;
        training.trained.retain(|name| !names::is_private(name));
        training
            .not_initialized
            .retain(|name| !names::is_private(name));
        Ok(KdReport {
            training,
            teacher: self.teacher.clone(),
            losses: self.losses.clone(),
            projections: self.projections.clone(),
            unreached: self.unreached.clone(),
        })
    }

    /// The student with the weights as they are (the best ones, or averages, where the settings say so); nothing that was trained along.
    ///
    /// # Errors
    /// Those of [`Trainer::model`].
    pub fn model(&self) -> Result<Model, DistillError> {
        let trained = self.trainer.model()?;
        let mut student = self.student.clone();
        for name in &self.own {
            let value = trained.graph.value_by_name(name);
            let value = value.and_then(|id| trained.graph.initializer(id));
            let to = student.graph.value_by_name(name);
            if let (Some(value), Some(to)) = (value, to) {
                student.graph.set_initializer(to, value.clone());
            }
        }
        Ok(student)
    }

    /// The trainer of the student with what is trained along.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// Weights that no term of the loss leads to, which stay as they are, and so do the running statistics of batch normalisations there: a
    /// loss on features leaves what lies behind them untrained. A loss on logits beside it, or labels, reach them.
    pub fn unreached(&self) -> &[String] {
        &self.unreached
    }

    /// The number of samples that are learned from, and held out.
    pub fn samples(&self) -> (usize, usize) {
        let held_out = self.held_out.as_ref().map_or(0, |data| data.len());
        (self.data.len(), held_out)
    }
}

/// Trains a student of one teacher; [`Distiller`] does it with more teachers, metrics and interruptions.
///
/// Data without labels will do for all losses that do not look at any: the teacher says what is right, whatever the model computes.
///
/// # Errors
/// [`DistillError`].
///
/// # Examples
/// A linear student of a linear teacher, without labels:
/// ```
/// use compress_kd::graph::{KdConfig, KdData, KdTerm, LossTerm, distill};
/// use compress_train::data::ArrayDataset;
/// use std::sync::Arc;
/// # use compress_tensor::{DType, Tensor};
/// # use onnx_ir::{Dim, Fact, Graph, Model, Node};
/// # let linear = |weights: Vec<f32>| -> Result<Model, Box<dyn std::error::Error>> {
/// #     let mut graph = Graph::new("linear");
/// #     let x = graph.add_value("x", Fact::tensor(DType::F32, [Dim::symbol("batch"), 2usize.into()]))?;
/// #     let w = graph.add_initializer("w", Tensor::from_vec(&[2, 3], weights)?)?;
/// #     let y = graph.add_value("y", Fact::Unknown)?;
/// #     graph.add_input(x);
/// #     graph.add_node(Node::new("MatMul", [x, w], [y]))?;
/// #     graph.add_output(y);
/// #     Ok(Model::new(graph, 17))
/// # };
/// let teacher = linear(vec![1.0, -1.0, 0.5, 0.0, 2.0, -0.5])?;
/// let student = linear(vec![0.1; 6])?;
/// let x = Tensor::from_vec(&[4, 2], vec![1f32, 0.0, 0.0, 1.0, 1.0, 1.0, -1.0, 0.5])?;
/// let data = KdData::new(Arc::new(ArrayDataset::new([("x", x)])?));
/// let mut config = KdConfig::new([LossTerm::new(KdTerm::Regression {})]);
/// (config.trainer.epochs, config.trainer.batch, config.trainer.step_share) = (200, 4, Some(0.0));
/// let (student, report) = distill(&teacher, &student, data, &config)?;
/// assert_eq!(report.teacher.runs, "once, in memory");
/// assert!(report.training.epochs[199].train[0].value < 1e-4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn distill(
    teacher: &Model,
    student: &Model,
    data: KdData,
    config: &KdConfig,
) -> Result<(Model, KdReport), DistillError> {
    let teachers = std::slice::from_ref(teacher);
    let session = SessionOptions::default();
    let mut distiller = Distiller::new(teachers, student, data, config, &session)?;
    let report = distiller.fit()?;
    Ok((distiller.model()?, report))
}

/// The same options with threads that student and teachers share; nothing is measured, so that bits do not differ.
fn shared(session: &SessionOptions) -> Result<SessionOptions, DistillError> {
    let mut session = session.clone();
    session.autotune = None;
    if session.parallelism.is_some() {
        return Ok(session);
    }
    let threads = match session.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let shared = Parallelism::with_threads(threads).map_err(SessionError::Threads)?;
    Ok(session.with_parallelism(shared))
}

/// Whether the run goes by a score of held-out samples, of which no term says anything.
fn is_blind(config: &KdConfig) -> bool {
    let trainer = &config.trainer;
    let says = |term: &LossTerm| term.weight.0 > 0.0 && term.loss.is_of_held_out();
    let stopping = trainer.stopping.as_ref();
    let stops = stopping.is_some_and(|stopping| stopping.patience.is_some());
    (stops || trainer.keep == Keep::Best) && !config.losses.iter().any(says)
}

/// The terms by names that differ.
fn named(terms: &[LossTerm]) -> Vec<(String, f64)> {
    let mut named: Vec<(String, f64)> = Vec::with_capacity(terms.len());
    for term in terms {
        let name = term.loss.name();
        let same = |other: &&(String, f64)| other.0.split(' ').next() == Some(name);
        let before = named.iter().filter(same).count();
        let name = match before {
            0 => name.to_owned(),
            n => format!("{name} {}", n + 1),
        };
        named.push((name, term.weight.0));
    }
    named
}

/// The loss: all terms over what they look at.
fn sum(
    tapped: &Tapped,
    config: &KdConfig,
    names: &[(String, f64)],
    labels: Option<&str>,
    data: &dyn Dataset,
) -> Result<WeightedSum, DistillError> {
    let mut sum = WeightedSum::default();
    let (seed, batch) = (config.trainer.seed, config.trainer.batch);
    let terms = config.losses.iter().zip(&tapped.pairs).zip(names);
    for (number, ((term, pairs), (name, weight))) in terms.enumerate() {
        if let KdTerm::Crd { dimensions, .. } = term.loss {
            let pairs = pairs.iter();
            let pairs = pairs.map(|pair| (pair.student.clone(), pair.teachers.concat()));
            let pairs: Vec<(String, String)> = pairs.collect();
            // Memories and draws of each term are its own.
            let seed = seed ^ ((number as u64 + 1) << 32);
            let negatives = negatives(data, labels, batch, seed)?;
            let contrast = term.loss.contrast();
            let term = Contrast::new(&pairs, negatives, dimensions, seed, contrast)?;
            sum = sum.with(name, *weight, term);
            continue;
        }
        let term = Term {
            term: term.clone(),
            pairs: pairs.clone(),
            ensemble: config.ensemble.clone(),
            labels: labels.map(str::to_owned),
        };
        sum = sum.with(name, *weight, term);
    }
    Ok(sum)
}

/// The trainer's settings with the tapped tensors as outputs.
fn trained(
    tapped: &Tapped,
    config: &KdConfig,
    freeze: &[String],
) -> Result<TrainerConfig, DistillError> {
    let mut trainer = config.trainer.clone();
    trainer.outputs.clone_from(&tapped.observed);
    trainer.freeze.extend(freeze.iter().cloned());
    if !trainer.train.is_empty() {
        // Where weights are told by name, what is trained along is one of them.
        trainer.train.extend(tapped.weights.iter().cloned());
    }
    let weights = tapped.weights.iter().filter(|name| !freeze.contains(name));
    let weights: Vec<String> = weights.cloned().collect();
    if !weights.is_empty() && trainer.initialize == Initialization::Keep {
        // The first group that a name matches counts: patterns as `*` are of the student's weights.
        let group = drawn_anew(weights, &trainer)?;
        trainer.groups.insert(0, group);
    }
    Ok(trainer)
}

/// Projections begin anew where the student's weights are kept: their steps are those of such weights, whatever groups the settings have.
fn drawn_anew(weights: Vec<String>, trainer: &TrainerConfig) -> Result<Group, DistillError> {
    let mut fresh = trainer.clone();
    fresh.initialize = Initialization::He;
    let rate = fresh.base_learning_rate();
    let mut group = Group {
        patterns: weights,
        learning_rate: rate / trainer.base_learning_rate(),
        ..Group::default()
    };
    let share = fresh.largest_step_share();
    if let OptimizerConfig::Sgd(sgd) = &trainer.optimizer
        && sgd.control == StepControl::None
        && share > 0.0
    {
        let control = StepControl::within(share, rate, sgd.momentum);
        group.control = Some(control.map_err(TrainError::from)?);
    }
    Ok(group)
}

/// What a checkpoint must agree with.
fn conditions(config: &KdConfig, teachers: &[Model], runs: &str) -> Vec<(String, String)> {
    let mut conditions = vec![
        ("losses".to_owned(), format!("{:?}", config.losses)),
        ("ensemble".to_owned(), format!("{:?}", config.ensemble)),
        ("mask".to_owned(), format!("{:?}", config.mask)),
        ("labels field".to_owned(), format!("{:?}", config.labels)),
        ("teacher runs".to_owned(), runs.to_owned()),
    ];
    for (number, teacher) in teachers.iter().enumerate() {
        let graph = &teacher.graph;
        let weights = graph.initializers();
        let weights = weights.map(|(id, tensor)| (graph.name_of(id), tensor));
        conditions.push((format!("teacher {number}"), digest::of_tensors(weights)));
    }
    conditions
}
