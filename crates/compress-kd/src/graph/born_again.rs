//! Generations of one network: each is taught by the one before.

use super::config::KdConfig;
use super::distiller::{Distiller, KdData, KdReport};
use super::error::DistillError;
use onnx_ir::Model;
use runtime_session::SessionOptions;

/// Born-again networks: `generations` students of one architecture, the first taught by the model, each other by the one before.
///
/// Furlanello et al. 2018, "Born-again neural networks" (arXiv:1805.04770), sec. 3. `data` is asked for the samples of each
/// generation. Generation `g` draws with seed `trainer.seed + g`; with `trainer.initialize` at its default all begin with the model's
/// weights, which leaves nothing to learn: the paper's begin anew. A checkpoint of the settings is that of the generation at hand, in a file with
/// its number behind the name; a generation goes on from one that is there.
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
        let mut config = config.clone();
        config.trainer.seed = config.trainer.seed.wrapping_add(generation as u64);
        if let Some(checkpoint) = &mut config.trainer.checkpoint {
            let mut path = checkpoint.path.clone().into_os_string();
            path.push(format!(".{generation}"));
            checkpoint.path = path.into();
        }
        let checkpoint = config.trainer.checkpoint.clone().map(|c| c.path);
        let teachers = std::slice::from_ref(teacher);
        let mut distiller = Distiller::new(teachers, model, data(generation)?, &config, session)?;
        if let Some(path) = checkpoint.filter(|path| path.exists()) {
            distiller.resume(path)?;
        }
        let report = distiller.fit()?;
        all.push((distiller.model()?, report));
    }
    Ok(all)
}
