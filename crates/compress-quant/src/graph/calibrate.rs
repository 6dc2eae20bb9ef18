//! Statistics of a model's tensors: of fixed size, saved, merged and read again.

use super::error::CalibrationError;
use super::inputs::LayerInputs;
use crate::TensorStats;
use compress_tensor::write_atomically;
use onnx_ir::Model;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Format version of a statistics file.
const VERSION: u32 = 1;

/// Statistics of a model's tensors: what [`calibrate`](super::calibrate()) gathers and quantization reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    version: u32,
    /// Names and shapes of the model's initializers and nodes, hashed.
    model: String,
    tensors: BTreeMap<String, TensorStats>,
    /// Too large for a file of statistics, and of use only in the process that gathered them.
    #[serde(skip)]
    inputs: Option<LayerInputs>,
}

impl Calibration {
    /// The statistics of `model`'s tensors.
    pub(super) fn new(
        model: &Model,
        tensors: BTreeMap<String, TensorStats>,
        inputs: Option<LayerInputs>,
    ) -> Self {
        Self {
            version: VERSION,
            model: fingerprint(model),
            tensors,
            inputs,
        }
    }

    /// What [`Rounding::Calibrated`](super::Rounding::Calibrated) rounds to, where it was gathered.
    pub(super) fn inputs(&self) -> Option<&LayerInputs> {
        self.inputs.as_ref()
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
    /// [`CalibrationError::OtherModel`].
    pub fn merge(&mut self, other: &Calibration) -> Result<(), CalibrationError> {
        self.check_model(&other.model)?;
        for (name, stats) in &other.tensors {
            match self.tensors.get_mut(name) {
                Some(mine) => mine.merge(stats),
                None => drop(self.tensors.insert(name.clone(), stats.clone())),
            }
        }
        match (&mut self.inputs, &other.inputs) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
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
