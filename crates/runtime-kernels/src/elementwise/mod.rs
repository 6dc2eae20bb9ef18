//! Functions applied to each element.

mod activation;
mod backward;
mod binary;
mod convert;
pub(crate) mod math;
mod spread;
mod unary;

pub use activation::Activation;

pub(crate) use activation::activate_tile;
pub use backward::{Slope, multiply_slope};
pub use binary::{Binary, Broadcast, Order, binary};
pub use convert::{Half, narrow, widen};
pub(crate) use convert::{narrow_slice, widen_slice};
pub use spread::{map, zip_spread};
pub use unary::{Unary, unary, unary_in_place};
