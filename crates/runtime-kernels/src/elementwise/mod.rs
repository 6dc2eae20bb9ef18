//! Functions applied to each element.

mod activation;
mod binary;
pub(crate) mod math;
mod unary;

pub use activation::Activation;
pub use binary::{Binary, Broadcast, Order, binary};
pub use unary::{Unary, unary, unary_in_place};
