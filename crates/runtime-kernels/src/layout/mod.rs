//! Moving elements without changing them: permutation of axes, gathering of rows, padding.

mod gather;
mod pad;
mod permute;

pub use gather::{gather_rows, gather_rows_grad};
pub use pad::{Padding, pad};
pub use permute::permute;
