//! What the autotuner did, as verbs report it.

use crate::units::milliseconds;
use modelpress::session::{Session, TunedStep, Tuning};
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// The `autotune` object of `bench`, `run` and `eval`, and those of `compare`.
#[derive(Serialize)]
pub(crate) struct TuningReport {
    /// Steps that were measured; the others were in the file, or run as by rule.
    measured: usize,
    seconds: f64,
    remarks: Vec<String>,
    steps: Vec<Step>,
}

/// A step that has a choice.
#[derive(Serialize)]
struct Step {
    node: String,
    kernel: &'static str,
    rule: String,
    /// Null where it was not measured.
    rule_ms: Option<f64>,
    chosen: String,
    ms: Option<f64>,
    is_measured: bool,
}

impl TuningReport {
    /// Of a session; `None` where nothing is tuned. Remarks go to standard error.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        let Tuning {
            steps,
            measured,
            time,
            remarks,
            ..
        } = session.tuning()?;
        for remark in &remarks {
            eprintln!("note: {remark}");
        }
        Some(Self {
            measured,
            seconds: time.as_secs_f64(),
            remarks,
            steps: steps.into_iter().map(Step::from).collect(),
        })
    }

    /// Its line in the text of a verb.
    pub(crate) fn print(of: Option<&Self>, out: &mut dyn Write) -> io::Result<()> {
        match of {
            Some(report) => writeln!(out, "autotune    {}", report.text()),
            None => Ok(()),
        }
    }

    /// As in `12 of 40 steps measured in 3.21 s, 5 run otherwise than by rule`.
    fn text(&self) -> String {
        let otherwise = self.steps.iter().filter(|s| s.chosen != s.rule).count();
        format!(
            "{} of {} steps measured in {:.2} s, {otherwise} run otherwise than by rule",
            self.measured,
            self.steps.len(),
            self.seconds
        )
    }
}

impl From<TunedStep> for Step {
    fn from(step: TunedStep) -> Self {
        let ms = |time: Option<Duration>| time.map(milliseconds);
        Self {
            rule_ms: ms(step.rule_time),
            ms: ms(step.time),
            node: step.node,
            kernel: step.kernel,
            rule: step.rule,
            chosen: step.chosen,
            is_measured: step.is_measured,
        }
    }
}
