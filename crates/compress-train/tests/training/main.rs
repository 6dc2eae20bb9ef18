//! A small network trained from end to end.

mod network;
mod pictures;
mod resume;
mod scales;
