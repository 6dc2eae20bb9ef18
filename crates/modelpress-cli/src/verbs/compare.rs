//! `modelpress compare`: how far two models give the same numbers.

use crate::arrays::SampleArgs;
use crate::context::{Context, load};
use crate::error::Error;
use crate::table::{Align, Table};
use crate::tuning::TuningReport;
use crate::units;
use clap::Args;
use modelpress::data::{Dataset, InputSpec};
use modelpress::ir::{Catalog, Graph, Model, infer::infer_shapes};
use modelpress::session::Session;
use modelpress::tensor::metrics::Comparison;
use modelpress::tensor::{CastOptions, DType, Tensor};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

/// Compare the outputs of two models, and the layers that both hold, on the same inputs.
#[derive(Args)]
#[command(
    after_help = "max abs is the greatest error, max rel the same as a share of the greatest magnitude in the first model.\n\nExample:\n  modelpress compare float.onnx int8.onnx --input x=images.npy --limit 100"
)]
pub(crate) struct Compare {
    /// The model that is taken as right.
    a: PathBuf,
    /// The model that is held against it.
    b: PathBuf,
    /// What feeds an input of both: an .npy or .npz file, or NAME=zeros.
    #[arg(long = "input", value_name = "NAME=FILE", required = true)]
    inputs: Vec<InputSpec>,
    /// Runs over which layers are compared; outputs are compared over all samples.
    #[arg(long, value_name = "N", default_value_t = 1)]
    layer_runs: usize,
    #[command(flatten)]
    samples: SampleArgs,
}

#[derive(Serialize)]
struct Outcome {
    samples: usize,
    outputs: Vec<Row>,
    layers: Vec<Row>,
    /// With `--autotune`, of each model.
    #[serde(skip_serializing_if = "Option::is_none")]
    autotune_a: Option<TuningReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    autotune_b: Option<TuningReport>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    max_abs: f64,
    /// `max_abs` as a share of the greatest magnitude of the first model's numbers.
    max_rel: f64,
    /// Null where there is no such number: see `exact` and `finite`.
    sqnr_db: f64,
    cosine: f64,
    /// Both are equal.
    exact: bool,
    /// Neither has a NaN or an infinity that the other has not.
    finite: bool,
}

/// Samples per run unless the user asks for another number.
const BATCH: usize = 32;

