//! Moving elements without changing them: permutation of axes, gathering of rows.

mod gather;
mod permute;

pub use gather::gather_rows;
pub use permute::permute;
