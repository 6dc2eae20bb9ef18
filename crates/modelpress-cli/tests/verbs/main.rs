//! Every verb as a person runs it: exit codes, JSON keys, the error line, no half-written output.

mod bench;
mod conformance;
mod data;
mod distill;
mod messages;
mod models;
mod outputs;
mod program;
mod qat;
mod quantize;
mod train;
mod tuning;
mod usage;
