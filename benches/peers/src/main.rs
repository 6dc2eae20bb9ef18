//! Times one model in one of the Rust peers, for `cargo xtask bench-peers`:
//! `modelpress-peers rten|tract MODEL INPUTS SECONDS RUNS THREADS`.
//!
//! `INPUTS` is a folder with one `.npy` file per input, named after it. What is printed is one line of JSON. A peer that cannot
//! run the model ends in exit code 1 and a line on stderr that starts with `refuses:` or `panics:`.

mod inputs;
mod measure;
mod rten_peer;
mod tract_peer;

use std::any::Any;
use std::error::Error;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use measure::{Budget, Latency};

/// Whatever a peer says when it does not take a model.
type Refusal = Box<dyn Error>;

/// What to measure, by one peer.
struct Job {
    peer: fn(&Job) -> Result<Latency, Refusal>,
    model: PathBuf,
    inputs: PathBuf,
    threads: usize,
    budget: Budget,
}

const USAGE: &str = "usage: modelpress-peers rten|tract MODEL INPUTS SECONDS RUNS THREADS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(job) = job(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // The message is printed below, once and in one line.
    panic::set_hook(Box::new(|_| {}));
    let failure = match panic::catch_unwind(AssertUnwindSafe(|| (job.peer)(&job))) {
        Ok(Ok(latency)) => {
            println!("{}", latency.to_json());
            return ExitCode::SUCCESS;
        }
        Ok(Err(refusal)) => format!("refuses: {}", with_causes(&*refusal)),
        Err(payload) => format!("panics: {}", message(&*payload)),
    };
    eprintln!(
        "{}",
        failure.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    ExitCode::FAILURE
}

fn job(arguments: &[String]) -> Option<Job> {
    let [peer, model, inputs, seconds, runs, threads] = arguments else {
        return None;
    };
    Some(Job {
        peer: match peer.as_str() {
            "rten" => rten_peer::time,
            "tract" => tract_peer::time,
            _ => return None,
        },
        model: model.into(),
        inputs: inputs.into(),
        threads: threads.parse().ok().filter(|threads| *threads > 0)?,
        budget: Budget {
            runs: runs.parse().ok()?,
            time: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
        },
    })
}

/// An error and what led to it.
fn with_causes(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a panic was called with.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}
