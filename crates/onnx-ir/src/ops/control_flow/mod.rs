//! Control flow: operators that hold graphs.

mod if_;
mod join;
mod loop_;
mod scan;
mod stack;
mod state;

pub use if_::If;
pub use loop_::Loop;
pub use scan::Scan;
pub use stack::Direction;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<If>(),
    OpEntry::of::<Loop>(),
    OpEntry::of::<Scan>(),
];
