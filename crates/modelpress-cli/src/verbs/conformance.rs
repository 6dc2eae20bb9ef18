//! `modelpress conformance`: the ONNX backend tests, counted.

mod guard;

use crate::context::Context;
use crate::error::{Error, Usage};
use crate::table::{Align, Table};
use clap::Args;
use guard::{Guard, Status};
use modelpress::ir::backend_tests::discover;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Run a folder of ONNX backend tests and count those that pass; exit with 1 if one fails.
#[derive(Args)]
#[command(after_help = "Example:\n  modelpress conformance onnx/backend/test/data/node --op Conv")]
pub(crate) struct Conformance {
    /// The folder; each test is a folder with model.onnx and test_data_set_0.
    folder: PathBuf,
    /// Run in the reference evaluator instead of the session.
    #[arg(long)]
    reference: bool,
    /// Only tests whose name holds this text.
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// Only tests of this operator.
    #[arg(long, value_name = "OP")]
    op: Option<String>,
    /// A test that takes longer than this has failed.
    #[arg(long, value_name = "S", default_value_t = 20)]
    max_seconds: u64,
    /// A test whose model file is larger than this is skipped.
    #[arg(long, value_name = "MB", default_value_t = 256)]
    max_megabytes: u64,
}

#[derive(Serialize)]
struct Outcome {
    passed: usize,
    failed: usize,
    skipped: usize,
    operators: Vec<Operator>,
    cases: Vec<CaseOutcome>,
}

#[derive(Serialize)]
struct Operator {
    operator: String,
    passed: usize,
    failed: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct CaseOutcome {
    name: String,
    operator: String,
    status: Status,
    reason: Option<String>,
}

impl Conformance {
    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        let mut cases = discover(&self.folder).map_err(Error::file(&self.folder))?;
        if cases.is_empty() {
            let missing =
                "no ONNX backend test here: each is a folder with model.onnx and test_data_set_0";
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, missing);
            return Err(Error::file(&self.folder)(missing));
        }
        let wanted = |name: &str| {
            self.filter.is_empty() || self.filter.iter().any(|f| name.contains(f.as_str()))
        };
        let found = cases.len();
        cases.retain(|case| wanted(&case.name));
        let mut guard = Guard::new(guard::Rules {
            options: cx.session_options(),
            reference: self.reference,
            operator: self.op.clone(),
            time: Duration::from_secs(self.max_seconds),
            file_bytes: self.max_megabytes.saturating_mul(1_000_000),
        });
        let mut progress = cx.progress("conformance", cases.len());
        let mut outcomes = Vec::new();
        for case in cases {
            progress.add(1);
            let name = case.name.clone();
            if let Some(judged) = guard.judge(case) {
                outcomes.push(CaseOutcome {
                    name,
                    operator: judged.operator,
                    status: judged.status,
                    reason: judged.reason,
                });
            }
        }
        drop(progress);
        let outcome = summarise(outcomes);
        cx.report(&outcome, |out| print(&outcome, out))?;
        match outcome.failed {
            0 if outcome.passed == 0 => Err(Usage::NoCase { cases: found }.into()),
            0 => Ok(()),
            failed => Err(Error::CasesFailed {
                failed,
                run: failed + outcome.passed,
            }),
        }
    }
}

fn summarise(cases: Vec<CaseOutcome>) -> Outcome {
    let mut operators: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut total = [0; 3];
    for case in &cases {
        let at = case.status as usize;
        operators.entry(case.operator.clone()).or_default()[at] += 1;
        total[at] += 1;
    }
    let [passed, failed, skipped] = total;
    let operator = |(operator, [passed, failed, skipped]): (String, [usize; 3])| Operator {
        operator,
        passed,
        failed,
        skipped,
    };
    Outcome {
        passed,
        failed,
        skipped,
        operators: operators.into_iter().map(operator).collect(),
        cases,
    }
}

fn print(outcome: &Outcome, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    for case in &outcome.cases {
        if let Some(reason) = &case.reason {
            writeln!(out, "{} [{}]: {reason}", case.name, case.operator)?;
        }
    }
    let mut table = Table::new(&[
        ("operator", Align::Left),
        ("passed", Align::Right),
        ("failed", Align::Right),
        ("skipped", Align::Right),
    ]);
    for o in outcome
        .operators
        .iter()
        .filter(|o| o.failed + o.skipped > 0)
    {
        let counts = [o.passed, o.failed, o.skipped].map(|n| n.to_string());
        table.row(std::iter::once(o.operator.clone()).chain(counts));
    }
    if !table.is_empty() {
        table.print(out)?;
        writeln!(out)?;
    }
    let (passed, failed, skipped) = (outcome.passed, outcome.failed, outcome.skipped);
    writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")
}
