//! The session: a model made ready to run.

mod inputs;
mod tuned;

use crate::error::SessionError;
use crate::execute::{RunState, Tap, execute};
use crate::plan::{Draft, Plan, PlanCache, Scope, Selector, ShapeGraph, ShapeKey, macs_by_row};
use crate::profile::{Events, Profile, Profiler, Timings, TraceEvent};
use crate::tune::Tuner;
use crate::turns::Turns;
use crate::weights::Weights;
use crate::{OptimizationLevel, SessionOptions};
use compress_tensor::Tensor;
use onnx_ir::functions::inline_functions;
use onnx_ir::infer::infer_shapes;
use onnx_ir::operator::Catalog;
use onnx_ir::passes::{
    EliminateIdentity, FoldBatchNorm, Pass, PassContext, RewritePass, WidenHalf,
};
use onnx_ir::{Fact, Graph, Model, Value, ValueId};
use runtime_kernels::{Caller, Context, Parallelism};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A model made ready to run. Runs may go on at the same time from several threads; where more call than
/// [`SessionOptions::runs_at_once`], they wait for their turns, so that all take about equally long.
pub struct Session {
    options: SessionOptions,
    catalog: Catalog,
    /// The model as it was given, for taps on values that the passes remove. Weights are kept by the address of the graph
    /// that computes them, so that neither model moves with the session.
    original: Arc<Model>,
    /// The model that runs.
    model: Arc<Model>,
    /// Of a model whose inputs have defaults, which old files list for all weights: the model with them. It runs as a
    /// session of its own once a caller replaces a default, so that others are bound as the constants they are.
    with_defaults: Option<Model>,
    replacing: OnceLock<Box<Session>>,
    weights: Weights,
    /// Of a session whose steps are tuned: what is known of their times.
    tuner: Option<Tuner>,
    context: Context,
    bound: BoundModel,
    /// Drafts in which tapped values exist, by their names; the one used last stands last.
    tapped: Mutex<Vec<(Vec<String>, Arc<BoundModel>)>>,
    profiler: Profiler,
    /// Of runs without taps: a tap may itself wait for another run.
    turns: Turns,
    /// States that no run holds at the moment.
    idle: Mutex<Vec<RunState>>,
}

/// Drafts with tapped values that are kept.
const MAX_TAPPED: usize = 8;

/// A model bound to steps, and its plans so far.
struct BoundModel {
    draft: Draft,
    shapes: ShapeGraph,
    plans: PlanCache,
}

impl Session {
    /// A session for the ONNX file at `path`.
    ///
    /// # Errors
    /// [`SessionError::Load`]; as [`Session::new`].
    pub fn load(path: impl AsRef<Path>, options: &SessionOptions) -> Result<Self, SessionError> {
        Self::new(Model::load(path)?, options)
    }

    /// A session for a model, with the operators of the standard catalog.
    ///
    /// # Errors
    /// [`SessionError`] names the node that cannot be run.
    pub fn new(model: Model, options: &SessionOptions) -> Result<Self, SessionError> {
        Self::with_catalog(model, Catalog::standard().clone(), options)
    }

