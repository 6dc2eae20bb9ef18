//! Gathering statistics by running the model: streaming, several samples at a time.

use super::calibrate::{Calibration, fingerprint};
use super::codes::Inputs;
use super::config::{Mode, QuantizeConfig, Rounding};
use super::dynamic::is_unasked;
use super::error::{CalibrationError, QuantizeError};
use super::inputs::Gathering;
use super::plan::Plan;
use super::prepare::prepare;
use super::select::{Bias, is_product, select_in};
use crate::TensorStats;
use crate::observer::Moments;
use compress_tensor::{DType, Tensor};
use onnx_ir::{Graph, Model};
use runtime_session::{Session, SessionOptions, TapOrder};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The inputs of one run, by name.
pub type Sample = Vec<(String, Tensor)>;

/// Runs the model on `samples` and gathers the statistics that `config.method` needs of every tensor that
/// `config` quantizes.
///
/// As many samples as there are threads are in memory at a time; the result's size does not depend on their
/// number, and the result itself not on the number of threads. Shards may be calibrated apart and merged.
///
/// # Errors
/// [`CalibrationError`] names the first sample that failed and the tensor.
pub fn calibrate<E, I>(
    model: &Model,
    samples: I,
    config: &QuantizeConfig,
    options: &SessionOptions,
) -> Result<Calibration, CalibrationError>
where
    E: std::fmt::Display,
    I: IntoIterator<Item = Result<Sample, E>>,
    I::IntoIter: Send,
{
    calibrate_for(Mode::Static, model, samples, config, options)
}

/// As [`calibrate`], for any mode: all but static quantization read nothing but what
/// [`Rounding::Calibrated`] rounds weights to, and that alone is gathered for them, whatever `config.rounding`.
///
/// # Errors
/// [`CalibrationError`] names the first sample that failed and the tensor.
pub fn calibrate_for<E, I>(
    mode: Mode,
    model: &Model,
    samples: I,
    config: &QuantizeConfig,
    options: &SessionOptions,
) -> Result<Calibration, CalibrationError>
where
    E: std::fmt::Display,
    I: IntoIterator<Item = Result<Sample, E>>,
    I::IntoIter: Send,
{
    let prepared = prepare(model).map_err(Box::new)?;
    let fingerprint = fingerprint(&prepared);
    let Wanted {
        names,
        empty,
        inputs,
    } = Wanted::of(mode, &prepared, config).map_err(Box::new)?;
    let samples = samples.into_iter();
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    // Whole samples keep more threads busy than the steps of one; with few samples it is the other way round.
    let few = samples.size_hint().1.is_some_and(|n| n < 2 * threads);
    let workers = if few { 1 } else { threads };
    let mut options = options.clone();
    options.threads = if few { threads } else { 1 };
    // Each sample runs once: plans of past shapes would only take memory.
    options.cached_plans = workers;
    // What is seen does not hang on the tiles that a machine prefers.
    options.winograd = false;
    options.fft = false;
    // Statistics do not ask where a value stands; the pieces of images that weights are rounded to do.
    if inputs.is_none() {
        options.tap_order = TapOrder::Memory;
    }
    let session = Session::new(prepared, &options).map_err(Box::new)?;
    let mut taps: Vec<&str> = names.iter().map(String::as_str).collect();
    let others = inputs.iter().flat_map(Gathering::values);
    let others: Vec<String> = others
        .filter(|v| !taps.contains(v))
        .map(str::to_owned)
        .collect();
    taps.extend(others.iter().map(String::as_str));
    let run = Run {
        session: &session,
        names: &names,
        taps,
        samples: Mutex::new(samples.enumerate()),
        ordered: Mutex::new(Ordered::new(names.len())),
        moved_on: Condvar::new(),
        workers,
        inputs,
        failed: Mutex::new(None),
    };
    let mut gathered = run.on(workers, &empty);
    if let Some((_, error)) = lock(&run.failed).take() {
        return Err(error);
    }
    let ordered = lock(&run.ordered);
    if ordered.next == 0 {
        return Err(CalibrationError::NoSamples);
    }
    for (stats, sums) in gathered.iter_mut().zip(&ordered.sums) {
        stats.merge(sums);
    }
    drop(ordered);
    let inputs = run.inputs.map(Gathering::finish);
    let tensors = names.iter().cloned().zip(gathered).collect();
    Ok(Calibration::new(fingerprint, tensors, inputs))
}

