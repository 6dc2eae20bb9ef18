//! Samples out of array files: what calibration, evaluation and the program feed to a model.
//!
//! A [`Dataset`] maps `.npy` and `.npz` files and gives batch after batch, converted to what the model declares:
//! element type, layout, normalisation. Only the batch at hand is in memory.
//!
//! An array's first axis counts the samples wherever the model's input has a symbolic first axis; where no
//! input has one, every input's first axis counts samples in groups of the declared length. Inputs with a fixed
//! first axis beside symbolic ones, and scalars, are fed whole to every run.

mod error;
mod prepare;
mod shapes;
mod spec;

pub use error::{DataError, LayoutHint};
pub(crate) use prepare::moved_first;
pub use prepare::{Layout, Preprocess};
pub use spec::{InputSpec, Source};

use crate::ir::{Dim, Fact, Model, TensorFact};
use crate::tensor::npy::{self, NpyFile};
use crate::tensor::npz::NpzFile;
use crate::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// How samples are grouped and converted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DataOptions {
    /// Samples per run; an error where the model's first axis has another size.
    pub batch: Option<usize>,
    /// Samples per run where `batch` is not given and the model's first axis is symbolic; at least 1.
    pub preferred_batch: usize,
    /// Only the first so many samples.
    pub limit: Option<usize>,
    /// A mask `[samples, length]`: the columns behind the last one that is not all zero are cut off, in each
    /// batch, from every input that shares the mask's second axis.
    pub trim: Option<String>,
    /// How the numbers of float inputs are converted.
    pub preprocess: Preprocess,
}

/// The inputs of one run.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which samples, counted from 0.
    pub samples: Range<usize>,
    /// The tensors by input name.
    pub inputs: Vec<(String, Tensor)>,
}

impl Batch {
    /// The tensors as a session takes them; the data is shared.
    pub fn feeds(&self) -> Vec<(&str, Tensor)> {
        self.inputs
            .iter()
            .map(|(n, t)| (n.as_str(), t.clone()))
            .collect()
    }
}

/// Arrays on disk that feed the inputs of one model.
pub struct Dataset {
    feeds: Vec<Feed>,
    samples: usize,
    batch: usize,
    options: DataOptions,
}

/// One input of the model with what feeds it.
struct Feed {
    name: String,
    fact: TensorFact,
    source: Opened,
    /// Whether the first axis counts samples.
    sampled: bool,
}

enum Opened {
    Rows(NpyFile),
    Whole(Tensor),
    Zeros,
}

impl Feed {
    fn shape(&self) -> Option<&[usize]> {
        match &self.source {
            Opened::Rows(file) => Some(file.shape()),
            Opened::Whole(tensor) => Some(tensor.shape()),
            Opened::Zeros => None,
        }
    }

    /// Some samples; none of zeros.
    fn rows(&self, samples: Range<usize>) -> Result<Option<Tensor>, DataError> {
        Ok(match &self.source {
            Opened::Rows(file) => Some(file.rows(samples)?),
            Opened::Whole(tensor) => Some(prepare::rows(tensor, samples, &self.name)?),
            Opened::Zeros => None,
        })
    }

    /// All of it; none of zeros.
    fn whole(&self) -> Result<Option<Tensor>, DataError> {
        Ok(match &self.source {
            Opened::Rows(file) => Some(file.rows(0..file.row_count().unwrap_or(0))?),
            Opened::Whole(tensor) => Some(tensor.clone()),
            Opened::Zeros => None,
        })
    }

    fn first_dim(&self) -> Option<&Dim> {
        self.fact.shape.as_ref()?.first()
    }
}

