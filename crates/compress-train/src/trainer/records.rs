//! The log of a run, and its curves.

use super::callback::{EpochEnd, StepEnd};
use super::config::{LogConfig, TrainerConfig};
use super::error::TrainError;
use super::metric::{Metric, Score};
use crate::log::Log;
use crate::picture::{Scale, curves, panel};
use compress_tensor::write_atomically;
use std::io::Write;
use std::path::PathBuf;

/// Columns of every row; those of scores follow.
const STEP_COLUMNS: [&str; 4] = ["epoch", "loss", "gradient_norm", "learning_rate"];

/// What of a run is written down as it goes.
pub(super) struct Records {
    log: Option<(Log, LogConfig)>,
    picture: Option<PathBuf>,
    /// The names of the scores, the loss first.
    scores: Vec<String>,
    has_validation: bool,
}

impl Records {
    /// Takes up the log behind a step.
    pub(super) fn open(
        config: &TrainerConfig,
        metrics: &[Box<dyn Metric>],
        has_validation: bool,
        step: u64,
    ) -> Result<Self, TrainError> {
        let names = std::iter::once("loss").chain(metrics.iter().map(|metric| metric.name()));
        let mut records = Self {
            log: None,
            picture: config.curves.clone(),
            scores: names.map(str::to_owned).collect(),
            has_validation,
        };
        if let Some(log) = &config.log {
            let columns = records.columns();
            let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
            let opened = if step == 0 {
                Log::create(&log.path, log.format, &columns)?
            } else {
                Log::resume(&log.path, log.format, &columns, step)?
            };
            records.log = Some((opened, log.clone()));
        }
        Ok(records)
    }

    fn parts(&self) -> impl Iterator<Item = &'static str> {
        ["train", "validation"]
            .into_iter()
            .take(1 + usize::from(self.has_validation))
    }

    fn columns(&self) -> Vec<String> {
        let scores = self
            .parts()
            .flat_map(|part| self.scores.iter().map(move |s| format!("{part}_{s}")));
        STEP_COLUMNS
            .iter()
            .map(ToString::to_string)
            .chain(scores)
            .collect()
    }

    /// Writes the row of a step, if there is to be one.
    pub(super) fn add(
        &mut self,
        step: &StepEnd,
        epoch: Option<&EpochEnd>,
    ) -> Result<(), TrainError> {
        let parts = 1 + usize::from(self.has_validation);
        let Some((log, config)) = &mut self.log else {
            return Ok(());
        };
        if epoch.is_none() && !step.step.is_multiple_of(config.every) {
            return Ok(());
        }
        let mut row = vec![
            Some(step.epoch as f64),
            Some(step.loss),
            Some(step.gradient_norm),
            Some(step.learning_rate),
        ];
        let value = |scores: &[Score], name: &String| {
            let found = scores.iter().find(|score| score.name == *name);
            found.map(|score| score.value)
        };
        let none: &[Score] = &[];
        let both = epoch.map_or([none; 2], |end| [&end.train, &end.validation]);
        for scores in both.into_iter().take(parts) {
            row.extend(self.scores.iter().map(|name| value(scores, name)));
        }
        Ok(log.append(step.step, &row)?)
    }

    /// Draws the curves of the rows so far.
    pub(super) fn draw(&self) -> Result<(), TrainError> {
        let (Some(path), Some((log, _))) = (&self.picture, &self.log) else {
            return Ok(());
        };
        let (rows, columns) = (log.rows()?, self.columns());
        let panels = self.scores.iter().map(|name| {
            let mut wanted: Vec<String> =
                self.parts().map(|part| format!("{part}_{name}")).collect();
            if name == "loss" {
                wanted.insert(0, name.clone());
            }
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            panel(name, Scale::Linear, &columns, &rows, &wanted)
        });
        let mut panels: Vec<_> = panels.collect();
        for name in ["gradient_norm", "learning_rate"] {
            let title = name.replace('_', " ");
            panels.push(panel(&title, Scale::Logarithmic, &columns, &rows, &[name]));
        }
        let svg = curves("training", &panels);
        let written: std::io::Result<()> =
            write_atomically(path, |file| file.write_all(svg.as_bytes()));
        written.map_err(|source| TrainError::File {
            path: path.clone(),
            source,
        })
    }
}
