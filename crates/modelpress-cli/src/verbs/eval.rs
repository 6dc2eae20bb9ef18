//! `modelpress eval`: how right a model is on labelled samples.

use crate::arrays::SampleArgs;
use crate::context::{Context, load};
use crate::error::{Error, Usage};
use crate::outputs::{check_outputs, files_of};
use crate::tuning::TuningReport;
use crate::units;
use clap::{Args, ValueEnum};
use modelpress::data::InputSpec;
use modelpress::evaluate::{Accuracy, ScoreError, classify, cosine, embed, spearman};
use modelpress::tensor::{Tensor, npy};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The vectors of two sentences.
type Pair = (Vec<f64>, Vec<f64>);

/// Score a model on labelled samples, with the sample count and a 95 % confidence interval.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  modelpress eval model.onnx --input x=test_x.npy --labels test_y.npy\n  modelpress eval int8.onnx --input x=test_x.npy --labels test_y.npy --reference float.onnx\n  modelpress eval encoder.onnx --metric spearman-cosine --labels score.npy --trim attention_mask \\\n    --input input_ids=ids1.npy --input attention_mask=mask1.npy --input token_type_ids=zeros \\\n    --input-b input_ids=ids2.npy --input-b attention_mask=mask2.npy --input-b token_type_ids=zeros"
)]
pub(crate) struct Eval {
    /// The ONNX file.
    model: PathBuf,
    /// What feeds an input: an .npy or .npz file, or NAME=zeros. NAME= may be left out for one input.
    #[arg(long = "input", value_name = "NAME=FILE", required = true)]
    inputs: Vec<InputSpec>,
    /// What feeds the inputs for the second sentence of each pair.
    #[arg(long = "input-b", value_name = "NAME=FILE")]
    second: Vec<InputSpec>,
    /// The labels: a class (top1) or a similarity (spearman-cosine) per sample.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// The score.
    #[arg(long, value_enum, default_value = "top1")]
    metric: Metric,
    /// The output that is scored; the first one unless given.
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// The input that weights tokens when a sentence's vector is their mean.
    #[arg(long, value_name = "NAME", default_value = "attention_mask")]
    mask: String,
    /// Also run this model and report how far the two agree: share of equal classes, or mean cosine of vectors.
    #[arg(long, value_name = "MODEL")]
    reference: Option<PathBuf>,
    /// Write the predicted class (top1; -1 for a sample whose scores are all NaN) or the cosine (spearman-cosine) of each sample to this .npy file.
    #[arg(long, value_name = "FILE")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Metric {
    /// Share of samples whose largest score is at the label.
    Top1,
    /// Rank correlation of the labels with the cosine of two mean-pooled sentence vectors.
    SpearmanCosine,
}

#[derive(Serialize)]
struct Outcome {
    metric: &'static str,
    value: f64,
    n: usize,
    ci95: [f64; 2],
    predictions_file: Option<PathBuf>,
    agreement: Option<Agreement>,
    /// Samples without a class: all their scores are NaN.
    without_class: usize,
    /// With `--autotune`; of the model that is scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotune: Option<TuningReport>,
}

#[derive(Serialize)]
struct Agreement {
    metric: &'static str,
    value: f64,
    n: usize,
    /// Null for a mean, which has no interval here.
    ci95: Option<[f64; 2]>,
}

/// Samples per run unless the user asks for another number.
const BATCH: usize = 32;

