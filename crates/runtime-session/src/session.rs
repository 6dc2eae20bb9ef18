//! The session: a model made ready to run.

use crate::error::SessionError;
use crate::execute::{RunState, Tap, execute};
use crate::plan::{Draft, Plan, PlanCache, Scope, Selector, ShapeGraph};
use crate::profile::{Profile, Profiler, Timings};
use crate::weights::Weights;
use crate::{OptimizationLevel, SessionOptions};
use compress_tensor::{DType, Tensor};
use onnx_ir::functions::inline_functions;
use onnx_ir::infer::infer_shapes;
use onnx_ir::operator::Catalog;
use onnx_ir::passes::{EliminateIdentity, FoldBatchNorm, Pass, PassContext, RewritePass};
use onnx_ir::{Dim, Fact, Graph, Model, Value, ValueId};
use runtime_kernels::{Context, Parallelism};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A model made ready to run. Runs may go on at the same time from several threads.
pub struct Session {
    options: SessionOptions,
    catalog: Catalog,
    /// The model as it was given, for taps on values that the passes remove.
    original: Model,
    /// The model that runs.
    model: Model,
    /// Of a model whose inputs have defaults, which old files list for all weights: the model with them. It runs as a
    /// session of its own once a caller replaces a default, so that others are bound as the constants they are.
    with_defaults: Option<Model>,
    replacing: OnceLock<Box<Session>>,
    weights: Weights,
    context: Context,
    shapes: ShapeGraph,
    draft: Draft,
    plans: PlanCache,
    /// Drafts in which tapped values exist, by their names.
    tapped: Mutex<Vec<(Vec<String>, Arc<TappedDraft>)>>,
    profiler: Profiler,
    /// States that no run holds at the moment.
    idle: Mutex<Vec<RunState>>,
}

