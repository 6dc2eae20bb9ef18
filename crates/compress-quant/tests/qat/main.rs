//! Quantization-aware training: gradients on arrays, and networks that are trained with codes.

mod arrays;
mod digits;
mod export;
mod goldens;
mod graph;
mod litert;
mod models;
mod training;
