//! Exact int8 arithmetic: element types, linear quantisation, requantisation and its rounding
//! rules, and elementwise operators on bytes.

mod elementwise;
mod fake;
mod linear;
mod output;
mod requantize;
mod store;
mod tile;

pub use elementwise::{BinaryScales, add_int8, lookup, lookup_table, mul_int8};
pub use fake::{Estimator, Grid, fake_quantize, fake_quantize_grad};
pub use linear::{ScaleZero, dequantize, dequantize_wide, dynamic_scale, quantize, quantize_wide};
pub use output::{Dequantize, IntegerEpilogue, QuantByte, RawOutput};
pub use requantize::{RequantRule, Requantization};

pub(crate) use output::{Channels, SumRule, SumTile};
pub(crate) use requantize::check_channels;
pub(crate) use store::{SumWord, Sums, copy_short, packed_range, store_sums};