impl Eval {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        if let Some(path) = &self.predictions {
            let models = [&self.model, &self.labels]
                .into_iter()
                .chain(&self.reference);
            let arrays = files_of(&self.inputs).chain(files_of(&self.second));
            check_outputs(models.map(PathBuf::as_path).chain(arrays), &[path])?;
        }
        let outcome = match self.metric {
            Metric::Top1 => self.top1(cx)?,
            Metric::SpearmanCosine => self.spearman(cx)?,
        };
        cx.report(&outcome, |out| {
            let (value, n) = (outcome.value, outcome.n);
            match self.metric {
                Metric::Top1 => {
                    writeln!(
                        out,
                        "top-1     {} (n = {n})",
                        units::share(value, outcome.ci95)
                    )?;
                }
                Metric::SpearmanCosine => {
                    let [low, high] = outcome.ci95;
                    writeln!(out, "Spearman  {value:.4} [{low:.4}, {high:.4}] (n = {n})")?;
                }
            }
            if outcome.without_class > 0 {
                let without = outcome.without_class;
                writeln!(
                    out,
                    "note: {without} samples have no class: all their scores are NaN"
                )?;
            }
            match &outcome.agreement {
                Some(Agreement {
                    value,
                    ci95: Some(ci95),
                    ..
                }) => writeln!(out, "agreement {}", units::share(*value, *ci95))?,
                Some(Agreement { value, .. }) => {
                    writeln!(out, "agreement {value:.4} (mean cosine)")?
                }
                None => {}
            }
            TuningReport::print(outcome.autotune.as_ref(), out)
        })
    }

    fn top1(&self, cx: &Context) -> Result<Outcome, Error> {
        let classes_of = |path: &Path| {
            let model = load(path)?;
            let data = self.samples.open(&model, &self.inputs, BATCH)?;
            let session = cx.session(model)?;
            let mut progress = cx.progress("eval", data.len());
            let output = self.output.as_deref();
            let classes = classify(&session, &data, output, |n| progress.add(n))?;
            Ok::<_, Error>((classes, TuningReport::of(&session)))
        };
        let labels = npy::read(&self.labels)?;
        let (classes, autotune) = classes_of(&self.model)?;
        let Accuracy { value, n, ci95 } = classes.score(&labels).map_err(self.labels_error())?;
        let agreement = match &self.reference {
            Some(path) => {
                let agreement = classes.agree(&classes_of(path)?.0)?;
                Some(Agreement {
                    metric: "same-class",
                    value: agreement.value,
                    n: agreement.n,
                    ci95: Some(agreement.ci95),
                })
            }
            None => None,
        };
        self.write_predictions(&classes.to_tensor())?;
        let without_class = classes.as_slice().iter().filter(|&&c| c < 0).count();
        Ok(Outcome {
            autotune,
            without_class,
            metric: "top1",
            value,
            n,
            ci95,
            predictions_file: self.predictions.clone(),
            agreement,
        })
    }

    fn spearman(&self, cx: &Context) -> Result<Outcome, Error> {
        if self.second.is_empty() {
            return Err(Usage::NoSecondSentence.into());
        }
        let labels = npy::read(&self.labels)?.to_f64_vec();
        let labels = labels.map_err(|e| self.labels_error()(e.into()))?;
        let (pairs, autotune) = self.vectors(cx, &self.model)?;
        let cosines: Vec<f64> = pairs.iter().map(|(a, b)| cosine(a, b)).collect();
        // As with classes: labels behind the last sample are not looked at.
        let known = &labels[..labels.len().min(cosines.len())];
        let score = spearman(&cosines, known).map_err(|e| self.labels_error()(e.into()))?;
        let agreement = match &self.reference {
            Some(path) => {
                let (others, _) = self.vectors(cx, path)?;
                let each = pairs.iter().zip(&others);
                let sum: f64 = each
                    .map(|((a, b), (x, y))| cosine(a, x) + cosine(b, y))
                    .sum();
                let n = 2 * pairs.len();
                Some(Agreement {
                    metric: "mean-cosine",
                    value: sum / n.max(1) as f64,
                    n,
                    ci95: None,
                })
            }
            None => None,
        };
        self.write_predictions(&Tensor::vector(cosines))?;
        Ok(Outcome {
            autotune,
            without_class: 0,
            metric: "spearman-cosine",
            value: score.value,
            n: score.n,
            ci95: score.ci95,
            predictions_file: self.predictions.clone(),
            agreement,
        })
    }

    fn labels_error(&self) -> impl FnOnce(ScoreError) -> Error {
        let path = self.labels.clone();
        move |source| Error::Labels { path, source }
    }

    /// The vectors of both sentences of each pair.
    fn vectors(
        &self,
        cx: &Context,
        path: &Path,
    ) -> Result<(Vec<Pair>, Option<TuningReport>), Error> {
        let model = load(path)?;
        let first = self.samples.open(&model, &self.inputs, 1)?;
        let second = self.samples.open(&model, &self.second, 1)?;
        if first.len() != second.len() {
            let (first, second) = (first.len(), second.len());
            return Err(Error::Unpaired { first, second });
        }
        let session = cx.session(model)?;
        let mut progress = cx.progress("eval", first.len() + second.len());
        let mut vectors = |data| {
            let output = self.output.as_deref();
            embed(&session, data, output, &self.mask, |n| progress.add(n))
        };
        let (first, second) = (vectors(&first)?, vectors(&second)?);
        let pairs = first.into_iter().zip(second).collect();
        Ok((pairs, TuningReport::of(&session)))
    }

    fn write_predictions(&self, predictions: &Tensor) -> Result<(), Error> {
        match &self.predictions {
            Some(path) => Ok(npy::write(path, predictions)?),
            None => Ok(()),
        }
    }
}