impl Dataset {
    /// Opens the arrays that feed `model`; every input without a default must be fed.
    ///
    /// # Errors
    /// [`DataError`] names the input or the file.
    pub fn open(
        model: &Model,
        inputs: &[InputSpec],
        options: &DataOptions,
    ) -> Result<Self, DataError> {
        options.preprocess.validate()?;
        if options.batch == Some(0) {
            return Err(DataError::EmptyBatch);
        }
        let declared = declared(model);
        let mut feeds = Vec::new();
        for spec in inputs {
            open_spec(spec, &declared, &mut feeds)?;
        }
        for id in model.graph.required_inputs() {
            let name = model.graph.name_of(id);
            if !feeds.iter().any(|feed: &Feed| feed.name == name) {
                return Err(DataError::MissingInput {
                    name: name.to_owned(),
                });
            }
        }
        let batch = mark_sampled(&mut feeds, options)?;
        feeds
            .iter()
            .try_for_each(|feed| shapes::check(feed, options))?;
        let samples = count_samples(&feeds, options)?;
        if let Some(feed) = feeds.iter().find(|feed| feed.sampled && samples == 0) {
            return Err(DataError::NoSamples {
                name: feed.name.clone(),
            });
        }
        if let Some(mask) = &options.trim
            && !feeds.iter().any(|feed| feed.name == *mask)
        {
            return Err(DataError::NoSuchInput {
                name: mask.clone(),
                known: feeds.iter().map(|feed| feed.name.clone()).collect(),
            });
        }
        let fixed = feeds.iter().find_map(|f| match f.first_dim() {
            Some(dim) if f.sampled => dim.as_size(),
            _ => None,
        });
        if let Some(fixed) = fixed.filter(|&n| n > 0 && samples % n != 0) {
            return Err(DataError::NotWholeBatches {
                samples,
                batch: fixed,
            });
        }
        Ok(Self {
            feeds,
            samples,
            batch,
            options: options.clone(),
        })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.samples
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Samples per run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Whether the model takes so many samples per run and no others.
    pub(crate) fn has_fixed_batch(&self) -> bool {
        let mut sampled = self.feeds.iter().filter(|feed| feed.sampled);
        sampled.any(|feed| feed.first_dim().and_then(Dim::as_size).is_some())
    }

    /// Batch after batch, from the first sample on.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch, DataError>> + '_ {
        (0..self.samples)
            .step_by(self.batch)
            .map(|start| self.batch_of(start..self.samples.min(start.saturating_add(self.batch))))
    }

    /// The inputs of one run over `samples`.
    ///
    /// # Errors
    /// [`DataError`] names the input or the file.
    pub fn batch_of(&self, samples: Range<usize>) -> Result<Batch, DataError> {
        let inputs = self.inputs_of(samples.len(), |feed| feed.rows(samples.clone()))?;
        Ok(Batch { samples, inputs })
    }

    /// The inputs of one run over the samples with these indices, which need not be neighbours.
    ///
    /// # Errors
    /// As [`Dataset::batch_of`].
    pub fn batch_at(&self, samples: &[usize]) -> Result<Vec<(String, Tensor)>, DataError> {
        self.inputs_of(samples.len(), |feed| {
            let rows = samples.iter().map(|&i| feed.rows(i..i + 1));
            let rows: Option<Vec<Tensor>> = rows.collect::<Result<_, _>>()?;
            rows.map(|rows| prepare::joined(&rows)).transpose()
        })
    }

    /// What is fed in a run of so many samples, of which `read_rows` gives the rows of an input.
    fn inputs_of(
        &self,
        samples: usize,
        read_rows: impl Fn(&Feed) -> Result<Option<Tensor>, DataError>,
    ) -> Result<Vec<(String, Tensor)>, DataError> {
        let mut read = Vec::with_capacity(self.feeds.len());
        for feed in &self.feeds {
            read.push(match feed.sampled {
                true => read_rows(feed)?,
                false => feed.whole()?,
            });
        }
        self.trim(&mut read)?;
        let mut symbols: HashMap<String, usize> = HashMap::new();
        let mut inputs = Vec::with_capacity(read.len());
        for (feed, tensor) in self.feeds.iter().zip(read) {
            let Some(tensor) = tensor else { continue };
            let tensor = prepare::convert(&tensor, feed, &self.options.preprocess)?;
            bind(&mut symbols, &feed.fact, tensor.shape());
            inputs.push((feed.name.clone(), tensor));
        }
        for feed in &self.feeds {
            if matches!(feed.source, Opened::Zeros) {
                let rows = feed.sampled.then_some(samples);
                inputs.push((feed.name.clone(), zeros(feed, rows, &symbols)?));
            }
        }
        Ok(inputs)
    }

