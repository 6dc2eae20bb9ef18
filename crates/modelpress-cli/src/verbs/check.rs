//! `modelpress check`: is a model valid?

use crate::context::{Context, load};
use crate::error::Error;
use clap::Args;
use modelpress::ir::check::{Severity, check, check_with_facts};
use serde::Serialize;
use std::path::PathBuf;

/// Check a model against the ONNX specification; exit with 1 if it is not valid.
#[derive(Args)]
#[command(after_help = "Example:\n  modelpress check model.onnx")]
pub(crate) struct Check {
    /// The ONNX file.
    model: PathBuf,
    /// Also infer types and shapes: what does not fit, or contradicts what the file declares, is an error.
    #[arg(long)]
    facts: bool,
}

#[derive(Serialize)]
struct Outcome {
    valid: bool,
    errors: usize,
    warnings: usize,
    findings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    severity: String,
    rule: &'static str,
    graph: Option<String>,
    node: Option<String>,
    op: Option<String>,
    message: String,
    #[serde(skip)]
    line: String,
}

impl Check {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let model = load(&self.model)?;
        let findings = if self.facts {
            check_with_facts(&model)
        } else {
            check(&model)
        };
        let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
        let errors = count(Severity::Error);
        let outcome = Outcome {
            valid: errors == 0,
            errors,
            warnings: count(Severity::Warning),
            findings: findings
                .iter()
                .map(|f| Found {
                    severity: f.severity.to_string(),
                    rule: f.rule(),
                    graph: f.place.graph.clone(),
                    node: f.place.node.clone(),
                    op: f.place.op.clone(),
                    message: f.problem.to_string(),
                    line: f.to_string(),
                })
                .collect(),
        };
        cx.report(&outcome, |out| {
            for found in &outcome.findings {
                writeln!(out, "{}", found.line)?;
            }
            let verdict = if outcome.valid { "valid" } else { "not valid" };
            let (errors, warnings) = (outcome.errors, outcome.warnings);
            writeln!(out, "{verdict}: {errors} errors, {warnings} warnings")
        })?;
        if errors > 0 {
            return Err(Error::Invalid {
                path: self.model.clone(),
                errors,
            });
        }
        Ok(())
    }
}
