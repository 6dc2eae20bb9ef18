//! Every loss: its gradient against differences, its values against PyTorch, what it keeps and what it refuses.

mod contrast;
mod degenerate;
mod differences;
mod errors;
mod features;
mod goldens;
mod invariants;
mod layouts;
mod logits;
mod relations;
mod samples;
mod teachers;
mod transformer;
