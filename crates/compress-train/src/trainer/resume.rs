//! Checkpoints of a run, and going on from them.

use super::Trainer;
use super::callback::EpochEnd;
use super::error::TrainError;
use super::metric::Tally;
use crate::checkpoint::{Checkpoint, CheckpointError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What of a run stands in the notes of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Notes {
    tally: Tally,
    epochs: Vec<EpochEnd>,
    has_stopped: bool,
}

/// The settings that the weights depend on.
const SETTINGS: &str = "settings";
/// Where a condition of [`Trainer::with_condition`] stands.
fn condition(name: &str) -> String {
    format!("condition {name}")
}

/// What the names of a loss's state begin with, among the weights.
const LOSS: &str = "modelpress.loss/";

/// The rest of [`Notes`].
const RUN: &str = "run";

impl Trainer {
    /// The run as it stands.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            step: self.step,
            optimizer: self.optimizer.state(),
            ema: self.ema.as_ref().map(|ema| ema.state()),
            sampler: self.position.unwrap_or_default(),
            stopping: Some(self.stopping.state()),
            best: self.best.clone(),
            ..Checkpoint::default()
        };
        let state = self.network.state();
        checkpoint.weights = state
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        let of_loss = self.loss.state().into_iter();
        checkpoint
            .weights
            .extend(of_loss.map(|(name, value)| (format!("{LOSS}{name}"), value)));
        checkpoint.seeds.insert("run".into(), self.config.seed);
        let notes = Notes {
            tally: self.tally.clone(),
            epochs: self.epochs.clone(),
            has_stopped: self.has_stopped,
        };
        let run = serde_json::to_string(&notes).unwrap_or_default();
        checkpoint.notes.insert(RUN.into(), run);
        checkpoint
            .notes
            .insert(SETTINGS.into(), self.config.fingerprint());
        let conditions = self.conditions.iter();
        let conditions = conditions.map(|(name, text)| (condition(name), text.clone()));
        checkpoint.notes.extend(conditions);
        checkpoint
    }

    /// Writes a checkpoint, where the settings ask for them.
    pub(super) fn save(&self) -> Result<(), TrainError> {
        match &self.config.checkpoint {
            Some(config) => Ok(self.checkpoint().write(&config.path)?),
            None => Ok(()),
        }
    }

    /// Goes on from the checkpoint in a file: the next [`Trainer::fit`] on the same data ends in the bytes that an unbroken run ends in.
    /// Metrics and what else was given to the trainer are those of the run that wrote it.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`], [`TrainError::OtherRun`] for one of other settings or weights; the trainer is then of no use.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), TrainError> {
        let path = path.as_ref();
        let checkpoint = Checkpoint::read(path)?;
        self.restore(&checkpoint, path)
    }

    fn restore(&mut self, checkpoint: &Checkpoint, path: &Path) -> Result<(), TrainError> {
        let note = |key: &str, what| {
            checkpoint
                .notes
                .get(key)
                .ok_or_else(|| CheckpointError::NotACheckpoint {
                    path: path.to_owned(),
                    what,
                })
        };
        let settings = note(SETTINGS, "the settings of its run")?;
        compare_settings(&self.config.fingerprint(), settings)?;
        for (name, expected) in &self.conditions {
            let found = checkpoint.notes.get(&condition(name));
            if found != Some(expected) {
                return Err(TrainError::OtherRun {
                    what: format!("`{name}`"),
                    expected: expected.clone(),
                    found: found.map_or("missing".into(), String::clone),
                });
            }
        }
        let notes = note(RUN, "the state of its run")?;
        let notes: Notes =
            serde_json::from_str(notes).map_err(|source| CheckpointError::State {
                path: path.to_owned(),
                source,
            })?;
        let own: Vec<String> = self
            .network
            .state()
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in &own {
            let value = checkpoint
                .weights
                .get(name)
                .ok_or_else(|| TrainError::OtherRun {
                    what: format!("weight `{name}`"),
                    expected: "there".into(),
                    found: "missing".into(),
                })?;
            self.network.set(name, value)?;
        }
        let of_loss = checkpoint.weights.iter();
        let of_loss = of_loss.filter_map(|(name, value)| {
            let name = name.strip_prefix(LOSS)?;
            Some((name.to_owned(), value.clone()))
        });
        self.loss.restore(&of_loss.collect())?;
        let mut names = checkpoint.weights.keys();
        if let Some(name) = names.find(|name| !own.contains(name) && !name.starts_with(LOSS)) {
            return Err(TrainError::OtherRun {
                what: format!("weight `{name}`"),
                expected: "missing".into(),
                found: "there".into(),
            });
        }
        let metrics = Tally::new(self.metrics.len());
        if !notes.tally.fits(&metrics) {
            return Err(TrainError::OtherRun {
                what: "the number of metrics".into(),
                expected: metrics.metrics().to_string(),
                found: notes.tally.metrics().to_string(),
            });
        }
        self.optimizer.restore(&checkpoint.optimizer)?;
        if let (Some(ema), Some(state)) = (&mut self.ema, &checkpoint.ema) {
            ema.restore(state)?;
        }
        if let Some(state) = checkpoint.stopping {
            self.stopping.restore(state);
        }
        self.best.clone_from(&checkpoint.best);
        self.step = checkpoint.step;
        self.position = (checkpoint.step > 0).then_some(checkpoint.sampler);
        (self.tally, self.epochs, self.has_stopped) =
            (notes.tally, notes.epochs, notes.has_stopped);
        Ok(())
    }
}

/// Tells the first setting in which two runs differ.
fn compare_settings(expected: &str, found: &str) -> Result<(), TrainError> {
    if expected == found {
        return Ok(());
    }
    let parse = |text: &str| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(text).unwrap_or_default()
    };
    let (own, other) = (parse(expected), parse(found));
    let none = serde_json::Value::Null;
    let differs = own
        .keys()
        .chain(other.keys())
        .find(|key| own.get(*key).unwrap_or(&none) != other.get(*key).unwrap_or(&none));
    let text = |of: &serde_json::Map<String, serde_json::Value>| {
        differs
            .and_then(|key| of.get(key))
            .unwrap_or(&none)
            .to_string()
    };
    Err(TrainError::OtherRun {
        what: differs.map_or("the settings".into(), |key| format!("`{key}`")),
        expected: text(&own),
        found: text(&other),
    })
}
