//! `modelpress bench`: how fast a model runs.

use crate::arrays::{DimArgs, SampleArgs, as_one};
use crate::context::{Context, load, peak_rss_bytes};
use crate::error::{Error, Usage};
use crate::numbers::positive;
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::ir::dims::{OpenDim, fix_dims, open_dim, open_dims};
use modelpress::ir::{Model, TensorFact};
use modelpress::session::{MeasureOptions, Profile, Session, measure};
use modelpress::tensor::{DType, Tensor, element_count};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Measure a model's latency and throughput, and where the time goes.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress bench model.onnx --dim batch=8 --threads 4\n  modelpress bench model.onnx --input x=images.npy --runs 1000"
)]
pub(crate) struct Bench {
    /// The ONNX file.
    model: PathBuf,
    /// What feeds an input; made up from the declared shapes unless given.
    #[arg(long = "input", value_name = "NAME=FILE")]
    inputs: Vec<InputSpec>,
    /// Runs that count.
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 200)]
    runs: usize,
    /// Runs before the first one that counts.
    #[arg(long, value_name = "N", default_value_t = 10)]
    warmup: usize,
    /// Stop after this many seconds.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..), default_value_t = 10)]
    max_seconds: u64,
    #[command(flatten)]
    dims: DimArgs,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Serialize)]
struct Outcome {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    mean_ms: f64,
    min_ms: f64,
    runs: usize,
    threads: usize,
    /// Samples per run.
    batch: usize,
    /// Samples per second.
    throughput_per_s: f64,
    /// The sizes that the model leaves open and nobody gave, which were taken as 1.
    taken_as_one: Vec<String>,
    peak_rss_bytes: Option<u64>,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    node: String,
    op: String,
    kernel: &'static str,
    mean_ms: f64,
    share: f64,
}

/// Runs that the profile is the mean of.
const PROFILED_RUNS: usize = 10;

impl Bench {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let model = load(&self.model)?;
        let Feeds {
            inputs,
            batch,
            assumed,
        } = self.inputs(&model)?;
        let feeds: Vec<(&str, Tensor)> = inputs
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.clone()))
            .collect();
        let session = cx.session(model.clone())?;
        let options = MeasureOptions::default()
            .with_runs(self.runs)
            .with_warmup(self.warmup)
            .with_max_time(Duration::from_secs(self.max_seconds));
        let latency = measure(&session, &feeds, &options);
        let latency = latency.map_err(|error| match self.inputs.as_slice() {
            [] => Error::MadeUp {
                error: Box::new(error),
                advice: advice(&inputs, &assumed),
            },
            _ => error.into(),
        })?;
        drop(session);
        // Taking the time of each step costs some, so it is done apart.
        let session = Session::new(model, &cx.session_options().with_profile())?;
        for _ in 0..PROFILED_RUNS.min(latency.runs) {
            session.run(&feeds)?;
        }
        let outcome = Outcome {
            p50_ms: units::milliseconds(latency.p50),
            p95_ms: units::milliseconds(latency.p95),
            p99_ms: units::milliseconds(latency.p99),
            mean_ms: units::milliseconds(latency.mean),
            min_ms: units::milliseconds(latency.min),
            runs: latency.runs,
            threads: cx.threads(),
            batch,
            throughput_per_s: latency.throughput_per_second() * batch as f64,
            taken_as_one: assumed.iter().map(ToString::to_string).collect(),
            peak_rss_bytes: peak_rss_bytes(),
            layers: layers(&session.profile()),
        };
        cx.report(&outcome, |out| {
            for (name, value) in [
                ("p50", latency.p50),
                ("p95", latency.p95),
                ("p99", latency.p99),
                ("mean", latency.mean),
            ] {
                writeln!(out, "{name:<11} {}", units::time(value))?;
            }
            writeln!(out, "runs        {}{}", outcome.runs, as_one(&assumed))?;
            writeln!(out, "threads     {}", outcome.threads)?;
            writeln!(out, "throughput  {:.1} samples/s", outcome.throughput_per_s)?;
            writeln!(out)?;
            let mut table = Table::new(&[
                ("node", Align::Left),
                ("operator", Align::Left),
                ("kernel", Align::Left),
                ("time", Align::Right),
                ("share", Align::Right),
            ]);
            for layer in &outcome.layers {
                table.row([
                    layer.node.clone(),
                    layer.op.clone(),
                    layer.kernel.to_owned(),
                    units::time(Duration::from_secs_f64(layer.mean_ms / 1e3)),
                    format!("{:.1} %", layer.share * 100.0),
                ]);
            }
            table.print(out)
        })
    }

    /// The inputs of one run.
    fn inputs(&self, model: &Model) -> Result<Feeds, Error> {
        if !self.inputs.is_empty() {
            if self.dims.sizes().next().is_some() {
                return Err(Usage::IdleDim.into());
            }
            let data = self.samples.open(model, &self.inputs, 1)?;
            let batch = data.batch_of(0..data.batch().min(data.len()))?;
            return Ok(Feeds {
                inputs: batch.inputs,
                batch: batch.samples.len(),
                assumed: Vec::new(),
            });
        }
        if let Some(flag) = self.samples.only_for_arrays() {
            return Err(Usage::NotForMadeUp { flag }.into());
        }
        let mut model = model.clone();
        fix_dims(&mut model, self.dims.sizes())?;
        if let Some(batch) = self.samples.batch {
            let inputs = model.graph.required_inputs();
            let first = inputs.filter_map(|id| open_dim(&model.graph, id, 0));
            let first: BTreeSet<String> = first.map(|dim| dim.to_string()).collect();
            if first.is_empty() {
                let by_dim = self.dims.sizes().next().is_some();
                return Err(Usage::IdleBatch { by_dim }.into());
            }
            fix_dims(&mut model, first.iter().map(|name| (name.as_str(), batch)))?;
        }
        let graph = &model.graph;
        let mut batch = None;
        let mut inputs = Vec::new();
        let mut room = MAX_BYTES;
        for id in graph.required_inputs() {
            let name = graph.name_of(id);
            let fact = &graph.value(id).fact;
            let tensor = fact.as_tensor().and_then(|fact| made_up(fact, &mut room));
            let tensor = tensor.ok_or_else(|| Error::NotMadeUp {
                name: name.to_owned(),
                declared: fact.to_string(),
            })?;
            batch = batch.or(tensor.shape().first().copied());
            inputs.push((name.to_owned(), tensor));
        }
        Ok(Feeds {
            inputs,
            batch: batch.unwrap_or(1),
            assumed: open_dims(graph),
        })
    }
}