    /// Cuts the trailing columns in which the mask is zero for the whole batch.
    fn trim(&self, read: &mut [Option<Tensor>]) -> Result<(), DataError> {
        let Some(name) = &self.options.trim else {
            return Ok(());
        };
        let Some(at) = self.feeds.iter().position(|feed| feed.name == *name) else {
            return Ok(());
        };
        let Some(mask) = &read[at] else { return Ok(()) };
        let &[_, columns] = mask.shape() else {
            return Err(DataError::NotAMask {
                name: name.clone(),
                shape: mask.shape().to_vec(),
            });
        };
        let values = mask.to_f64_vec()?;
        let used = values
            .chunks(columns.max(1))
            .filter_map(|row| row.iter().rposition(|&m| m != 0.0));
        let keep = used.max().map_or(1, |last| last + 1).min(columns);
        let axis = |feed: &Feed| {
            feed.fact
                .shape
                .as_ref()
                .and_then(|dims| dims.get(1).cloned())
        };
        let shared = axis(&self.feeds[at]);
        for (feed, tensor) in self.feeds.iter().zip(read) {
            let Some(full) = tensor else { continue };
            let same_axis = match (&shared, axis(feed)) {
                (Some(mask), Some(other)) if !mask.is_unknown() => mask.is_same(&other),
                _ => true,
            };
            if same_axis && full.shape().get(1) == Some(&columns) {
                *tensor = Some(prepare::cut_columns(full, keep)?);
            }
        }
        Ok(())
    }
}

/// Name and declaration of each tensor that a model can be fed.
fn declared(model: &Model) -> Vec<(String, TensorFact, bool)> {
    let graph = &model.graph;
    let mut declared = Vec::new();
    for &id in graph.inputs() {
        if let Fact::Tensor(fact) = &graph.value(id).fact {
            let required = graph.initializer(id).is_none();
            declared.push((graph.name_of(id).to_owned(), fact.clone(), required));
        }
    }
    declared
}

fn open_spec(
    spec: &InputSpec,
    declared: &[(String, TensorFact, bool)],
    feeds: &mut Vec<Feed>,
) -> Result<(), DataError> {
    let known = || declared.iter().map(|(name, ..)| name.clone()).collect();
    let fact_of = |name: &str| {
        let found = declared.iter().find(|(n, ..)| n == name);
        found
            .map(|(_, fact, _)| fact.clone())
            .ok_or_else(|| DataError::NoSuchInput {
                name: name.to_owned(),
                known: known(),
            })
    };
    let mut add = |name: &str, source: Opened| {
        let fact = fact_of(name)?;
        if feeds.iter().any(|feed| feed.name == name) {
            return Err(DataError::FedTwice {
                name: name.to_owned(),
            });
        }
        feeds.push(Feed {
            name: name.to_owned(),
            fact,
            source,
            sampled: false,
        });
        Ok(())
    };
    let only = || {
        let mut required = declared.iter().filter(|(_, _, required)| *required);
        match (required.next(), required.next()) {
            (Some((name, ..)), None) => Ok(name.as_str()),
            _ => Err(DataError::NameNeeded { known: known() }),
        }
    };
    match (&spec.source, &spec.name) {
        (Source::Zeros, Some(name)) => add(name, Opened::Zeros),
        (Source::Zeros, None) => add(only()?, Opened::Zeros),
        (Source::File(path), name) if path.extension().is_some_and(|e| e == "npz") => {
            let archive = NpzFile::open(path)?;
            let arrays = archive.names();
            match name {
                Some(name) => {
                    let array = match arrays.as_slice() {
                        [sole] if sole != name => sole,
                        _ => name,
                    };
                    add(name, Opened::Whole(archive.read(array)?))
                }
                None => {
                    let fed = declared.iter().filter(|(n, ..)| arrays.contains(n));
                    let names: Vec<&str> = fed.map(|(n, ..)| n.as_str()).collect();
                    match (names.as_slice(), arrays.as_slice()) {
                        ([], [sole]) => add(only()?, Opened::Whole(archive.read(sole)?)),
                        ([], _) => Err(DataError::NameNeeded { known: known() }),
                        (names, _) => names
                            .iter()
                            .try_for_each(|n| add(n, Opened::Whole(archive.read(n)?))),
                    }
                }
            }
        }
        (Source::File(path), Some(name)) => add(name, open_npy(path)?),
        (Source::File(path), None) => add(only()?, open_npy(path)?),
    }
}

