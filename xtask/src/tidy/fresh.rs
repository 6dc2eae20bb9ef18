//! Generated files are what their generators write today.
//!
//! Held where the virtual environment is there (`cargo xtask venv`); without it there is
//! nothing to compare with, and the rule says so.

use super::Finding;
use crate::process::Error;
use crate::{proto, schema, venv, workspace};

pub(super) fn find() -> Result<Vec<Finding>, Error> {
    let requirements = workspace::root().join("xtask/requirements.txt");
    let wanted = std::fs::read(&requirements).map_err(Error::file(&requirements))?;
    if venv::existing(&wanted).is_none() {
        println!("tidy: generated files not compared: no virtual environment (cargo xtask venv)");
        return Ok(Vec::new());
    }
    let check = ["--check".to_string()];
    let mut findings = Vec::new();
    for generator in [schema::run, proto::run] {
        match generator(&check) {
            Ok(_) => {}
            Err(error @ (Error::Stale { .. } | Error::Ended { .. })) => {
                findings.push(error.to_string())
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}