/// What a calibration gathers.
struct Wanted {
    /// Values whose statistics are gathered, and these as they start.
    names: Vec<String>,
    empty: Vec<TensorStats>,
    /// What layers read.
    inputs: Option<Gathering>,
}

impl Wanted {
    fn of(mode: Mode, prepared: &Model, config: &QuantizeConfig) -> Result<Self, QuantizeError> {
        let graph = &prepared.graph;
        if mode == Mode::Static {
            let plan = Plan::of(prepared, config)?;
            let (names, empty) = statistics(graph, &plan, config);
            let calibrated = config.rounding == Rounding::Calibrated;
            return Ok(Self {
                names,
                empty,
                inputs: calibrated.then(|| Gathering::of(graph, &plan.selection, Inputs::Given)),
            });
        }
        let mut selection = select_in(prepared, config, Bias::Float)?;
        selection.roles.retain(|&id, _| match mode {
            Mode::Dynamic => !is_unasked(graph.node(id), config),
            Mode::Blocks => is_product(graph.node(id)),
            Mode::Static | Mode::Weights => true,
        });
        let read = match mode {
            Mode::Dynamic => Inputs::Dynamic,
            _ => Inputs::Given,
        };
        Ok(Self {
            names: Vec::new(),
            empty: Vec::new(),
            inputs: Some(Gathering::of(graph, &selection, read)),
        })
    }
}

/// The names of the values that are quantized, and statistics of each before the first sample.
fn statistics(
    graph: &Graph,
    plan: &Plan,
    config: &QuantizeConfig,
) -> (Vec<String>, Vec<TensorStats>) {
    let each = plan.quantized.keys().map(|&value| {
        let mut stats = TensorStats::new();
        if !config.method.needs_histogram() {
            stats = stats.without_histogram();
        }
        // Only a model's inputs may keep a grid of their own.
        if !graph.is_input(value) {
            stats = stats.without_levels();
        }
        (graph.name_of(value).to_owned(), stats)
    });
    each.unzip()
}

/// What the workers of one calibration share.
struct Run<'a, S> {
    session: &'a Session,
    /// Values whose statistics are gathered.
    names: &'a [String],
    /// These, and what else is looked at.
    taps: Vec<&'a str>,
    samples: Mutex<S>,
    ordered: Mutex<Ordered>,
    /// A sample ended, or failed.
    moved_on: Condvar,
    workers: usize,
    inputs: Option<Gathering>,
    /// The failure of the earliest sample.
    failed: Mutex<Option<(usize, CalibrationError)>>,
}

