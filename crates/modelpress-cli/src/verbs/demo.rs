//! `modelpress demo`: quantization end to end on an embedded network and dataset.

mod digits;

use crate::calibration::gather;
use crate::context::{Context, bytes_on_disk, load, save};
use crate::error::Error;
use crate::table::{Align, Table};
use crate::units;
use clap::Args;
use modelpress::data::{DataOptions, Dataset, InputSpec, Source};
use modelpress::evaluate::{Accuracy, Classes, classify};
use modelpress::ir::Model;
use modelpress::quant::graph::{Mode, QuantizeConfig, quantize_static};
use modelpress::session::{Latency, MeasureOptions, measure};
use modelpress::tensor::{Tensor, npy, write_atomically};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Quantize an embedded network for handwritten digits, evaluate and measure it; needs no file.
#[derive(Args)]
#[command(
    after_help = "Example:\n  modelpress demo\n\nThe digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning\nRepository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0."
)]
pub(crate) struct Demo {
    /// The folder for models, arrays and report.
    #[arg(long, value_name = "DIR", default_value = "modelpress-demo")]
    output_dir: PathBuf,
}

#[derive(Serialize)]
struct Outcome {
    calibration_samples: usize,
    quantize_seconds: f64,
    layers_quantized: usize,
    skipped: usize,
    same_class: Accuracy,
    models: Vec<Row>,
    threads: usize,
    folder: PathBuf,
}

#[derive(Serialize)]
struct Row {
    model: &'static str,
    file: PathBuf,
    accuracy: Accuracy,
    bytes: u64,
    p50_ms: f64,
    p95_ms: f64,
    batch: usize,
}

/// Samples that quantization is calibrated on: the first of the training part.
const CALIBRATION: usize = 300;
/// Samples per run of the evaluation and of the measurement.
const BATCH: usize = 32;

impl Demo {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let folder = &self.output_dir;
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        let digits = digits::unpack().ok_or(Error::Embedded)?;
        let calibration = folder.join("calibration_x.npy");
        let held_out = folder.join("held_out_x.npy");
        npy::write(&calibration, &digits.images(0..CALIBRATION)?)?;
        npy::write(&held_out, &digits.images(digits::TRAINING..digits.len())?)?;
        let labels = digits.labels(digits::TRAINING..digits.len());
        npy::write(folder.join("held_out_y.npy"), &labels)?;

        let float_file = folder.join("float.onnx");
        let model = Model::load_bytes(digits::NETWORK.into(), None);
        let model = model.map_err(|source| Error::Load {
            path: "digits_cnn.onnx".into(),
            source,
        })?;
        save(&model, &float_file)?;

        let started = Instant::now();
        let config = QuantizeConfig::default();
        let data = open(&model, &calibration, 1)?;
        let statistics = gather(cx, Mode::Static, &model, &data, &config)?;
        let (quantized, report) = quantize_static(&model, &statistics, &config)?;
        let int8_file = folder.join("int8.onnx");
        save(&quantized, &int8_file)?;
        let quantize_seconds = started.elapsed().as_secs_f64();

