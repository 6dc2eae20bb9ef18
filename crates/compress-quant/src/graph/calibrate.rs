//! Statistics of a model's tensors: of fixed size, saved, merged and read again.

use super::config::{QuantizeConfig, Rounding};
use super::error::{CalibrationError, QuantizeError};
use super::inputs::LayerInputs;
use super::prepare::prepare;
use super::round::Rounder;
use crate::{Method, QuantError, TensorStats};
use compress_tensor::write_atomically;
use onnx_ir::Model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Format version of a statistics file.
const VERSION: u32 = 2;

/// Statistics of a model's tensors: what [`calibrate`](super::calibrate()) gathers and quantization reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Calibration {
    version: u32,
    /// The [`fingerprint`] of the prepared model.
    model: String,
    tensors: BTreeMap<String, TensorStats>,
    /// Too large for a file of statistics, and of use only in the process that gathered them.
    #[serde(skip)]
    inputs: Option<LayerInputs>,
}

/// Statistics as they stand in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    version: u32,
    model: String,
    tensors: BTreeMap<String, serde_json::Value>,
}

impl TryFrom<Fields> for Calibration {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        if fields.version != VERSION {
            return Err(format!(
                "version {} is not {VERSION}: calibrate anew",
                fields.version
            ));
        }
        let tensor = |(name, fields): (String, serde_json::Value)| {
            let read = serde_json::from_value(fields);
            match read {
                Ok(stats) => Ok((name, stats)),
                Err(e) => Err(format!("tensor `{name}`: {e}")),
            }
        };
        Ok(Self {
            version: fields.version,
            model: fields.model,
            tensors: fields
                .tensors
                .into_iter()
                .map(tensor)
                .collect::<Result<_, _>>()?,
            inputs: None,
        })
    }
}

impl Calibration {
    /// The statistics of a prepared model's tensors.
    pub(super) fn new(
        model: String,
        tensors: BTreeMap<String, TensorStats>,
        inputs: Option<LayerInputs>,
    ) -> Self {
        Self {
            version: VERSION,
            model,
            tensors,
            inputs,
        }
    }

    /// What weights are rounded with, if not to nearest.
    ///
    /// # Errors
    /// [`QuantizeError::NoInputs`].
    pub(super) fn rounder(
        &self,
        config: &QuantizeConfig,
    ) -> Result<Option<Rounder<'_>>, QuantizeError> {
        match config.rounding {
            Rounding::Nearest => Ok(None),
            Rounding::Calibrated => Ok(Some(Rounder {
                inputs: self.inputs.as_ref().ok_or(QuantizeError::NoInputs)?,
                threads: config.threads,
            })),
        }
    }

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
    /// [`CalibrationError::OtherModel`]; [`CalibrationError::Merge`] for inputs of layers of other widths.
    pub fn merge(&mut self, other: &Calibration) -> Result<(), CalibrationError> {
        other.check_model(&self.model)?;
        match (&mut self.inputs, &other.inputs) {
            (Some(mine), Some(theirs)) => mine.merge(theirs).map_err(CalibrationError::Merge)?,
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
        for (name, stats) in &other.tensors {
            match self.tensors.get_mut(name) {
                Some(mine) => mine.merge(stats),
                None => drop(self.tensors.insert(name.clone(), stats.clone())),
            }
        }
        Ok(())
    }

    /// Whether these are statistics of this model, as it was or prepared: operators, names of values, and names, types
    /// and shapes of weights are the same.
    ///
    /// # Errors
    /// [`CalibrationError::OtherModel`]; [`CalibrationError::Prepare`].
    pub fn check(&self, model: &Model) -> Result<(), CalibrationError> {
        let prepared = prepare(model).map_err(Box::new)?;
        self.check_model(&fingerprint(&prepared))
    }

    /// Whether `method` can choose ranges from these statistics.
    ///
    /// # Errors
    /// [`CalibrationError::Method`].
    pub fn check_method(&self, method: Method) -> Result<(), CalibrationError> {
        let lacks = |stats: &TensorStats| stats.histogram().is_none();
        match method.needs_histogram() && self.tensors.values().any(lacks) {
            true => {
                let method = method.name();
                Err(CalibrationError::Method(QuantError::NoHistogram { method }))
            }
            false => Ok(()),
        }
    }

    /// As [`Calibration::check`], of a prepared model.
    pub(super) fn check_prepared(&self, prepared: &Model) -> Result<(), QuantizeError> {
        let found = fingerprint(prepared);
        if self.model == found {
            return Ok(());
        }
        Err(QuantizeError::OtherModel {
            expected: found,
            found: self.model.clone(),
        })
    }

    fn check_model(&self, found: &str) -> Result<(), CalibrationError> {
        if self.model == found {
            return Ok(());
        }
        Err(CalibrationError::OtherModel {
            expected: found.to_owned(),
            found: self.model.clone(),
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
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}

/// A hash of what makes statistics fit a prepared model: operators and the names of what they write; names, types and
/// shapes of initializers. Not the weights: what was trained further has other statistics, but the same names.
pub(super) fn fingerprint(model: &Model) -> String {
    // FNV-1a, which is the same on every machine and in every version.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut feed = |bytes: &[u8]| {
        for &b in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    let graph = &model.graph;
    let written = graph.nodes().map(|(_, node)| {
        let results = node.outputs().iter().flatten().map(|&v| graph.name_of(v));
        format!("{} {:?}", node.op_type, results.collect::<Vec<_>>())
    });
    let initializers = graph.initializers().map(|(v, t)| {
        format!(
            "{} {:?} {:?}",
            t.dtype().name(),
            graph.name_of(v),
            t.shape()
        )
    });
    // Sorted, as a file may hold them in another order.
    let mut lines: Vec<String> = written.chain(initializers).collect();
    lines.sort_unstable();
    lines.iter().for_each(|line| feed(line.as_bytes()));
    format!("{hash:016x}")
}
