//! Whole models, trained.

mod digits;
mod learning;
mod models;
