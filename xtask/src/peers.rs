//! `cargo xtask bench-peers [--threads N[,N…]] [--rounds N] [CASE …]`: latency beside other runtimes.
//!
//! `xtask/python/bench_peers.py` runs all of them in turn: the program, the Python packages of both requirement files, and
//! the crates that `benches/peers` times. That is a workspace of its own, so that nothing else builds them.

use std::path::PathBuf;

use crate::process::{self, Error};
use crate::tally::Tally;
use crate::{study, venv, workspace};

/// Builds and installs what is missing, then measures; the arguments are the script's.
pub(crate) fn run(arguments: &[String]) -> Result<Tally, Error> {
    let python = venv::ensure_with("requirements-peers.txt")?;
    let program = study::program()?;
    let script = ["xtask/python/bench_peers.py"];
    let mut command = process::command(&python, &script);
    command.arg(program).arg(crates()?).arg(study::data());
    process::run(command.args(arguments))?;
    Ok(Tally::default())
}

/// A release build of `benches/peers`.
fn crates() -> Result<PathBuf, Error> {
    let target = workspace::target().join("peers");
    let build = [
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--manifest-path",
        "benches/peers/Cargo.toml",
        "--target-dir",
    ];
    process::run(process::cargo(&build).arg(&target))?;
    Ok(target.join("release/modelpress-peers"))
}
