//! What a run of training reads and writes, whatever is trained.

use super::settings;
use crate::error::{Error, Usage};
use crate::outputs::{check_outputs, files_of, place};
use clap::Args;
use modelpress::data::InputSpec;
use modelpress::train::trainer::{CheckpointConfig, LogConfig};
use modelpress::training::{SampleSpec, TrainRecipe, TrainRecipeError};
use std::path::{Path, PathBuf};

/// The files of a run.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunFiles {
    /// The file to write.
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Settings and samples (TOML); arguments beside it take their place.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// What feeds an input while the model trains: an .npy or .npz file. NAME= may be left out for one input.
    #[arg(long = "train", value_name = "NAME=FILE")]
    inputs: Vec<InputSpec>,
    /// What the outputs are held against, by sample: classes, or values where the loss is one of values.
    #[arg(long, value_name = "FILE")]
    labels: Vec<InputSpec>,
    /// What feeds an input when the model is evaluated after an epoch.
    #[arg(long = "val", value_name = "NAME=FILE", conflicts_with = "hold_out")]
    validation: Vec<InputSpec>,
    /// The labels of --val.
    #[arg(long = "val-labels", value_name = "FILE", requires = "validation")]
    validation_labels: Vec<InputSpec>,
    /// Hold out this share of the samples, and evaluate on them.
    #[arg(long, value_name = "SHARE", value_parser = settings::share)]
    hold_out: Option<f64>,
    /// Go on from the checkpoint, if it is there.
    #[arg(long)]
    pub(crate) resume: bool,
    /// The checkpoint, written after each epoch; OUT.checkpoint unless given.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write a checkpoint every N steps too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Write the numbers of each step to this file: CSV, or JSON lines where it ends in .jsonl.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Draw the curves of the log to this file (SVG).
    #[arg(long, value_name = "FILE")]
    curves: Option<PathBuf>,
}

impl RunFiles {
    /// The recipe of the file, with its files taken from the file's folder.
    pub(crate) fn recipe<R: Default>(
        &self,
        parse: fn(&str) -> Result<R, TrainRecipeError>,
        within: fn(R, &Path) -> R,
    ) -> Result<R, Error> {
        let Some(path) = &self.recipe else {
            return Ok(R::default());
        };
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        let recipe = parse(&text).map_err(|source| Error::Recipe {
            path: path.clone(),
            source,
        })?;
        Ok(within(recipe, path.parent().unwrap_or(Path::new(""))))
    }

    /// Puts the samples that were given in the place of those of the recipe.
    pub(crate) fn apply_samples(&self, recipe: &mut TrainRecipe) -> Result<(), Error> {
        if !self.inputs.is_empty() {
            recipe.samples.inputs.clone_from(&self.inputs);
        }
        if !self.labels.is_empty() {
            recipe.samples.labels.clone_from(&self.labels);
        }
        if recipe.samples.inputs.is_empty() {
            return Err(Usage::NoTrainingSamples.into());
        }
        if !self.validation.is_empty() {
            if self.validation_labels.is_empty() && !recipe.samples.labels.is_empty() {
                return Err(Usage::NoHeldOutLabels.into());
            }
            recipe.hold_out = None;
            recipe.validation = Some(SampleSpec {
                inputs: self.validation.clone(),
                labels: self.validation_labels.clone(),
            });
        }
        if let Some(share) = self.hold_out {
            (recipe.validation, recipe.hold_out) = (None, Some(share));
        }
        Ok(())
    }

    /// Puts what the run is written down in in the place of what the recipe says.
    pub(crate) fn apply_records(&self, recipe: &mut TrainRecipe) {
        let trainer = &mut recipe.trainer;
        if let Some(path) = &self.log {
            let every = trainer.log.as_ref().map_or(1, |log| log.every);
            trainer.log = Some(LogConfig {
                path: path.clone(),
                format: settings::log_format(path),
                every,
            });
        }
        if let Some(path) = &self.curves {
            trainer.curves = Some(path.clone());
        }
        let checkpoint = trainer.checkpoint.get_or_insert_with(|| {
            let mut path = self.output.clone().into_os_string();
            path.push(".checkpoint");
            CheckpointConfig {
                path: path.into(),
                every: 0,
            }
        });
        if let Some(path) = &self.checkpoint {
            checkpoint.path.clone_from(path);
        }
        if let Some(every) = self.checkpoint_every {
            checkpoint.every = every;
        }
    }

    /// Refuses a run that would write what it reads, the files of its models (`read`) among it, or write a file twice. `written` are outputs
    /// beside those of all runs.
    pub(crate) fn check<'p>(
        &'p self,
        recipe: &'p TrainRecipe,
        read: impl IntoIterator<Item = &'p PathBuf>,
        written: &[&'p Path],
    ) -> Result<(), Error> {
        let trainer = &recipe.trainer;
        let mut data = self.output.clone().into_os_string();
        data.push(".data");
        // Large models have one beside them.
        let data = Some(PathBuf::from(data)).filter(|data| data.is_file());
        let outputs: Vec<&Path> = std::iter::once(self.output.as_path())
            .chain(trainer.checkpoint.as_ref().map(|c| c.path.as_path()))
            .chain(trainer.log.as_ref().map(|log| log.path.as_path()))
            .chain(trainer.curves.as_deref())
            .chain(written.iter().copied())
            .chain(data.as_deref())
            .collect();
        check_outputs(self.inputs(recipe, read), &outputs)
    }

    /// Refuses a folder of which files that the run reads or writes would be replaced.
    pub(crate) fn check_folder<'p>(
        &'p self,
        recipe: &'p TrainRecipe,
        read: impl IntoIterator<Item = &'p PathBuf>,
        folder: &Path,
        is_written: fn(&str) -> bool,
    ) -> Result<(), Error> {
        let trainer = &recipe.trainer;
        let own = std::iter::once(self.output.as_path())
            .chain(trainer.checkpoint.as_ref().map(|c| c.path.as_path()))
            .chain(trainer.log.as_ref().map(|log| log.path.as_path()))
            .chain(trainer.curves.as_deref());
        let mut all = self.inputs(recipe, read).chain(own);
        let folder = folder.canonicalize().ok();
        let is_replaced = |path: &Path| {
            let Some(place) = place(path) else {
                return false;
            };
            let name = place.file_name().unwrap_or_default().to_string_lossy();
            place.parent() == folder.as_deref() && is_written(&name)
        };
        match all.find(|path| is_replaced(path)) {
            Some(path) => Err(Usage::ReplacedInFolder {
                path: path.to_owned(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// All files that a run reads.
    fn inputs<'p>(
        &'p self,
        recipe: &'p TrainRecipe,
        read: impl IntoIterator<Item = &'p PathBuf>,
    ) -> impl Iterator<Item = &'p Path> {
        let arrays = [Some(&recipe.samples), recipe.validation.as_ref()];
        let arrays = arrays.into_iter().flatten();
        let arrays = arrays.flat_map(|s| files_of(&s.inputs).chain(files_of(&s.labels)));
        let read = read.into_iter().chain(&self.recipe);
        read.map(PathBuf::as_path).chain(arrays)
    }
}

/// The checkpoint of a run.
pub(crate) fn checkpoint_of(recipe: &TrainRecipe) -> PathBuf {
    let checkpoint = recipe.trainer.checkpoint.as_ref();
    checkpoint.map(|c| c.path.clone()).unwrap_or_default()
}
