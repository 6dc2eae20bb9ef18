//! `cargo xtask venv`: the virtual environment with the pinned peers (`requirements.txt`).
//!
//! It lies in `target/venv`, or in the folder that `MODELPRESS_VENV` names so that several
//! checkouts can share one. A copy of the requirements inside marks it as complete.

use std::path::{Path, PathBuf};

use crate::process::{self, Error};
use crate::tally::Tally;
use crate::workspace;

/// Makes the environment when it is missing or out of date and prints its interpreter.
pub(crate) fn run(_: &[String]) -> Result<Tally, Error> {
    println!("{}", ensure()?.display());
    Ok(Tally::default())
}

/// The environment's interpreter; makes the environment first when need be.
pub(crate) fn ensure() -> Result<PathBuf, Error> {
    let requirements = workspace::root().join("xtask/requirements.txt");
    let wanted = std::fs::read(&requirements).map_err(Error::file(&requirements))?;
    if let Some(python) = existing(&wanted) {
        return Ok(python);
    }
    let folder = folder();
    eprintln!(
        "xtask: installing the pinned peers into {}",
        folder.display()
    );
    let folder_name = folder.to_string_lossy();
    process::run(&mut process::command(
        "python3",
        &["-m", "venv", "--clear", &folder_name],
    ))?;
    install(&requirements)?;
    let stamp = stamp();
    std::fs::write(&stamp, wanted).map_err(Error::file(&stamp))?;
    Ok(interpreter())
}

/// The same with what a file beside `requirements.txt` names, as `requirements-peers.txt`.
pub(crate) fn ensure_with(name: &str) -> Result<PathBuf, Error> {
    let python = ensure()?;
    let requirements = workspace::root().join("xtask").join(name);
    let wanted = std::fs::read(&requirements).map_err(Error::file(&requirements))?;
    let stamp = folder().join(name);
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    install(&requirements)?;
    std::fs::write(&stamp, wanted).map_err(Error::file(&stamp))?;
    Ok(python)
}

/// Installs what a file of requirements names.
fn install(requirements: &Path) -> Result<(), Error> {
    let name = requirements.to_string_lossy();
    let install = ["-m", "pip", "install", "--quiet", "--requirement", &name];
    process::run(&mut process::command(&interpreter(), &install))
}

/// The interpreter of an environment that is already there and up to date.
pub(crate) fn existing(wanted_requirements: &[u8]) -> Option<PathBuf> {
    let found = std::fs::read(stamp()).ok()?;
    (found == wanted_requirements).then(interpreter)
}

fn folder() -> PathBuf {
    std::env::var_os("MODELPRESS_VENV")
        .map_or_else(|| workspace::target().join("venv"), PathBuf::from)
}

fn interpreter() -> PathBuf {
    folder().join("bin/python")
}

fn stamp() -> PathBuf {
    folder().join("requirements.txt")
}
