//! `modelpress calibrate`: statistics of a model's activations, to be merged and used by `quantize --stats`.

use crate::arrays::SampleArgs;
use crate::calibration::gather;
use crate::context::{Context, load_with_files, peak_rss_bytes};
use crate::error::{Error, Usage};
use crate::outputs::{check_outputs, files_of};
use crate::quantization::QuantizationArgs;
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::quant::graph::Mode;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Gather activation statistics on samples; shards may be calibrated apart and merged by `quantize --stats A B`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress calibrate model.onnx -o shard0.json --calib x=train0.npy --layout nhwc\n  modelpress quantize model.onnx -o int8.onnx --stats shard0.json shard1.json"
)]
pub(crate) struct Calibrate {
    /// The ONNX file.
    model: PathBuf,
    /// The statistics file to write (JSON).
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// What feeds an input: an .npy or .npz file, or NAME=zeros. NAME= may be left out for one input.
    #[arg(long = "calib", value_name = "NAME=FILE", required = true)]
    inputs: Vec<InputSpec>,
    #[command(flatten)]
    quantization: QuantizationArgs,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Serialize)]
struct Outcome {
    samples: usize,
    tensors: usize,
    seconds: f64,
    peak_rss_bytes: Option<u64>,
}

impl Calibrate {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let started = Instant::now();
        if self.quantization.idle_percentile() {
            return Err(Usage::IdlePercentile.into());
        }
        let config = self.quantization.config();
        config.validate()?;
        let outputs = [self.output.as_path()];
        let inputs = files_of(&self.inputs).chain([self.model.as_path()]);
        check_outputs(inputs, &outputs)?;
        let (model, files) = load_with_files(&self.model)?;
        check_outputs(files.iter().map(PathBuf::as_path), &outputs)?;
        let data = self.samples.open(&model, &self.inputs, 1)?;
        let statistics = gather(cx, Mode::Static, &model, &data, &config)?;
        statistics.save(&self.output)?;
        let outcome = Outcome {
            samples: data.len(),
            tensors: statistics.tensors().count(),
            seconds: started.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
        };
        cx.report(&outcome, |out| {
            let (tensors, samples) = (outcome.tensors, outcome.samples);
            let (seconds, file) = (outcome.seconds, self.output.display());
            writeln!(
                out,
                "{tensors} tensors over {samples} samples in {seconds:.2} s -> {file}"
            )
        })
    }
}