    /// A session for a model, with the operators of a catalog of your own.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_catalog(
        mut model: Model,
        catalog: Catalog,
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        inline_functions(&mut model)?;
        let fed: Vec<ValueId> = model.graph.required_inputs().collect();
        if fed.len() == model.graph.inputs().len() {
            return Self::of_fed(model, catalog, options);
        }
        let with_defaults = model.clone();
        model.graph.set_inputs(fed);
        Ok(Self {
            with_defaults: Some(with_defaults),
            ..Self::of_fed(model, catalog, options)?
        })
    }

    /// A session that is fed all inputs but those with defaults, which a run may replace.
    fn of_fed(
        mut model: Model,
        catalog: Catalog,
        options: &SessionOptions,
    ) -> Result<Self, SessionError> {
        infer_shapes(&mut model, &catalog)?;
        let original = Arc::new(model.clone());
        if options.optimize >= OptimizationLevel::Full {
            optimize(&mut model, &catalog)?;
        }
        let model = Arc::new(model);
        let context = context(options)?;
        let (profiler, weights) = (Profiler::default(), Weights::default());
        let scope = Scope {
            catalog: &catalog,
            opsets: &model.opsets,
            options,
            profiler: &profiler,
            weights: &weights,
            isa: context.isa,
            planes: None,
            depth: 0,
        };
        let bound = BoundModel {
            draft: Selector::draft(&model.graph, scope, HashMap::new(), &[])?,
            shapes: ShapeGraph::new(&model.graph, &model.opsets, &catalog),
            plans: PlanCache::default(),
        };
        Ok(Self {
            options: options
                .clone()
                .with_parallelism(context.parallelism.clone()),
            bound,
            tapped: Mutex::default(),
            profiler,
            weights,
            tuner: options
                .autotune
                .as_ref()
                .map(|autotune| Tuner::new(autotune, &context)),
            context,
            turns: Turns::new(one_per_core(options.runs_at_once)),
            idle: Mutex::default(),
            catalog,
            original,
            model,
            with_defaults: None,
            replacing: OnceLock::new(),
        })
    }

    /// What a run must be fed: name and declaration of each input without a default.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &Fact)> {
        let graph = &self.model.graph;
        graph
            .required_inputs()
            .map(|id| (graph.name_of(id), &graph.value(id).fact))
    }

    /// Name and inferred declaration of each output.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &Fact)> {
        let graph = &self.model.graph;
        graph
            .outputs()
            .iter()
            .map(|&id| (graph.name_of(id), &graph.value(id).fact))
    }

    /// Runs the model on tensors by input name; gives the outputs in the order of the model.
    ///
    /// # Errors
    /// [`SessionError`]: an input is missing, not known or of a wrong type or shape; a step fails, with its node;
    /// an output is no tensor (see [`Session::run_values`]).
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, SessionError> {
        let mut outputs = Vec::new();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// As [`Session::run`], and puts the outputs in place of what `outputs` holds. Their memory, where nobody else
    /// shares it, is used again: a loop that hands the same vector in for each run allocates nothing once it has run with
    /// inputs of the same shapes. What still allocates: nodes without a kernel, among them those with subgraphs, nodes of more
    /// than eight inputs, bounds of `Slice` in i32, and tensors that lie misaligned.
    ///
    /// ```
    /// # use compress_tensor::{DType, Tensor};
    /// # use onnx_ir::{Fact, Graph, Model, Node};
    /// # use runtime_session::{Session, SessionOptions};
    /// # let mut graph = Graph::new("doubling");
    /// # let x = graph.add_value("x", Fact::tensor(DType::F32, [3usize]))?;
    /// # let y = graph.add_value("y", Fact::Unknown)?;
    /// # graph.add_input(x);
    /// # graph.add_node(Node::new("Add", [x, x], [y]))?;
    /// # graph.add_output(y);
    /// # let session = Session::new(Model::new(graph, 17), &SessionOptions::default())?;
    /// let mut inputs = [("x", Tensor::vector(vec![0.0f32; 3]))];
    /// let mut outputs = Vec::new();
    /// for step in [1.0, 2.0] {
    ///     inputs[0].1.data_mut::<f32>()?.fill(step);
    ///     session.run_into(&inputs, &mut outputs)?;
    ///     assert_eq!(outputs[0].as_slice::<f32>()?, [2.0 * step; 3]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::run`]; `outputs` is then empty.
    pub fn run_into(
        &self,
        inputs: &[(&str, Tensor)],
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), SessionError> {
        if let Some(session) = self.replacing(names(inputs))? {
            return session.run_into(inputs, outputs);
        }
        self.run_bound(&self.bound, inputs, None, outputs)
    }

    /// As [`Session::run`], for models that take or give sequences or optional values too.
    ///
    /// # Errors
    /// As [`Session::run`], but for outputs that are no tensor.
    pub fn run_values<'n>(
        &self,
        inputs: impl IntoIterator<Item = (&'n str, Value)>,
    ) -> Result<Vec<Value>, SessionError> {
        let inputs: Vec<(&str, Value)> = inputs.into_iter().collect();
        if let Some(session) = self.replacing(inputs.iter().map(|(name, _)| *name))? {
            return session.run_values(inputs);
        }
        let caller = self.context.parallelism.caller();
        let _turn = self.turns.take();
        let mut outputs = Vec::new();
        let mut output = |value| {
            outputs.push(value);
            Ok(())
        };
        let state = self.state(&caller);
        self.execute(&self.bound, state, inputs, None, &mut output)?;
        Ok(outputs)
    }

    /// As [`Session::run`], and shows each value named in `names` as soon as it is computed, before its buffer is
    /// used again. Values that are tapped are not fused away; an input or a constant is shown before the first step.
    ///
    /// # Errors
    /// As [`Session::run`]; [`SessionError::UnknownValue`] for a name that the model does not hold.
    pub fn run_with_taps(
        &self,
        inputs: &[(&str, Tensor)],
        names: &[&str],
        mut tap: impl FnMut(&str, &Tensor),
    ) -> Result<Vec<Tensor>, SessionError> {
        if let Some(session) = self.replacing(self::names(inputs))? {
            return session.run_with_taps(inputs, names, tap);
        }
        let (bound, mut outputs) = (self.tapped(names)?, Vec::new());
        self.run_bound(&bound, inputs, Some(&mut tap), &mut outputs)?;
        Ok(outputs)
    }

    /// As [`Session::run`], and gives each step of the run; none unless [`SessionOptions::profile`] is set.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_traced(
        &self,
        inputs: &[(&str, Tensor)],
    ) -> Result<(Vec<Tensor>, Vec<TraceEvent>), SessionError> {
        if let Some(session) = self.replacing(names(inputs))? {
            return session.run_traced(inputs);
        }
        let (events, mut outputs) = (Events::default(), Vec::new());
        let told = Some(Arc::clone(&events));
        self.run_in(&self.bound, inputs, None, told, &mut outputs)?;
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((outputs, self.profiler.named(std::mem::take(&mut events))))
    }

    /// Where the time of the runs so far went; empty unless [`SessionOptions::profile`] is set.
    pub fn profile(&self) -> Profile {
        let mut profile = self.profiler.profile();
        if let Some(session) = self.replacing.get() {
            profile.rows.extend(session.profile().rows);
        }
        profile
    }

    /// The fastest call of each row of the profile.
    pub(crate) fn fastest_by_row(&self) -> Vec<Duration> {
        self.profiler.fastest()
    }

    /// What is constant for these shapes of the inputs.
    fn known_values(&self, bound: &BoundModel, shapes: &ShapeKey) -> HashMap<ValueId, Tensor> {
        if self.options.optimize >= OptimizationLevel::Basic {
            bound.shapes.known_values(shapes, &self.catalog)
        } else {
            HashMap::new()
        }
    }

    /// The session for inputs that replace a default.
    fn replacing<'n>(
        &self,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Result<Option<&Session>, SessionError> {
        let Some(model) = &self.with_defaults else {
            return Ok(None);
        };
        let (graph, fed) = (&model.graph, &self.model.graph);
        let is_input = |graph: &Graph, name: &str| {
            let id = graph.value_by_name(name);
            id.is_some_and(|id| graph.is_input(id))
        };
        if !names.any(|name| is_input(graph, name) && !is_input(fed, name)) {
            return Ok(None);
        }
        if let Some(session) = self.replacing.get() {
            return Ok(Some(session));
        }
        let session = Self::of_fed(model.clone(), self.catalog.clone(), &self.options)?;
        Ok(Some(self.replacing.get_or_init(|| Box::new(session))))
    }

    /// Runs a bound model whose outputs are tensors.
    fn run_bound(
        &self,
        bound: &BoundModel,
        inputs: &[(&str, Tensor)],
        tap: Option<Tap<'_>>,
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), SessionError> {
        self.run_in(bound, inputs, tap, None, outputs)
    }

    /// Runs a bound model; its steps are told to `events`, where a profile is taken.
    fn run_in(
        &self,
        bound: &BoundModel,
        inputs: &[(&str, Tensor)],
        tap: Option<Tap<'_>>,
        events: Option<Events>,
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), SessionError> {
        // Before the turn: whoever waits counts, so that those that run leave each other the cores.
        let caller = self.context.parallelism.caller();
        let _turn = tap.is_none().then(|| self.turns.take());
        let mut state = self.state(&caller);
        if let Some(timings) = &mut state.timings {
            timings.events = events;
        }
        for old in outputs.drain(..) {
            state.memory.recycle(Value::Tensor(old));
        }
        let graph = &self.model.graph;
        let mut output = |value| match value {
            Value::Tensor(tensor) => {
                outputs.push(tensor);
                Ok(())
            }
            other => Err(SessionError::NotATensor {
                name: graph.name_of(graph.outputs()[outputs.len()]).to_owned(),
                kind: other.kind(),
            }),
        };
        let done = self.execute(bound, state, as_values(inputs), tap, &mut output);
        if done.is_err() {
            outputs.clear();
        }
        done
    }

    fn execute<'n>(
        &self,
        bound: &BoundModel,
        mut state: RunState,
        inputs: impl IntoIterator<Item = (&'n str, Value)>,
        tap: Option<Tap<'_>>,
        output: &mut dyn FnMut(Value) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        state.memory.start(self.options.limits);
        let mut feeds = std::mem::take(&mut state.feeds);
        let done = self.feed(inputs, &mut feeds).and_then(|()| {
            let plan = bound
                .plans
                .get(&feeds, self.options.cached_plans, |shapes| {
                    let known = self.known_values(bound, shapes);
                    let mut plan = Plan::lower(&bound.draft, &known);
                    if tap.is_none() && std::ptr::eq(bound, &self.bound) {
                        plan = self.tuned(plan, &known, &feeds, &mut state);
                        state.memory.start(self.options.limits);
                    }
                    if self.options.profile {
                        let shaped = bound.shapes.shaped(shapes, &self.catalog);
                        plan.macs = macs_by_row(&plan, &shaped);
                    }
                    plan
                });
            if let Some(timings) = &mut state.timings {
                timings.macs = plan.macs.clone();
            }
            execute(&plan, feeds.drain(..), &mut state, tap, output)
        });
        feeds.clear();
        state.feeds = feeds;
        state.memory.finish();
        if let Some(timings) = &mut state.timings {
            self.profiler.add(timings);
            timings.events = None;
        }
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(state);
        done
    }

    /// What the graph of a model is compiled with.
    fn scope<'s>(&'s self, model: &'s Model) -> Scope<'s> {
        Scope {
            catalog: &self.catalog,
            opsets: &model.opsets,
            options: &self.options,
            profiler: &self.profiler,
            weights: &self.weights,
            isa: self.context.isa,
            planes: None,
            depth: 0,
        }
    }

    /// The state of a run by this caller.
    fn state(&self, caller: &Caller) -> RunState {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut state = idle.unwrap_or_else(|| RunState {
            context: self.context.clone(),
            timings: self.options.profile.then(Timings::default),
            ..RunState::default()
        });
        state.context.parallelism = caller.parallelism().clone();
        state
    }

    fn tapped(&self, names: &[&str]) -> Result<Arc<BoundModel>, SessionError> {
        let optimized = &self.model.graph;
        let kept = names
            .iter()
            .all(|name| optimized.value_by_name(name).is_some());
        let model = if kept { &self.model } else { &self.original };
        let graph = &model.graph;
        let id_of = |name: &&str| {
            graph
                .value_by_name(name)
                .ok_or_else(|| SessionError::UnknownValue {
                    name: (*name).to_owned(),
                })
        };
        let mut ids = names.iter().map(id_of).collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        ids.dedup();
        let mut key: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        key.sort_unstable();
        key.dedup();
        let lock = || self.tapped.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut tapped = lock();
            if let Some(at) = tapped.iter().position(|(found, _)| *found == key) {
                let found = tapped[at].1.clone();
                tapped[at..].rotate_left(1);
                return Ok(found);
            }
        }
        let made = Arc::new(BoundModel {
            draft: Selector::draft(graph, self.scope(model), HashMap::new(), &ids)?,
            shapes: ShapeGraph::new(graph, &model.opsets, &self.catalog),
            plans: PlanCache::default(),
        });
        // Made without the lock: of two that are made at the same time, one is kept.
        let mut tapped = lock();
        if !tapped.iter().any(|(found, _)| *found == key) {
            if tapped.len() >= MAX_TAPPED {
                tapped.remove(0);
            }
            tapped.push((key, made.clone()));
        }
        Ok(made)
    }
}

