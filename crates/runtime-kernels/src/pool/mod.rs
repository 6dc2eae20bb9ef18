//! Pooling of channels-first and channels-last images, `f32` and int8.

mod backward;
mod float;
mod int8;
mod last;
mod pixels;
mod window;

pub use backward::{average_pool_grad, max_pool_grad};
pub use float::{Pool, global_pool, pool};
pub use int8::{PoolScales, average_pool_int8, global_average_pool_int8, max_pool_int8};
pub use last::{average_pool_int8_channels_last, max_pool_int8_channels_last, pool_channels_last};
pub use window::PoolShape;
