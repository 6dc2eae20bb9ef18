//! Quantization of whole ONNX models.
//!
//! [`prepare`] brings a model into the form that quantization works on; [`calibrate`] gathers statistics;
//! [`quantize_static`], [`quantize_dynamic`] and [`quantize_weights`] give the quantized model and a
//! [`Report`].

mod calibrate;
mod captured;
mod codes;
mod config;
mod dynamic;
mod edit;
mod error;
mod gather;
mod inputs;
mod insert;
mod mean;
mod names;
mod operators;
mod patches;
mod patterns;
mod plan;
mod preflight;
mod prepare;
pub mod qat;
mod qlinear;
mod report;
mod round;
mod select;
mod sensitivity;
mod static_int8;
mod target;
mod weights_only;

pub use calibrate::Calibration;
pub use config::{Format, Mode, QuantizeConfig, Rounding, WeightGranularity};
pub use dynamic::{quantize_dynamic, quantize_dynamic_calibrated};
pub use error::{CalibrationError, QuantizeError};
pub use gather::{Sample, calibrate, calibrate_for};
pub use names::{Names, shortened};
pub use patterns::literal_pattern;
pub use prepare::prepare;
pub use report::{LayerReport, Note, Report, SkippedNode};
pub use sensitivity::{NodeSensitivity, Sensitivity, sensitivity};
pub use static_int8::quantize_static;
pub use target::{FixedOutput, Target, TargetRules};
pub use weights_only::{WeightOnlyConfig, quantize_weights, quantize_weights_calibrated};