/// The instruction set and the threads that the options name.
pub(crate) fn context(options: &SessionOptions) -> Result<Context, SessionError> {
    let context = Context::new(parallelism(options)?);
    Ok(match options.isa {
        Some(isa) => context.with_isa(isa),
        None => context,
    })
}

/// The pool that the options name, or one of their number of threads.
fn parallelism(options: &SessionOptions) -> Result<Parallelism, SessionError> {
    if let Some(shared) = &options.parallelism {
        return Ok(shared.clone());
    }
    Parallelism::with_threads(one_per_core(options.threads)).map_err(SessionError::Threads)
}

/// A number of the options, of which 0 stands for that of the cores that this process may use.
fn one_per_core(number: usize) -> usize {
    match number {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

fn names<'n>(inputs: &[(&'n str, Tensor)]) -> impl Iterator<Item = &'n str> {
    inputs.iter().map(|(name, _)| *name)
}

/// The passes over the graph that a session runs before it binds nodes. What they write into a model's metadata is
/// of no use here, so they run one by one and not as a pipeline.
fn optimize(model: &mut Model, catalog: &Catalog) -> Result<(), SessionError> {
    let passes: [Box<dyn Pass>; 2] = [
        Box::new(WidenHalf),
        Box::new(RewritePass::new(
            "fuse-for-session",
            vec![Box::new(EliminateIdentity), Box::new(FoldBatchNorm)],
        )),
    ];
    for pass in passes {
        let record = pass.run(model, &PassContext { catalog })?;
        if record.changes > 0 {
            infer_shapes(model, catalog)?;
        }
    }
    Ok(())
}

fn as_values<'n>(inputs: &[(&'n str, Tensor)]) -> impl Iterator<Item = (&'n str, Value)> {
    inputs
        .iter()
        .map(|(name, tensor)| (*name, Value::Tensor(tensor.clone())))
}
