//! Development tasks: `cargo xtask <command>`; without a command, the list of them.

mod conformance;
mod peers;
mod process;
mod proto;
mod races;
mod schema;
mod study;
mod tally;
mod test;
mod tidy;
mod venv;
mod workspace;

use std::process::ExitCode;

use process::Error;
use tally::Tally;

/// A command by its name, what it does in one line, and the function that does it.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<Tally, Error>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        about: "format, lints, house rules, all tests, docs, compress-quant without features, conformance: what CI runs",
        run: test::run,
    },
    Command {
        name: "conformance",
        about: "hold what we read, check and write against the pinned peers [inference|checker|opset]",
        run: conformance::run,
    },
    Command {
        name: "tidy",
        about: "the house rules: dependency direction, unsafe, file length, fresh generated files",
        run: tidy::run,
    },
    Command {
        name: "proto",
        about: "write the wire format structs from the pinned onnx package [--check]",
        run: proto::run,
    },
    Command {
        name: "schema",
        about: "write the operator schema facts from the pinned packages [--check]",
        run: schema::run,
    },
    Command {
        name: "study",
        about: "measure: int8, fidelity, cost, latency, latency-model, loading or sharing",
        run: study::run,
    },
    Command {
        name: "races",
        about: "the tests of threads under ThreadSanitizer; needs nightly with rust-src",
        run: races::run,
    },
    Command {
        name: "bench-peers",
        about: "latency beside onnxruntime, LiteRT, rten and tract [--threads N[,N…]] [--rounds N] [CASE …]",
        run: peers::run,
    },
    Command {
        name: "venv",
        about: "make target/venv with the pinned Python packages and print its interpreter",
        run: venv::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print_usage();
        return ExitCode::from(2);
    };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("xtask: no command named {name:?}");
        print_usage();
        return ExitCode::from(2);
    };
    match (command.run)(rest) {
        Ok(tally) if tally.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_usage() {
    eprintln!("usage: cargo xtask <command>\n");
    for command in COMMANDS {
        eprintln!("  {:<12} {}", command.name, command.about);
    }
}
