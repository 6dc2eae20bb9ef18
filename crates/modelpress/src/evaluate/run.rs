//! Running a model over a dataset to score it.

use super::{Classes, ScoreError, mean_pool};
use crate::data::{DataError, Dataset};
use crate::session::{Session, SessionError};
use crate::tensor::Tensor;

/// Why a model cannot be scored on a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The samples cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A run failed.
    #[error("samples {start}..{end}: {error}")]
    Run {
        /// The first sample of the run.
        start: usize,
        /// One behind its last.
        end: usize,
        /// The reason.
        error: Box<SessionError>,
    },
    /// The results cannot be scored.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The model has no such output.
    #[error("the model has no output `{name}`; it gives {}", .known.join(", "))]
    NoSuchOutput {
        /// The name.
        name: String,
        /// The outputs of the model.
        known: Vec<String>,
    },
    /// The mask that weights tokens is no input.
    #[error("`{name}` is not among the inputs: name the mask that weights the tokens")]
    NoMask {
        /// The name.
        name: String,
    },
}

/// The class of each sample by the model's `output` (its first one where none is named). `done` is told the
/// number of samples after each run.
///
/// # Errors
/// [`EvaluateError`].
pub fn classify(
    session: &Session,
    data: &Dataset,
    output: Option<&str>,
    mut done: impl FnMut(usize),
) -> Result<Classes, EvaluateError> {
    let (index, name) = find_output(session, output)?;
    let mut classes = Classes::default();
    each_run(session, data, |_, outputs, samples| {
        if let Some(scores) = outputs.get(index) {
            classes.add(&name, scores)?;
        }
        done(samples);
        Ok(())
    })?;
    Ok(classes)
}

/// A vector for each sample: the mean of `output` (`[samples, tokens, width]`) over the tokens, weighted by the
/// input `mask`. `done` is told the number of samples after each run.
///
/// # Errors
/// [`EvaluateError`].
pub fn embed(
    session: &Session,
    data: &Dataset,
    output: Option<&str>,
    mask: &str,
    mut done: impl FnMut(usize),
) -> Result<Vec<Vec<f64>>, EvaluateError> {
    let (index, _) = find_output(session, output)?;
    let mut vectors = Vec::with_capacity(data.len());
    each_run(session, data, |inputs, outputs, samples| {
        let weights = inputs.iter().find(|(name, _)| *name == mask);
        let (_, weights) = weights.ok_or_else(|| EvaluateError::NoMask {
            name: mask.to_owned(),
        })?;
        if let Some(tokens) = outputs.get(index) {
            vectors.extend(mean_pool(tokens, weights)?);
        }
        done(samples);
        Ok(())
    })?;
    Ok(vectors)
}

fn each_run(
    session: &Session,
    data: &Dataset,
    mut see: impl FnMut(&[(&str, Tensor)], &[Tensor], usize) -> Result<(), EvaluateError>,
) -> Result<(), EvaluateError> {
    for batch in data.batches() {
        let batch = batch?;
        let inputs = batch.feeds();
        let outputs = session.run(&inputs).map_err(|error| EvaluateError::Run {
            start: batch.samples.start,
            end: batch.samples.end,
            error: Box::new(error),
        })?;
        see(&inputs, &outputs, batch.samples.len())?;
    }
    Ok(())
}

fn find_output(session: &Session, name: Option<&str>) -> Result<(usize, String), EvaluateError> {
    let mut outputs = session.outputs().map(|(name, _)| name);
    let found = match name {
        Some(name) => outputs
            .position(|n| n == name)
            .map(|i| (i, name.to_owned())),
        None => outputs.next().map(|n| (0, n.to_owned())),
    };
    found.ok_or_else(|| EvaluateError::NoSuchOutput {
        name: name.unwrap_or_default().to_owned(),
        known: session.outputs().map(|(n, _)| n.to_owned()).collect(),
    })
}
