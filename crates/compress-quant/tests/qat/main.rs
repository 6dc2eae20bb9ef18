//! Quantization-aware training: gradients on arrays, and networks that are trained with codes.

mod arrays;
mod digits;
mod export;
mod graph;
mod models;
mod training;
