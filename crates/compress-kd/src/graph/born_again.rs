//! Generations of one network: each is taught by the one before.

use super::config::KdConfig;
use super::distiller::{Distiller, KdData, KdReport};
use super::error::DistillError;
use onnx_ir::Model;
use runtime_session::SessionOptions;
use std::path::{Path, PathBuf};

impl KdConfig {
    /// The settings of a generation, from 0: it draws with seed `trainer.seed + number`, and its checkpoint, log and curves have its number
    /// from 1 (`run.checkpoint.1`, `log.1.csv`). From the second one on the teacher is the student before, so that it is looked at where the
    /// student is, and one alone.
    #[must_use]
    pub fn generation(&self, number: usize) -> Self {
        let mut config = self.clone();
        let trainer = &mut config.trainer;
        trainer.seed = trainer.seed.wrapping_add(number as u64);
        if let Some(checkpoint) = &mut trainer.checkpoint {
            let mut path = std::mem::take(&mut checkpoint.path).into_os_string();
            path.push(format!(".{}", number + 1));
            checkpoint.path = path.into();
        }
        let log = trainer.log.as_mut().map(|log| &mut log.path);
        for path in log.into_iter().chain(trainer.curves.as_mut()) {
            *path = numbered(path, number + 1);
        }
        if number > 0 {
            config.ensemble.weights = None;
            config.teacher_names = vec![format!("generation {number}")];
            for term in &mut config.losses {
                term.teacher = 0;
                for tap in &mut term.taps {
                    tap.teacher.clone_from(&tap.student);
                }
            }
        }
        config
    }
}

/// `log.csv` as `log.1.csv`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    match path.extension() {
        Some(extension) => {
            let extension = extension.to_string_lossy();
            path.with_extension(format!("{number}.{extension}"))
        }
        None => path.with_extension(number.to_string()),
    }
}

/// Removes a file that may be there.
fn remove(path: &Path) -> Result<(), DistillError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(DistillError::File {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Born-again networks: `generations` students of one architecture, the first taught by the model, each other by the one before.
///
/// Furlanello et al. 2018, "Born-again neural networks" (arXiv:1805.04770), sec. 3. `data` is asked for the samples of each
/// generation, whose settings are [`KdConfig::generation`]; with `trainer.initialize` at its default all begin with the model's
/// weights, which leaves nothing to learn: the paper's begin anew. A generation goes on from its checkpoint, where one is there; where it
/// begins anew, the checkpoints of those behind it, which had another teacher, are removed.
///
/// # Errors
/// [`DistillError`].
pub fn born_again(
    model: &Model,
    generations: usize,
    mut data: impl FnMut(usize) -> Result<KdData, DistillError>,
    config: &KdConfig,
    session: &SessionOptions,
) -> Result<Vec<(Model, KdReport)>, DistillError> {
    let mut all: Vec<(Model, KdReport)> = Vec::with_capacity(generations);
    for generation in 0..generations {
        let teacher = all.last().map_or(model, |(last, _)| last);
        let own = config.generation(generation);
        let checkpoint = own.trainer.checkpoint.clone().map(|c| c.path);
        let teachers = std::slice::from_ref(teacher);
        let mut distiller = Distiller::new(teachers, model, data(generation)?, &own, session)?;
        match checkpoint.filter(|path| path.exists()) {
            Some(path) => distiller.resume(path)?,
            None => {
                let later = (generation + 1..generations).map(|later| config.generation(later));
                for path in later.filter_map(|later| Some(later.trainer.checkpoint?.path)) {
                    remove(&path)?;
                }
            }
        }
        let report = distiller.fit()?;
        all.push((distiller.model()?, report));
    }
    Ok(all)
}
