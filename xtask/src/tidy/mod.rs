//! `cargo xtask tidy`: the house rules that the compiler does not hold.

mod fresh;
mod layers;
mod source;

use crate::process::Error;
use crate::tally::{Outcome, Tally};

/// A place that breaks a rule, in one line.
type Finding = String;

/// A rule: its name and what looks for places that break it.
struct Rule {
    name: &'static str,
    find: fn() -> Result<Vec<Finding>, Error>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "crates know only the crates below them",
        find: layers::find,
    },
    Rule {
        name: "library crates forbid unsafe code and missing docs",
        find: source::lib_attributes,
    },
    Rule {
        name: "unsafe stands only where it was agreed",
        find: source::unsafe_places,
    },
    Rule {
        name: "files stay within 600 lines",
        find: source::long_files,
    },
    Rule {
        name: "every allowed lint has a reason",
        find: source::allows_without_reason,
    },
    Rule {
        name: "no file is named for nothing",
        find: source::vague_names,
    },
    Rule {
        name: "generated files are fresh",
        find: fresh::find,
    },
];

/// Runs every rule and prints what it finds; one test per rule.
pub(crate) fn run(_: &[String]) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for rule in RULES {
        let findings = (rule.find)()?;
        for finding in &findings {
            println!("{}: {finding}", rule.name);
        }
        tally += Tally::of_one(Outcome::from(findings.is_empty()));
    }
    println!("tidy: {} rules hold, {} broken", tally.passed, tally.failed);
    Ok(tally)
}
