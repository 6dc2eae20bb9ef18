//! Criterion benches of the kernels, beside their peers: `cargo bench -p modelpress-benches`.
