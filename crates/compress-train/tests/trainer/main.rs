//! Whole models, trained.

mod constants;
mod digits;
mod errors;
mod exactness;
mod learning;
mod models;
mod places;
mod reproducible;
mod stopped;