impl Compare {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let (a, b) = (load(&self.a)?, load(&self.b)?);
        let data = self.samples.open(&a, &self.inputs, BATCH)?;
        let layers = self.layers(cx, &a, &b, &data)?;
        let (a, b) = (cx.session(a)?, cx.session(b)?);
        let names = |s: &Session| s.outputs().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
        let (names_a, names_b) = (names(&a), names(&b));
        let position = |name: &String| names_b.iter().position(|n| n == name);
        let mut pairs: Vec<(usize, usize)> = names_a
            .iter()
            .enumerate()
            .filter_map(|(i, name)| Some((i, position(name)?)))
            .collect();
        if pairs.is_empty() {
            // Outputs that were renamed are matched by position.
            if names_a.len() != names_b.len() || names_a.is_empty() {
                return Err(Error::NoCommonOutput {
                    a: names_a.join(", "),
                    b: names_b.join(", "),
                });
            }
            pairs = (0..names_a.len()).map(|i| (i, i)).collect();
        }
        let mut sums = vec![Comparison::default(); pairs.len()];
        let mut progress = cx.progress("compare", data.len());
        for batch in data.batches() {
            let batch = batch?;
            let feeds = batch.feeds();
            let (found_a, found_b) = (a.run(&feeds)?, b.run(&cast_for(&b, &feeds)?)?);
            for (sum, &(i, j)) in sums.iter_mut().zip(&pairs) {
                if let (Some(x), Some(y)) = (found_a.get(i), found_b.get(j)) {
                    add(sum, &names_a[i], x, y)?;
                }
            }
            progress.add(batch.samples.len());
        }
        drop(progress);
        let outputs = pairs.iter().zip(&sums);
        let outcome = Outcome {
            samples: data.len(),
            outputs: outputs
                .map(|(&(i, _), sum)| row(&names_a[i], sum))
                .collect(),
            layers,
            autotune_a: TuningReport::of(&a),
            autotune_b: TuningReport::of(&b),
        };
        cx.report(&outcome, |out| {
            for (title, rows) in [("output", &outcome.outputs), ("layer", &outcome.layers)] {
                let mut table = Table::new(&[
                    (title, Align::Left),
                    ("max abs", Align::Right),
                    ("max rel", Align::Right),
                    ("SQNR", Align::Right),
                    ("cosine", Align::Right),
                ]);
                for row in rows {
                    table.row([
                        row.name.clone(),
                        format!("{:.3e}", row.max_abs),
                        format!("{:.3e}", row.max_rel),
                        units::decibel(row.sqnr_db),
                        format!("{:.6}", row.cosine),
                    ]);
                }
                if !table.is_empty() {
                    table.print(out)?;
                    writeln!(out)?;
                }
            }
            writeln!(out, "{} samples", outcome.samples)?;
            TuningReport::print(outcome.autotune_a.as_ref(), out)?;
            TuningReport::print(outcome.autotune_b.as_ref(), out)
        })
    }

    /// The float values that both models compute under the same name, over the first runs.
    fn layers(
        &self,
        cx: &Context,
        a: &Model,
        b: &Model,
        data: &Dataset,
    ) -> Result<Vec<Row>, Error> {
        let names = common_values(a, b)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() || self.layer_runs == 0 {
            return Ok(Vec::new());
        }
        let (seen_a, seen_b) = (held_values(a, &names), held_values(b, &names));
        let tapped = |seen: &[Held<'_>]| seen.iter().map(|h| h.name.to_owned()).collect::<Vec<_>>();
        let (taps_a, taps_b) = (tapped(&seen_a), tapped(&seen_b));
        let taps_a: Vec<&str> = taps_a.iter().map(String::as_str).collect();
        let taps_b: Vec<&str> = taps_b.iter().map(String::as_str).collect();
        let (a, b) = (cx.session(a.clone())?, cx.session(b.clone())?);
        let mut sums: HashMap<&str, Comparison> = HashMap::new();
        for batch in data.batches().take(self.layer_runs) {
            let batch = batch?;
            let feeds = batch.feeds();
            let mut expected: HashMap<String, Vec<f64>> = HashMap::new();
            a.run_with_taps(&feeds, &taps_a, |name, tensor| {
                if let Ok(values) = tensor.to_f64_vec() {
                    expected.insert(name.to_owned(), values);
                }
            })?;
            let mut found: HashMap<String, Vec<f64>> = HashMap::new();
            b.run_with_taps(&cast_for(&b, &feeds)?, &taps_b, |name, tensor| {
                if let Ok(values) = tensor.to_f64_vec() {
                    found.insert(name.to_owned(), values);
                }
            })?;
            for ((name, a), b) in names.iter().zip(&seen_a).zip(&seen_b) {
                let (Some(x), Some(y)) = (expected.get(a.name), found.get(b.name)) else {
                    continue;
                };
                if x.len() == y.len() {
                    let sum = sums.entry(name).or_default();
                    for (&x, &y) in x.iter().zip(y) {
                        sum.add(a.real(x), b.real(y));
                    }
                }
            }
        }
        let rows = names.iter().filter_map(|n| Some(row(n, sums.get(*n)?)));
        Ok(rows.collect())
    }
}

