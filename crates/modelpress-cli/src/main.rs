//! The modelpress program: one verb per file under `verbs/`.
//!
//! Exits with 0, with 1 where the work failed (one line on standard error says why), with 2 for wrong usage.
#![forbid(unsafe_code)]

mod arrays;
mod calibration;
mod context;
mod error;
mod numbers;
mod outputs;
mod progress;
mod quantization;
mod table;
mod tuning;
mod units;
mod verbs;

use clap::Parser;
use context::Context;
use error::{Error, Usage};
use modelpress::session::{Autotune, SessionOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes trained ONNX models small and fast.
#[derive(Parser)]
#[command(name = "modelpress", version, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    verb: verbs::Verb,
    /// Print one JSON object on standard output and nothing else there.
    #[arg(long, global = true)]
    json: bool,
    /// Threads that run models; one per CPU core unless given.
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = numbers::threads,
        default_value_t = 0,
        hide_default_value = true
    )]
    threads: usize,
    /// Node evaluations that one run of a model may take, those in loops counted each time; 10,000,000 unless given.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_steps: Option<u64>,
    /// Sum f32 convolutions tap by tap only, not by Winograd's minimal filtering, which is faster and rounds differently.
    #[arg(long, global = true)]
    no_winograd: bool,
    /// Do not sum f32 convolutions with large windows by the fast Fourier transform, which is faster and rounds differently.
    #[arg(long, global = true)]
    no_fft: bool,
    /// Measure which kernels are fastest on this machine, once per layer, before a model runs (bench, run, eval, compare), and keep that in FILE;
    /// without one, in the user's cache folder.
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    autotune: Option<Option<PathBuf>>,
    /// With --autotune: take what the file holds, and measure and write nothing.
    #[arg(long, global = true, requires = "autotune")]
    autotune_read_only: bool,
}

impl Program {
    /// Refuses `--autotune` where nothing is tuned, and a file without a folder.
    fn check_autotune(&self) -> Result<(), Error> {
        let Some(file) = &self.autotune else {
            return Ok(());
        };
        if !self.verb.tunes() {
            return Err(Usage::IdleAutotune.into());
        }
        let folder = file.as_deref().and_then(Path::parent);
        match folder.filter(|folder| *folder != Path::new("") && !folder.is_dir()) {
            Some(folder) => {
                let missing = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
                Err(Error::file(folder)(missing))
            }
            None => Ok(()),
        }
    }

    fn session_options(&self) -> SessionOptions {
        let mut options = SessionOptions::default()
            .with_winograd(!self.no_winograd)
            .with_fft(!self.no_fft);
        if let Some(file) = &self.autotune {
            let autotune = match file {
                Some(file) => Autotune::default().with_cache(file),
                None => Autotune::default(),
            };
            options = options.with_autotune(match self.autotune_read_only {
                true => autotune.read_only(),
                false => autotune,
            });
        }
        match self.max_steps {
            Some(max_steps) => options.with_max_steps(max_steps),
            None => options,
        }
    }
}

fn main() -> ExitCode {
    let program = Program::parse();
    let context = Context::new(program.json, program.threads, program.session_options());
    let done = program
        .check_autotune()
        .and_then(|()| program.verb.run(&context));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(Error::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}", context.error_word(), error.in_one_line());
            ExitCode::from(error.exit_code())
        }
    }
}
