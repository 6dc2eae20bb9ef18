//! Criterion benches of the kernels, beside their peers, and of whole models: `cargo bench -p modelpress-benches`.
