//! Whole models, trained.

mod digits;
mod errors;
mod exactness;
mod learning;
mod models;
mod reproducible;
