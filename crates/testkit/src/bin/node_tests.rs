//! Runs a folder of ONNX backend tests in the reference evaluator or the session and counts by operator.
//!
//! `node_tests FOLDER [FILTER…] [--session | --infer] [--op OPERATOR] [--known FILE]`: only tests whose
//! name holds one of the filters; `--session` runs the session, `--infer` checks shape inference instead of
//! values; `--op` keeps the tests of one operator; `--known` lists tests that are known to fail, with their
//! reasons: such a test fails this run only when it passes or panics, or is not there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use testkit::node_tests::{
    Failure, InSession, Reference, Report, Runtime, discover, operator_under_test,
};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut folder, mut filters, mut infer, mut only) = (None, Vec::new(), false, None);
    let mut runtime: &dyn Runtime = &Reference;
    let mut known = HashMap::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--infer" => infer = true,
            "--session" => runtime = &InSession,
            "--known" => match args
                .next()
                .map(|path| (std::fs::read_to_string(&path), path))
            {
                Some((Ok(text), _)) => known = known_failures(&text),
                Some((Err(error), path)) => {
                    eprintln!("{path}: {error}");
                    return ExitCode::from(2);
                }
                None => {}
            },
            "--op" => only = args.next(),
            _ if folder.is_none() => folder = Some(PathBuf::from(arg)),
            _ => filters.push(arg),
        }
    }
    let Some(folder) = folder else {
        eprintln!("usage: node_tests FOLDER [FILTER...] [--infer] [--op OPERATOR]");
        return ExitCode::from(2);
    };
    let cases = match discover(&folder) {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            return ExitCode::from(2);
        }
    };
    // A panic is one failed test and is reported as such.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let mut report = Report::default();
    for case in cases.iter().filter(|case| wanted(&case.name)) {
        let model = case.model();
        let operator = model
            .as_ref()
            .map_or_else(|_| "(not loaded)".to_owned(), operator_under_test);
        if only.as_ref().is_some_and(|only| *only != operator) {
            continue;
        }
        let outcome = model.and_then(|model| match infer {
            true => case.check_inference(&model),
            false => case.run(&model, runtime),
        });
        if known.remove(&case.name).is_some() && !matches!(outcome, Err(Failure::Panic(_))) {
            if outcome.is_ok() {
                println!(
                    "{} [{operator}]: passes: take it off the list of known failures",
                    case.name
                );
                report.count(&operator, &Err(()));
            }
            continue;
        }
        report.count(&operator, &outcome);
        if let Err(failure) = outcome {
            println!("{} [{operator}]: {failure}", case.name);
        }
    }
    if filters.is_empty() && only.is_none() {
        for name in known.keys() {
            println!("{name}: no such test: take it off the list of known failures");
            report.count("(no test)", &Err(()));
        }
    }
    println!("{report}");
    let total = report.total();
    println!("{} passed, {} failed", total.passed, total.failed);
    match report.total().failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Lines of `name: reason`; `#` starts a comment.
fn known_failures(text: &str) -> HashMap<String, String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, reason)| (name.trim().to_owned(), reason.trim().to_owned()))
        .collect()
}