        let (float, float_classes) = self.judge(cx, "float", float_file, &held_out, &labels)?;
        let (int8, int8_classes) = self.judge(cx, "int8", int8_file, &held_out, &labels)?;
        let outcome = Outcome {
            calibration_samples: data.len(),
            quantize_seconds,
            layers_quantized: report.layers.len(),
            skipped: report.skipped.len(),
            same_class: int8_classes.agree(&float_classes)?,
            models: vec![float, int8],
            threads: cx.threads(),
            folder: folder.clone(),
        };
        self.write_report(&outcome)?;
        cx.report(&outcome, |out| {
            outcome.table().print(out)?;
            writeln!(out)?;
            writeln!(out, "{}", outcome.summary())?;
            let (folder, scale) = (folder.display(), 1.0 / f64::from(digits::WHITEST));
            writeln!(out, "models, arrays and report: {folder}")?;
            writeln!(
                out,
                "to go on (pixels are from 0 to {}, the network takes 0 to 1): modelpress eval {folder}/int8.onnx --input \
                 {folder}/held_out_x.npy --labels {folder}/held_out_y.npy --scale {scale}",
                digits::WHITEST
            )
        })
    }

    /// Accuracy, bytes and latency of a saved model.
    fn judge(
        &self,
        cx: &Context,
        name: &'static str,
        file: PathBuf,
        images: &Path,
        labels: &Tensor,
    ) -> Result<(Row, Classes), Error> {
        let model = load(&file)?;
        let data = open(&model, images, BATCH)?;
        let session = cx.session(model)?;
        let mut progress = cx.progress(name, data.len());
        let classes = classify(&session, &data, None, |n| progress.add(n))?;
        let accuracy = classes.score(labels)?;
        let batch = data.batch_of(0..BATCH.min(data.len()))?;
        let latency: Latency = measure(&session, &batch.feeds(), &MeasureOptions::default())?;
        let row = Row {
            model: name,
            bytes: bytes_on_disk(&file)?,
            file,
            accuracy,
            p50_ms: units::milliseconds(latency.p50),
            p95_ms: units::milliseconds(latency.p95),
            batch: batch.samples.len(),
        };
        Ok((row, classes))
    }

    fn write_report(&self, outcome: &Outcome) -> Result<(), Error> {
        let json = self.output_dir.join("report.json");
        write_atomically(&json, |file| {
            serde_json::to_writer_pretty(file, outcome).map_err(std::io::Error::from)
        })
        .map_err(Error::file(&json))?;
        let markdown = self.output_dir.join("report.md");
        let text = outcome.markdown();
        write_atomically(&markdown, |file| file.write_all(text.as_bytes()))
            .map_err(Error::file(&markdown))
    }
}

fn open(model: &Model, images: &Path, batch: usize) -> Result<Dataset, Error> {
    let input = InputSpec {
        name: None,
        source: Source::File(images.to_owned()),
    };
    let mut options = DataOptions::default();
    options.preferred_batch = batch;
    options.preprocess.scale = Some(1.0 / f64::from(digits::WHITEST));
    Ok(Dataset::open(model, &[input], &options)?)
}

impl Outcome {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("top-1 [95 %]", Align::Right),
            ("n", Align::Right),
            ("bytes", Align::Right),
            ("p50", Align::Right),
            ("p95", Align::Right),
        ]);
        let ms = |ms: f64| units::time(std::time::Duration::from_secs_f64(ms / 1e3));
        for row in &self.models {
            table.row([
                row.model.to_owned(),
                units::share(row.accuracy.value, row.accuracy.ci95),
                row.accuracy.n.to_string(),
                units::bytes(row.bytes),
                ms(row.p50_ms),
                ms(row.p95_ms),
            ]);
        }
        table
    }

    fn summary(&self) -> String {
        let batch = self.models.first().map_or(0, |row| row.batch);
        format!(
            "{} layers quantized on {} samples in {:.2} s; the same class on {}; latency of {batch} images, \
             {} threads",
            self.layers_quantized,
            self.calibration_samples,
            self.quantize_seconds,
            units::share(self.same_class.value, self.same_class.ci95),
            self.threads
        )
    }

    fn markdown(&self) -> String {
        format!(
            "# Handwritten digits, float and int8\n\n{}\n{}.\n\nThe images were not seen in training. To go \
             on:\n\n```sh\nmodelpress inspect int8.onnx\nmodelpress quantize float.onnx -o mine.onnx --calib calibration_x.npy --scale {scale}\nmodelpress eval int8.onnx --input held_out_x.npy --scale {scale} --labels \
             held_out_y.npy --reference float.onnx\nmodelpress compare float.onnx int8.onnx --input \
             held_out_x.npy --scale {scale}\n```\n\nData: E. Alpaydin and C. Kaynak, Optical Recognition of \
             Handwritten Digits, UCI Machine Learning Repository, 1998, <https://doi.org/10.24432/C50P49>, CC BY \
             4.0.\n",
            self.table().markdown(),
            self.summary(),
            scale = 1.0 / f64::from(digits::WHITEST)
        )
    }
}