/// A draft in which some values exist that fusion would otherwise remove.
struct TappedDraft {
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
        let original = model.clone();
        if options.optimize >= OptimizationLevel::Full {
            optimize(&mut model, &catalog)?;
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let parallelism = Parallelism::with_threads(threads).map_err(SessionError::Threads)?;
        let context = Context::new(parallelism);
        let context = match options.isa {
            Some(isa) => context.with_isa(isa),
            None => context,
        };
        let (profiler, weights) = (Profiler::default(), Weights::default());
        let scope = Scope {
            catalog: &catalog,
            opsets: &model.opsets,
            options,
            profiler: &profiler,
            weights: &weights,
            isa: context.isa,
            depth: 0,
        };
        let draft = Selector::draft(&model.graph, scope, HashMap::new(), &[])?;
        let shapes = ShapeGraph::new(&model.graph, &model.opsets, &catalog);
        Ok(Self {
            options: options.clone(),
            shapes,
            draft,
            plans: PlanCache::default(),
            tapped: Mutex::default(),
            profiler,
            weights,
            context,
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
        self.tensors(self.run_values(as_values(inputs))?)
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
        let feeds = self.feeds(inputs)?;
        self.execute(&self.draft, &self.shapes, &self.plans, feeds, None)
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
        if let Some(session) = self.replacing(inputs.iter().map(|(name, _)| *name))? {
            return session.run_with_taps(inputs, names, tap);
        }
        let feeds = self.feeds(as_values(inputs))?;
        let tapped = self.tapped_draft(names)?;
        let outputs = self.execute(
            &tapped.draft,
            &tapped.shapes,
            &tapped.plans,
            feeds,
            Some(&mut tap),
        );
        self.tensors(outputs?)
    }

    /// Where the time of the runs so far went; empty unless [`SessionOptions::profile`] is set.
    pub fn profile(&self) -> Profile {
        let mut profile = self.profiler.profile();
        if let Some(session) = self.replacing.get() {
            profile.rows.extend(session.profile().rows);
        }
        profile
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

    fn execute(
        &self,
        draft: &Draft,
        shape_graph: &ShapeGraph,
        plans: &PlanCache,
        feeds: Vec<Option<Value>>,
        tap: Option<Tap<'_>>,
    ) -> Result<Vec<Value>, SessionError> {
        let key = feeds.iter().map(|value| {
            let tensor = value.as_ref()?.as_tensor()?;
            Some((tensor.dtype(), tensor.shape().to_vec()))
        });
        let plan = plans.get(key.collect(), self.options.cached_plans, |shapes| {
            let known = if self.options.optimize >= OptimizationLevel::Basic {
                shape_graph.known_values(shapes, &self.catalog)
            } else {
                HashMap::new()
            };
            Plan::lower(draft, &known)
        });
        let mut state = self.state();
        state.memory.start(self.options.limits);
        let outputs = execute(&plan, feeds, &mut state, tap);
        state.memory.finish();
        if let Some(timings) = &mut state.timings {
            self.profiler.add(timings);
        }
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(state);
        outputs
    }

    fn state(&self) -> RunState {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.unwrap_or_else(|| RunState {
            context: self.context.clone(),
            timings: self.options.profile.then(Timings::default),
            ..RunState::default()
        })
    }

    fn tapped_draft(&self, names: &[&str]) -> Result<Arc<TappedDraft>, SessionError> {
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
        let mut tapped = self.tapped.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = tapped.iter().find(|(found, _)| *found == key) {
            return Ok(found.clone());
        }
        let scope = Scope {
            catalog: &self.catalog,
            opsets: &model.opsets,
            options: &self.options,
            profiler: &self.profiler,
            weights: &self.weights,
            isa: self.context.isa,
            depth: 0,
        };
        let made = Arc::new(TappedDraft {
            draft: Selector::draft(graph, scope, HashMap::new(), &ids)?,
            shapes: ShapeGraph::new(graph, &model.opsets, &self.catalog),
            plans: PlanCache::default(),
        });
        tapped.push((key, made.clone()));
        Ok(made)
    }

    /// The values of the graph's inputs, in order; defaults where nothing was given.
    fn feeds<'n>(
        &self,
        inputs: impl IntoIterator<Item = (&'n str, Value)>,
    ) -> Result<Vec<Option<Value>>, SessionError> {
        let graph = &self.model.graph;
        let ids = graph.inputs();
        let mut feeds = vec![None; ids.len()];
        for (name, value) in inputs {
            let at = ids.iter().position(|&id| graph.name_of(id) == name);
            let at = at.ok_or_else(|| SessionError::UnknownInput {
                name: name.to_owned(),
                known: ids.iter().map(|&id| graph.name_of(id).to_owned()).collect(),
            })?;
            check_input(name, &graph.value(ids[at]).fact, &value)?;
            let value = match value {
                Value::Tensor(tensor) => Value::Tensor(tensor.to_aligned()),
                other => other,
            };
            // A file may list an input twice.
            for (_, feed) in ids.iter().zip(&mut feeds).filter(|(id, _)| **id == ids[at]) {
                *feed = Some(value.clone());
            }
        }
        for (feed, &id) in feeds.iter_mut().zip(ids) {
            if feed.is_none() {
                let default = graph
                    .initializer(id)
                    .map(Tensor::to_aligned)
                    .map(Value::Tensor);
                *feed = Some(default.ok_or_else(|| SessionError::MissingInput {
                    name: graph.name_of(id).to_owned(),
                })?);
            }
        }
        Ok(feeds)
    }

    fn tensors(&self, values: Vec<Value>) -> Result<Vec<Tensor>, SessionError> {
        let graph = &self.model.graph;
        let tensor = |(value, &id): (Value, &ValueId)| match value {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(SessionError::NotATensor {
                name: graph.name_of(id).to_owned(),
                kind: other.kind(),
            }),
        };
        values
            .into_iter()
            .zip(graph.outputs())
            .map(tensor)
            .collect()
    }
}

/// The passes over the graph that a session runs before it binds nodes. What they write into a model's metadata is
/// of no use here, so they run one by one and not as a pipeline.
fn optimize(model: &mut Model, catalog: &Catalog) -> Result<(), SessionError> {
    let passes: [Box<dyn Pass>; 1] = [Box::new(RewritePass::new(
        "fuse-for-session",
        vec![Box::new(EliminateIdentity), Box::new(FoldBatchNorm)],
    ))];
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

/// Checks a value against the declaration of an input; symbolic dimensions take any size.
fn check_input(name: &str, declared: &Fact, value: &Value) -> Result<(), SessionError> {
    let (Fact::Tensor(fact), Value::Tensor(tensor)) = (declared, value) else {
        return Ok(());
    };
    let dtype_fits = fact.dtype.is_none_or(|d| d == tensor.dtype());
    let fits = |(dim, &size): (&Dim, &usize)| dim.as_size().is_none_or(|d| d == size);
    let shape_fits = fact.shape.as_ref().is_none_or(|dims| {
        dims.len() == tensor.rank() && dims.iter().zip(tensor.shape()).all(fits)
    });
    if dtype_fits && shape_fits {
        return Ok(());
    }
    Err(SessionError::WrongInput {
        name: name.to_owned(),
        expected: fact.to_string(),
        found: describe(tensor.dtype(), tensor.shape()),
    })
}

fn describe(dtype: DType, shape: &[usize]) -> String {
    Fact::tensor(dtype, shape.iter().copied()).to_string()
}