fn open_npy(path: &Path) -> Result<Opened, DataError> {
    let file = NpyFile::open(path)?;
    Ok(match file.row_count() {
        Some(_) => Opened::Rows(file),
        None => Opened::Whole(npy::read(path)?),
    })
}

/// Decides which inputs count samples along their first axis; gives the samples per run.
fn mark_sampled(feeds: &mut [Feed], options: &DataOptions) -> Result<usize, DataError> {
    let open_axis = |feed: &Feed| match &feed.fact.shape {
        Some(dims) => dims.first().is_some_and(|d| d.as_known().is_none()),
        None => feed.shape().is_some_and(|s| !s.is_empty()),
    };
    if feeds.iter().any(open_axis) {
        feeds.iter_mut().for_each(|f| f.sampled = open_axis(f));
        return Ok(options.batch.unwrap_or(options.preferred_batch.max(1)));
    }
    let fixed = feeds
        .iter()
        .find_map(|f| f.first_dim().and_then(Dim::as_size));
    let Some(fixed) = fixed.filter(|&n| n > 0) else {
        return Ok(1);
    };
    for feed in feeds.iter_mut() {
        feed.sampled = feed.first_dim().and_then(Dim::as_size) == Some(fixed);
    }
    match options.batch {
        Some(asked) if asked != fixed => Err(DataError::FixedBatch { asked, fixed }),
        _ => Ok(fixed),
    }
}

fn count_samples(feeds: &[Feed], options: &DataOptions) -> Result<usize, DataError> {
    let mut count: Option<(usize, &str)> = None;
    for feed in feeds.iter().filter(|feed| feed.sampled) {
        let Some(shape) = feed.shape() else { continue };
        let &rows = shape.first().ok_or_else(|| DataError::Scalar {
            name: feed.name.clone(),
        })?;
        match count {
            Some((samples, first)) if samples != rows => {
                return Err(DataError::SampleCounts {
                    first: first.to_owned(),
                    first_samples: samples,
                    second: feed.name.clone(),
                    second_samples: rows,
                });
            }
            _ => count = Some((rows, &feed.name)),
        }
    }
    let samples = count.map_or(1, |(samples, _)| samples);
    Ok(options.limit.map_or(samples, |limit| samples.min(limit)))
}

/// Notes the sizes that stand for the symbols of a declared shape.
fn bind(symbols: &mut HashMap<String, usize>, fact: &TensorFact, shape: &[usize]) {
    for (dim, &size) in fact.shape.iter().flatten().zip(shape) {
        if let Some(symbol) = dim.as_symbol() {
            symbols.entry(symbol.to_owned()).or_insert(size);
        }
    }
}

/// A tensor of zeros for an input with `rows` samples, its symbols bound by the arrays of the same run.
fn zeros(
    feed: &Feed,
    rows: Option<usize>,
    symbols: &HashMap<String, usize>,
) -> Result<Tensor, DataError> {
    let unknown = |what: String| DataError::UnknownSize {
        name: feed.name.clone(),
        what,
    };
    let dims = feed.fact.shape.as_ref();
    let dims = dims.ok_or_else(|| unknown("its rank".to_owned()))?;
    let lookup = |symbol: &str| symbols.get(symbol).and_then(|&n| i64::try_from(n).ok());
    let mut shape = Vec::with_capacity(dims.len());
    for (axis, dim) in dims.iter().enumerate() {
        let size = dim.eval(&lookup).and_then(|n| usize::try_from(n).ok());
        let size = size.or(rows.filter(|_| axis == 0));
        shape.push(size.ok_or_else(|| unknown(format!("dimension `{dim}`")))?);
    }
    let dtype = feed.fact.dtype.unwrap_or(DType::F32);
    let zeros = Tensor::full(&shape, 0i8)?;
    Ok(zeros.cast(dtype, Default::default())?)
}

#[cfg(test)]
mod tests;