impl<S, E> Run<'_, S>
where
    S: Iterator<Item = (usize, Result<Sample, E>)> + Send,
    E: std::fmt::Display,
{
    /// All that does not depend on the order of samples, over all of them.
    fn on(&self, workers: usize, empty: &[TensorStats]) -> Vec<TensorStats> {
        if workers == 1 {
            return self.work(empty.to_vec());
        }
        let parts: Vec<_> = std::thread::scope(|scope| {
            let start = |_| scope.spawn(|| self.work(empty.to_vec()));
            let started: Vec<_> = (0..workers).map(start).collect();
            let finish = |h: std::thread::ScopedJoinHandle<'_, _>| match h.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            started.into_iter().map(finish).collect()
        });
        let mut all = empty.to_vec();
        for part in parts {
            for (sum, stats) in all.iter_mut().zip(&part) {
                sum.merge(stats);
            }
        }
        all
    }

    /// Takes sample after sample until there is none, or one failed.
    fn work(&self, mut stats: Vec<TensorStats>) -> Vec<TensorStats> {
        while lock(&self.failed).is_none() {
            let next = lock(&self.samples).next();
            let Some((index, sample)) = next else { break };
            if !self.may_start(index) {
                break;
            }
            let leaving = Leaving(self);
            match self.sample(index, sample, &mut stats) {
                Ok(moments) => lock(&self.ordered).add(index, moments),
                Err(error) => {
                    // Samples are taken in order, so all before this one are under way and may still fail.
                    let mut failed = lock(&self.failed);
                    if failed
                        .as_ref()
                        .is_none_or(|(earliest, _)| index < *earliest)
                    {
                        *failed = Some((index, error));
                    }
                }
            }
            drop(leaving);
        }
        stats
    }

    /// Waits until no more than one sample for each worker stands between this one and the earliest that has not
    /// ended; false where that will not come, as an earlier one failed.
    fn may_start(&self, index: usize) -> bool {
        let mut ordered = lock(&self.ordered);
        while index >= ordered.next + self.workers && !ordered.over {
            if lock(&self.failed).as_ref().is_some_and(|(f, _)| *f < index) {
                return false;
            }
            ordered = self
                .moved_on
                .wait(ordered)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !ordered.over
    }

    fn sample(
        &self,
        index: usize,
        sample: Result<Sample, E>,
        stats: &mut [TensorStats],
    ) -> Result<Vec<Option<Moments>>, CalibrationError> {
        let mut layers = self.inputs.as_ref().map(|inputs| inputs.sample(index));
        let sample = sample.map_err(|e| CalibrationError::Sample {
            sample: index,
            message: e.to_string(),
        })?;
        let inputs: Vec<(&str, Tensor)> = sample
            .iter()
            .map(|(n, t)| (n.as_str(), t.clone()))
            .collect();
        let mut moments = vec![None; stats.len()];
        let mut failed = None;
        let tap = |name: &str, tensor: &Tensor| {
            if let Some(layers) = &mut layers {
                layers.see(name, tensor);
            }
            let at = self.names.iter().position(|n| *n == name);
            let (Some(at), DType::F32) = (at, tensor.dtype()) else {
                return;
            };
            let seen = tensor.data::<f32>().map_err(Into::into);
            match seen.and_then(|values| stats[at].observe_but_moments(&values)) {
                Ok(found) => moments[at] = found,
                Err(error) => drop(failed.get_or_insert((name.to_owned(), error))),
            }
        };
        let ran = self.session.run_with_taps(&inputs, &self.taps, tap);
        ran.map_err(|error| CalibrationError::Run {
            sample: index,
            error: Box::new(error),
        })?;
        if let Some((tensor, error)) = failed {
            return Err(CalibrationError::Observe {
                sample: index,
                tensor,
                error,
            });
        }
        if let Some(layers) = layers {
            layers.end();
        }
        Ok(moments)
    }
}

/// Wakes those that wait for a sample, whether it ended, failed or panicked.
struct Leaving<'a, 'b, S>(&'a Run<'b, S>);

impl<S> Drop for Leaving<'_, '_, S> {
    fn drop(&mut self) {
        lock(&self.0.ordered).over |= std::thread::panicking();
        self.0.moved_on.notify_all();
    }
}

/// Sums of floats, which depend on the order: added up in the order of the samples, whichever ends first.
struct Ordered {
    next: usize,
    /// Samples that ended before an earlier one; never more than there are workers.
    waiting: BTreeMap<usize, Vec<Option<Moments>>>,
    sums: Vec<TensorStats>,
    /// A worker panicked: its sample will not end.
    over: bool,
}

impl Ordered {
    fn new(tensors: usize) -> Self {
        Self {
            next: 0,
            waiting: BTreeMap::new(),
            sums: vec![TensorStats::new(); tensors],
            over: false,
        }
    }

    fn add(&mut self, index: usize, moments: Vec<Option<Moments>>) {
        self.waiting.insert(index, moments);
        while let Some(moments) = self.waiting.remove(&self.next) {
            self.next += 1;
            for (sum, moments) in self.sums.iter_mut().zip(moments) {
                if let Some(moments) = moments {
                    sum.add_moments(moments);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