/// The same inputs in the floating-point types that another model takes, as one of f16 beside one of f32.
fn cast_for<'n>(
    session: &Session,
    feeds: &[(&'n str, Tensor)],
) -> Result<Vec<(&'n str, Tensor)>, Error> {
    let wanted: HashMap<&str, DType> = session
        .inputs()
        .filter_map(|(name, fact)| Some((name, fact.as_tensor()?.dtype?)))
        .collect();
    let cast = feeds.iter().map(|(name, tensor)| {
        let from = tensor.dtype();
        let to = wanted.get(name).copied().unwrap_or(from);
        let tensor = if from != to && from.is_float() && to.is_float() {
            tensor.cast(to, CastOptions::default())?
        } else {
            tensor.clone()
        };
        Ok((*name, tensor))
    });
    cast.collect()
}

/// Names of the float values that nodes of both models write, in the order of `a`, also where they stand as
/// integers; graph outputs left out.
fn common_values(a: &Model, b: &Model) -> Result<Vec<String>, Error> {
    let floats = |model: &Model| {
        let mut model = model.clone();
        infer_shapes(&mut model, Catalog::standard())?;
        let graph = &model.graph;
        let mut names = Vec::new();
        for id in graph.topological_order()? {
            let node = graph.node(id);
            if node.is("Constant") {
                continue;
            }
            for &value in node.outputs().iter().flatten() {
                let dtype = graph.value(value).fact.as_tensor().and_then(|t| t.dtype);
                let name = graph.name_of(value);
                if dtype.is_some_and(|d| d.is_float()) && !graph.is_output(value) {
                    names.push(name.to_owned());
                } else if let Some(base) = name.strip_suffix(CODES)
                    && codes_of(graph, base).is_some()
                {
                    names.push(base.to_owned());
                }
            }
        }
        Ok::<_, Error>(names)
    };
    let (mut names, others) = (floats(a)?, floats(b)?);
    let others: HashSet<String> = others.into_iter().collect();
    let mut seen = HashSet::new();
    names.retain(|name| others.contains(name) && seen.insert(name.clone()));
    Ok(names)
}

/// What a model holds in the place of a value: floats, or codes with scale and zero point.
struct Held<'n> {
    name: &'n str,
    scale: f64,
    zero_point: f64,
}

impl Held<'_> {
    fn real(&self, stored: f64) -> f64 {
        (stored - self.zero_point) * self.scale
    }
}

/// For each value the one that its readers see: behind the Q/DQ pair where it is quantized, whose codes also stand for
/// an activation that was taken in; the codes themselves where integer operators write them.
fn held_values<'n>(model: &'n Model, names: &[&'n str]) -> Vec<Held<'n>> {
    let graph = &model.graph;
    let reader = |value, op: &str| {
        let nodes = graph.uses(value).iter().map(|u| graph.node(u.node()));
        let mut nodes = nodes.filter(|n| n.is(op) && n.input(0) == Some(value));
        nodes.next().and_then(|n| n.output(0))
    };
    let floats = |name: &'n str| Held {
        name,
        scale: 1.0,
        zero_point: 0.0,
    };
    let held = |name: &&'n str| match graph.value_by_name(name) {
        Some(value) => {
            let back = reader(value, "QuantizeLinear").and_then(|q| reader(q, "DequantizeLinear"));
            floats(back.map_or(name, |v| graph.name_of(v)))
        }
        None => codes_of(graph, name).unwrap_or_else(|| floats(name)),
    };
    names.iter().map(held).collect()
}

/// What this program appends to the name of a value for its codes; `_scale` and `_zero_point` for their meaning.
const CODES: &str = "_quantized";

/// The codes that stand for the value `base`, with one scale.
fn codes_of<'n>(graph: &'n Graph, base: &str) -> Option<Held<'n>> {
    let value = |suffix: &str| graph.value_by_name(&format!("{base}{suffix}"));
    let codes = value(CODES)?;
    graph.producer(codes)?;
    let number = |suffix: &str| match graph.constant(value(suffix)?)?.to_f64_vec().ok()?[..] {
        [one] => Some(one),
        _ => None,
    };
    Some(Held {
        name: graph.name_of(codes),
        scale: number("_scale")?,
        zero_point: number("_zero_point")?,
    })
}

fn add(sum: &mut Comparison, name: &str, a: &Tensor, b: &Tensor) -> Result<(), Error> {
    if a.shape() != b.shape() {
        return Err(Error::NotJoinable {
            name: name.to_owned(),
            first: a.shape().to_vec(),
            other: b.shape().to_vec(),
        });
    }
    let numbers = |t: &Tensor| {
        t.to_f64_vec().map_err(|_| Error::NotNumbers {
            name: name.to_owned(),
        })
    };
    for (x, y) in numbers(a)?.into_iter().zip(numbers(b)?) {
        sum.add(x, y);
    }
    Ok(())
}

fn row(name: &str, sum: &Comparison) -> Row {
    Row {
        name: name.to_owned(),
        max_abs: sum.max_abs(),
        max_rel: sum.max_rel_to_peak(),
        sqnr_db: sum.sqnr_db(),
        cosine: sum.cosine(),
        exact: sum.max_abs() == 0.0,
        finite: sum.max_abs().is_finite(),
    }
}