/// What one run is fed.
struct Feeds {
    inputs: Vec<(String, Tensor)>,
    /// The number of samples in it.
    batch: usize,
    /// Dimensions that were taken as 1 because nobody gave their size.
    assumed: Vec<OpenDim>,
}

/// What to give where made-up inputs do not suit the model.
fn advice(inputs: &[(String, Tensor)], assumed: &[OpenDim]) -> String {
    let input = |(name, tensor): &(String, Tensor)| format!("{name} {:?}", tensor.shape());
    let made_up: Vec<String> = inputs.iter().map(input).collect();
    let made_up = made_up.join(", ");
    let first = inputs.first().map_or("NAME", |(name, _)| name.as_str());
    let arrays = format!("feed it arrays with --input {first}=FILE.npy");
    match assumed {
        [] => format!("its inputs were made up ({made_up}): {arrays}"),
        open => {
            let sizes: Vec<String> = open.iter().map(|dim| format!("--dim {dim}=N")).collect();
            let sizes = sizes.join(" ");
            format!(
                "its inputs were made up ({made_up}) with 1 for sizes that it leaves open: give those with {sizes}, or \
                 {arrays}"
            )
        }
    }
}

/// A tensor of the declared type and shape: ones, or for floats evenly spread numbers between −1 and 1; open sizes are 1.
/// `None` where it takes more than `room`, the bytes that are left.
fn made_up(fact: &TensorFact, room: &mut usize) -> Option<Tensor> {
    let size = |dim: &modelpress::ir::Dim| match dim.is_unknown() {
        true => Some(1),
        false => usize::try_from(dim.eval(&|_| Some(1))?).ok(),
    };
    let shape: Vec<usize> = fact
        .shape
        .as_ref()?
        .iter()
        .map(size)
        .collect::<Option<_>>()?;
    let dtype = fact.dtype.unwrap_or(DType::F32);
    let count = element_count(&shape)?;
    let element = match dtype {
        DType::String => size_of::<String>(),
        _ => dtype.bits()?.div_ceil(8).max(size_of::<f32>()),
    };
    *room = room.checked_sub(count.checked_mul(element)?)?;
    if dtype == DType::String {
        return Tensor::from_strings(&shape, vec![String::new(); count]).ok();
    }
    let tensor = if dtype.is_float() {
        // A Weyl sequence: the multiples of an irrational number modulo 2, without a generator's state.
        let golden = 0.618_034f32;
        let spread = (0..count).map(|i| ((i % 65_536) as f32 * golden).fract() * 2.0 - 1.0);
        Tensor::from_vec(&shape, spread.collect()).ok()?
    } else {
        Tensor::full(&shape, 1i8).ok()?
    };
    tensor.cast(dtype, Default::default()).ok()
}

/// Bytes beyond which inputs are not made up: a file may declare anything.
const MAX_BYTES: usize = 4 << 30;

/// Where the time goes, the longest first.
fn layers(profile: &Profile) -> Vec<Layer> {
    let total: f64 = profile.rows.iter().map(|r| r.time.as_secs_f64()).sum();
    let row = |row: &modelpress::session::ProfileRow| Layer {
        node: row.node.clone(),
        op: row.op.clone(),
        kernel: row.kernel,
        mean_ms: units::milliseconds(row.time) / row.calls.max(1) as f64,
        share: row.time.as_secs_f64() / total.max(f64::MIN_POSITIVE),
    };
    let mut layers: Vec<Layer> = profile.rows.iter().map(row).collect();
    layers.sort_by(|a, b| b.share.total_cmp(&a.share));
    layers
}
