//! Distillation of whole models, and students made of their teachers.

mod data;
mod distill;
mod errors;
mod models;
mod reproducible;
mod student;
mod terms;
