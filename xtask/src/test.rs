//! `cargo xtask test`: everything that CI holds the repository to, in one run.
//!
//! Ends in one line `N passed, N failed`: the tests of every part, each check that is not a test
//! counting as one.

use crate::process::{self, Error};
use crate::tally::{Outcome, Tally};
use crate::{conformance, tidy, venv};

/// A check that is one cargo command: what it holds, its arguments and its environment.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const CHECKS: &[Check] = &[
    Check {
        name: "format",
        arguments: &["fmt", "--all", "--check"],
        environment: &[],
    },
    Check {
        name: "lints",
        arguments: &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        environment: &[],
    },
    Check {
        name: "documentation without warnings",
        arguments: &["doc", "--quiet", "--workspace", "--no-deps"],
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Check {
        name: "compress-quant without the runtime",
        // Built, it would compile all that it depends on once more: alone it has other features of theirs.
        arguments: &[
            "check",
            "--quiet",
            "--package",
            "compress-quant",
            "--no-default-features",
        ],
        environment: &[],
    },
];

/// Runs all parts, whichever fail; prints what failed once more at the end, and the sum.
pub(crate) fn run(_: &[String]) -> Result<Tally, Error> {
    venv::ensure()?;
    let mut total = Tally::default();
    let mut failures = Vec::new();
    let mut add = |part: &str, tally: Tally| {
        if tally.failed > 0 {
            failures.push(format!("{} failed in {part}", tally.failed));
        }
        total += tally;
    };
    for check in CHECKS {
        add(check.name, one_check(check)?);
    }
    announce("house rules");
    add("house rules", tidy::run(&[])?);
    announce("tests");
    let (tally, failed_tests) = cargo_tests()?;
    add("tests", tally);
    announce("conformance");
    add("conformance", conformance::run(&[])?);
    for failure in failures.iter().chain(&failed_tests) {
        println!("{failure}");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total)
}

fn one_check(check: &Check) -> Result<Tally, Error> {
    announce(check.name);
    let mut command = process::cargo(check.arguments);
    command.envs(check.environment.iter().copied());
    match process::run(&mut command) {
        Ok(()) => Ok(Tally::of_one(Outcome::Passed)),
        Err(Error::Ended { command, status }) => {
            println!("FAILED: {} (`{command}`: {status})", check.name);
            Ok(Tally::of_one(Outcome::Failed))
        }
        Err(error) => Err(error),
    }
}

/// Unit, property, integration and documentation tests of the workspace, and the lines of those that failed.
fn cargo_tests() -> Result<(Tally, Vec<String>), Error> {
    let mut tally = Tally::default();
    let mut failed = Vec::new();
    let mut command = process::cargo(&["test", "--workspace", "--no-fail-fast"]);
    let ended_well = process::stream(&mut command, |line| {
        if let Some(counts) = Tally::from_result_line(line) {
            tally += counts;
        } else if line.starts_with("test ") && line.ends_with("... FAILED") {
            failed.push(line.to_owned());
        }
    })?;
    if !ended_well && tally.failed == 0 {
        // Nothing was counted for what did not compile or was killed.
        tally += Tally::of_one(Outcome::Failed);
    }
    Ok((tally, failed))
}

fn announce(part: &str) {
    println!("==> {part}");
}
