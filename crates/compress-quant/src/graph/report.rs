//! What quantization did.

use serde::Serialize;
use std::fmt;

/// One quantized node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerReport {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Signal to quantization noise of the weight in dB; `None` without a constant weight.
    pub weight_sqnr_db: Option<f64>,
    /// Signal to noise in dB of the layer's product on calibration inputs, the weight alone being quantized:
    /// [`Rounded::product_sqnr_db`](crate::Rounded::product_sqnr_db), about the means where the bias takes up the mean
    /// error; the least of a convolution's groups. `None` where the weight was rounded to nearest.
    pub product_sqnr_db: Option<f64>,
    /// Signal to quantization noise of the input activation in dB, from its histogram.
    pub input_sqnr_db: Option<f64>,
    /// Range of the input activation that is represented.
    pub input_range: Option<(f32, f32)>,
    /// Range of the output activation that is represented; `None` where it stays float.
    pub output_range: Option<(f32, f32)>,
    /// Share of the input activation's values outside of the range, 0 to 1.
    pub clipped_share: Option<f64>,
    /// Bytes of the weight, and of the bias where it is quantized too, before.
    pub bytes_before: usize,
    /// Bytes of the same after, with scales and zero points.
    pub bytes_after: usize,
}

/// A node that stays as it is, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SkippedNode {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The reason.
    pub reason: String,
}

/// A remark on a node or value; written as `subject: text`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
#[non_exhaustive]
pub struct Note {
    /// The node or value.
    pub subject: String,
    /// What is said of it.
    pub text: String,
}

impl Note {
    pub(super) fn new(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.text)
    }
}

impl From<Note> for String {
    fn from(note: Note) -> String {
        note.to_string()
    }
}

/// What quantization did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The quantized nodes.
    pub layers: Vec<LayerReport>,
    /// The nodes that could hold quantized values and stay as they are.
    pub skipped: Vec<SkippedNode>,
    /// What was changed so that the target takes the file.
    pub repairs: Vec<Note>,
    /// Where something other was done than was asked for, and why; where the figures of a layer do not say all.
    pub notes: Vec<Note>,
    /// Bytes of all initializers and constants of the model as it was given.
    pub bytes_before: usize,
    /// Bytes of all initializers and constants of the result.
    pub bytes_after: usize,
}
