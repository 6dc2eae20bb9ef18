//! Pooling of channels-first images, `f32` and int8.

mod float;
mod int8;
mod window;

pub use float::{Pool, global_pool, pool};
pub use int8::{PoolScales, average_pool_int8, global_average_pool_int8, max_pool_int8};
pub use window::PoolShape;
