//! The verbs of the program.

mod bench;
mod calibrate;
mod check;
mod compare;
mod completions;
mod conformance;
mod demo;
mod distill;
mod eval;
mod inspect;
mod optimize;
mod qat;
mod quantize;
mod run;
mod train;

use crate::context::Context;
use crate::error::Error;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Verb {
    Inspect(inspect::Inspect),
    Check(check::Check),
    Optimize(optimize::Optimize),
    Run(run::Run),
    Eval(Box<eval::Eval>),
    Bench(bench::Bench),
    Compare(compare::Compare),
    Calibrate(Box<calibrate::Calibrate>),
    Quantize(Box<quantize::Quantize>),
    Qat(Box<qat::Qat>),
    Train(Box<train::Train>),
    Distill(Box<distill::Distill>),
    Conformance(conformance::Conformance),
    Demo(demo::Demo),
    Completions(completions::Completions),
}

impl Verb {
    /// Whether models run as `--autotune` chooses.
    pub(crate) fn tunes(&self) -> bool {
        matches!(
            self,
            Self::Run(_) | Self::Eval(_) | Self::Bench(_) | Self::Compare(_)
        )
    }

    pub(crate) fn run(&self, cx: &Context) -> Result<(), Error> {
        match self {
            Self::Inspect(verb) => verb.run(cx),
            Self::Check(verb) => verb.run(cx),
            Self::Optimize(verb) => verb.run(cx),
            Self::Run(verb) => verb.run(cx),
            Self::Eval(verb) => verb.run(cx),
            Self::Bench(verb) => verb.run(cx),
            Self::Compare(verb) => verb.run(cx),
            Self::Calibrate(verb) => verb.run(cx),
            Self::Quantize(verb) => verb.run(cx),
            Self::Qat(verb) => verb.run(cx),
            Self::Train(verb) => verb.run(cx),
            Self::Distill(verb) => verb.run(cx),
            Self::Conformance(verb) => verb.run(cx),
            Self::Demo(verb) => verb.run(cx),
            Self::Completions(verb) => verb.run(cx),
        }
    }
}
