//! `modelpress bench`: how fast a model runs.

mod picture;
mod trace;

use crate::arrays::{DimArgs, SampleArgs, as_one};
use crate::context::{Context, load_with_files, peak_rss_bytes};
use crate::error::{Error, Usage};
use crate::numbers::positive;
use crate::outputs::{check_outputs, files_of};
use crate::table::{Align, Table};
use crate::tuning::TuningReport;
use crate::units;
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::ir::dims::{OpenDim, fix_dims, open_dim, open_dims};
use modelpress::ir::{Model, TensorFact};
use modelpress::session::roofline::{Arithmetic, Machine, Prediction};
use modelpress::session::{Latency, MeasureOptions, Profile, ProfileRow, Session, measure};
use modelpress::tensor::{DType, Tensor, element_count, write_atomically};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Measure a model's latency and throughput, and where the time goes.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress bench model.onnx --dim batch=8 --threads 4\n  modelpress bench model.onnx --input x=images.npy --runs 1000\n  modelpress bench model.onnx --predict --trace trace.json --picture layers.svg"
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
    /// Print what the latency model predicts beside what was measured, and how near each layer comes to the roofline. The first
    /// time, this machine is measured for some seconds; the rates are kept in the user's cache folder.
    #[arg(long)]
    predict: bool,
    /// Write one run as a trace of events, for Perfetto or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draw the layers by time, and under the roofline of this machine, which is measured as for --predict, as an SVG.
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
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
    /// With `--predict`.
    predicted: Option<Predicted>,
    /// With `--autotune`.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotune: Option<TuningReport>,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Predicted {
    /// By the sum of arithmetic and movement.
    sum_ms: f64,
    /// By the greater of the two.
    overlapped_ms: f64,
    /// How far the sum is off the measured median, as a part of it: above 0 where it is more.
    error: f64,
    /// Steps that the prediction leaves out.
    unknown_steps: usize,
}

#[derive(Serialize)]
struct Layer {
    node: String,
    op: String,
    kernel: &'static str,
    /// The way in which the kernel computes, where it has several.
    variant: Option<String>,
    mean_ms: f64,
    share: f64,
    /// Multiply-accumulates of a run.
    macs: Option<u64>,
    /// Bytes that a run reads and writes, weights included.
    bytes: u64,
    /// 10⁹ operations per second, a multiply-accumulate as two.
    gflops: Option<f64>,
    /// 10⁹ bytes per second.
    gbytes_per_s: Option<f64>,
    /// The part that is reached of what the machine could do at the layer's intensity; with `--predict` or `--picture`.
    of_roofline: Option<f64>,
}

/// Runs that the profile is the mean of.
const PROFILED_RUNS: usize = 10;

