//! Gathering statistics by running the model: streaming, of fixed size, mergeable.

use super::config::QuantizeConfig;
use super::error::CalibrationError;
use super::plan::Plan;
use super::prepare::prepare;
use crate::TensorStats;
use compress_tensor::{DType, Tensor, write_atomically};
use onnx_ir::Model;
use runtime_session::{Session, SessionOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The inputs of one run, by name.
pub type Sample = Vec<(String, Tensor)>;

/// Format version of a statistics file.
const VERSION: u32 = 1;

/// Statistics of a model's tensors: what [`calibrate`] gathers and quantization reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    version: u32,
    /// Names and shapes of the model's initializers and nodes, hashed.
    model: String,
    tensors: BTreeMap<String, TensorStats>,
}

impl Calibration {
    /// The statistics of one tensor.
    pub fn get(&self, tensor: &str) -> Option<&TensorStats> {
        self.tensors.get(tensor)
    }

    /// All statistics, by tensor name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorStats)> {
        self.tensors
            .iter()
            .map(|(name, stats)| (name.as_str(), stats))
    }

    /// Adds the statistics of another shard.
    ///
    /// # Errors
    /// [`CalibrationError::OtherModel`].
    pub fn merge(&mut self, other: &Calibration) -> Result<(), CalibrationError> {
        self.check_model(&other.model)?;
        for (name, stats) in &other.tensors {
            self.tensors.entry(name.clone()).or_default().merge(stats);
        }
        Ok(())
    }

    /// Whether these are statistics of this (original or prepared) model.
    ///
    /// # Errors
    /// [`CalibrationError::OtherModel`].
    pub fn check(&self, model: &Model) -> Result<(), CalibrationError> {
        self.check_model(&fingerprint(model))
    }

    fn check_model(&self, found: &str) -> Result<(), CalibrationError> {
        if self.model == found {
            return Ok(());
        }
        Err(CalibrationError::OtherModel {
            expected: self.model.clone(),
            found: found.to_owned(),
        })
    }

    /// Writes the statistics as JSON, by way of a temporary file beside `path`.
    ///
    /// # Errors
    /// [`CalibrationError::File`].
    pub fn save(&self, path: &Path) -> Result<(), CalibrationError> {
        let file = |e: std::io::Error| CalibrationError::File {
            path: path.display().to_string(),
            reason: e.to_string(),
        };
        let mut trimmed = self.clone();
        trimmed.tensors.values_mut().for_each(TensorStats::trim);
        write_atomically(path, |w| {
            serde_json::to_writer(w, &trimmed).map_err(std::io::Error::from)
        })
        .map_err(file)
    }

    /// Reads statistics that [`Calibration::save`] wrote.
    ///
    /// # Errors
    /// [`CalibrationError::File`].
    pub fn load(path: &Path) -> Result<Self, CalibrationError> {
        let file = |reason: String| CalibrationError::File {
            path: path.display().to_string(),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|e| file(e.to_string()))?;
        Self::from_json(&bytes).map_err(file)
    }

    /// Reads the content of a statistics file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if read.version != VERSION {
            return Err(format!("version {} is not {VERSION}", read.version));
        }
        match read.tensors.iter().find(|(_, s)| !s.is_valid()) {
            Some((name, _)) => Err(format!("the statistics of `{name}` are damaged")),
            None => Ok(read),
        }
    }
}

/// Runs the model on `samples` and gathers statistics of every tensor that `config` quantizes.
///
/// One sample is in memory at a time; the result's size does not depend on their number. Shards may be
/// calibrated apart and merged.
///
/// # Errors
/// [`CalibrationError`] names the sample and the tensor.
pub fn calibrate<E: std::fmt::Display>(
    model: &Model,
    samples: impl IntoIterator<Item = Result<Sample, E>>,
    config: &QuantizeConfig,
    options: &SessionOptions,
) -> Result<Calibration, CalibrationError> {
    let prepared = prepare(model).map_err(Box::new)?;
    let plan = Plan::of(&prepared, config).map_err(Box::new)?;
    let graph = &prepared.graph;
    let names: Vec<String> = plan
        .quantized
        .keys()
        .map(|&v| graph.name_of(v).to_owned())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut tensors: BTreeMap<String, TensorStats> = names
        .iter()
        .map(|n| ((*n).to_owned(), TensorStats::new()))
        .collect();
    // Each sample runs once: plans of past shapes would only take memory.
    let mut options = options.clone();
    options.cached_plans = 1;
    let session = Session::new(prepared, &options).map_err(Box::new)?;
    let mut count = 0;
    for (index, sample) in samples.into_iter().enumerate() {
        let sample = sample.map_err(|e| CalibrationError::Sample {
            sample: index,
            message: e.to_string(),
        })?;
        let inputs: Vec<(&str, Tensor)> = sample
            .iter()
            .map(|(n, t)| (n.as_str(), t.clone()))
            .collect();
        let mut failed = None;
        session
            .run_with_taps(&inputs, &names, |name, tensor| {
                if let (Some(stats), DType::F32) = (tensors.get_mut(name), tensor.dtype()) {
                    let seen = tensor
                        .data::<f32>()
                        .map_err(Into::into)
                        .and_then(|d| stats.observe(&d));
                    if let Err(error) = seen {
                        failed.get_or_insert((name.to_owned(), error));
                    }
                }
            })
            .map_err(|error| CalibrationError::Run {
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
        count += 1;
    }
    if count == 0 {
        return Err(CalibrationError::NoSamples);
    }
    Ok(Calibration {
        version: VERSION,
        model: fingerprint(model),
        tensors,
    })
}

/// A hash of what makes statistics fit: the names of the graph's outputs and of the nodes' results.
fn fingerprint(model: &Model) -> String {
    // FNV-1a, which is the same on every machine and in every version.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut feed = |bytes: &[u8]| {
        for &b in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (_, node) in model.graph.nodes() {
        feed(node.op_type.as_bytes());
        for &v in node.outputs().iter().flatten() {
            feed(model.graph.name_of(v).as_bytes());
        }
    }
    format!("{hash:016x}")
}