impl Bench {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let (model, weights) = load_with_files(&self.model)?;
        let read = files_of(&self.inputs).chain(weights.iter().map(PathBuf::as_path));
        let written: Vec<&Path> = [&self.trace, &self.picture]
            .into_iter()
            .filter_map(|path| path.as_deref())
            .collect();
        check_outputs(read.chain([self.model.as_path()]), &written)?;
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
        let machine = match self.predict || self.picture.is_some() {
            true => Some(machine(cx)?),
            false => None,
        };
        let predicted = match machine.as_ref().filter(|_| self.predict) {
            Some(machine) => {
                let shapes: Vec<_> = feeds.iter().map(|(n, t)| (*n, t.shape())).collect();
                Some(predicted(&session.predict(machine, &shapes)?, &latency))
            }
            None => None,
        };
        let autotune = TuningReport::of(&session);
        drop(session);
        // Taking the time of each step costs some, so it is done apart.
        let session = Session::new(model, &cx.session_options().with_profile())?;
        for _ in 0..PROFILED_RUNS.min(latency.runs) {
            session.run(&feeds)?;
        }
        let layers = layers(&session.profile(), machine.as_ref());
        if let Some(path) = &self.trace {
            let (_, events) = session.run_traced(&feeds)?;
            write(path, &trace::json(&events)?)?;
        }
        if let (Some(path), Some(machine)) = (&self.picture, &machine) {
            let name = self.model.file_name().unwrap_or_default().to_string_lossy();
            write(path, &picture::svg(&name, &layers, machine))?;
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
            predicted,
            autotune,
            layers,
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
            if let Some(predicted) = &outcome.predicted {
                writeln!(out, "predicted   {}", predicted.text())?;
            }
            TuningReport::print(outcome.autotune.as_ref(), out)?;
            writeln!(out)?;
            print(&outcome.layers, out)
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
fn layers(profile: &Profile, machine: Option<&Machine>) -> Vec<Layer> {
    let total: f64 = profile.rows.iter().map(|r| r.time.as_secs_f64()).sum();
    let row = |row: &ProfileRow| {
        let calls = row.calls.max(1);
        Layer {
            node: row.node.clone(),
            op: row.op.clone(),
            kernel: row.kernel,
            variant: row.variant.clone(),
            mean_ms: units::milliseconds(row.time) / calls as f64,
            share: row.time.as_secs_f64() / total.max(f64::MIN_POSITIVE),
            macs: row.macs.map(|macs| macs / calls),
            bytes: row.bytes_read.saturating_add(row.bytes_written) / calls,
            gflops: row.gflops(),
            gbytes_per_s: row.gbytes_per_second(),
            of_roofline: machine.and_then(|machine| of_roofline(row, machine)),
        }
    };
    let mut layers: Vec<Layer> = profile.rows.iter().map(row).collect();
    layers.sort_by(|a, b| b.share.total_cmp(&a.share));
    layers
}

/// The part that a row reaches of the roof over it.
fn of_roofline(row: &ProfileRow, machine: &Machine) -> Option<f64> {
    let calls = row.calls.max(1);
    let bytes = row.bytes_read.saturating_add(row.bytes_written) / calls;
    let roof = machine.roof(arithmetic(row.kernel), row.macs? / calls, bytes)?;
    Some(row.gflops()? * 1e9 / 2.0 / roof.macs_per_second)
}

/// Which peak a kernel could reach.
fn arithmetic(kernel: &str) -> Arithmetic {
    match kernel.contains("int8") {
        true => Arithmetic::Int8,
        false => Arithmetic::Float,
    }
}

/// The table of the layers; columns of which nothing is known are left out.
fn print(layers: &[Layer], out: &mut dyn Write) -> io::Result<()> {
    type Cell = fn(&Layer) -> Option<String>;
    let mut columns: Vec<((&'static str, Align), Cell)> = vec![
        (("node", Align::Left), |l| Some(l.node.clone())),
        (("operator", Align::Left), |l| Some(l.op.clone())),
        (("kernel", Align::Left), |l| Some(l.kernel.to_owned())),
        (("variant", Align::Left), |l| l.variant.clone()),
        (("time", Align::Right), |l| {
            let seconds = Duration::try_from_secs_f64(l.mean_ms / 1e3);
            Some(units::time(seconds.unwrap_or_default()))
        }),
        (("share", Align::Right), |l| {
            Some(format!("{:.1} %", l.share * 100.0))
        }),
        (("GFLOP/s", Align::Right), |l| {
            l.gflops.map(|n| format!("{n:.1}"))
        }),
        (("GB/s", Align::Right), |l| {
            l.gbytes_per_s.map(|n| format!("{n:.1}"))
        }),
        (("of roofline", Align::Right), |l| {
            l.of_roofline.map(|n| format!("{:.0} %", n * 100.0))
        }),
    ];
    columns.retain(|(_, cell)| layers.iter().any(|layer| cell(layer).is_some()));
    let heads: Vec<(&'static str, Align)> = columns.iter().map(|(head, _)| *head).collect();
    let mut table = Table::new(&heads);
    for layer in layers {
        table.row(
            columns
                .iter()
                .map(|(_, cell)| cell(layer).unwrap_or_default()),
        );
    }
    table.print(out)
}

/// The rates of this machine.
fn machine(cx: &Context) -> Result<Machine, Error> {
    let (machine, kept) = Machine::cached(&cx.session_options())?;
    if let Err(error) = kept {
        eprintln!("note: {error}");
    }
    Ok(machine)
}

fn predicted(prediction: &Prediction, measured: &Latency) -> Predicted {
    let measured = measured.p50.as_secs_f64().max(f64::MIN_POSITIVE);
    Predicted {
        sum_ms: units::milliseconds(prediction.sum),
        overlapped_ms: units::milliseconds(prediction.overlapped),
        error: prediction.sum.as_secs_f64() / measured - 1.0,
        unknown_steps: prediction.unknown,
    }
}

impl Predicted {
    /// As in `1.230 ms (+8 %)`.
    fn text(&self) -> String {
        let time = Duration::try_from_secs_f64(self.sum_ms / 1e3).unwrap_or_default();
        let text = format!("{} ({:+.0} %)", units::time(time), self.error * 100.0);
        match self.unknown_steps {
            0 => text,
            n => format!("{text}, without {n} steps whose work depends on data"),
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_says_how_far_it_is_off() {
        let mut predicted = Predicted {
            sum_ms: 1.23,
            overlapped_ms: 1.0,
            error: 0.082,
            unknown_steps: 0,
        };
        assert_eq!(predicted.text(), "1.230 ms (+8 %)");
        predicted.error = -0.12;
        predicted.unknown_steps = 2;
        assert_eq!(
            predicted.text(),
            "1.230 ms (-12 %), without 2 steps whose work depends on data"
        );
    }
}
