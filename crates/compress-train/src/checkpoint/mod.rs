//! Checkpoints: all that a run needs to go on to the same bits, in one file.
//!
//! The file is a `.safetensors` file. Its tensors are named `weights/…`, `optimizer/<slot>/…`, `average/…` and `best/…` by parameter; its
//! metadata hold everything else as JSON, and a checksum over both. It is written whole or not at all. Other programs that read
//! safetensors can read the weights.

mod checksum;
pub(crate) mod exact;

use crate::data::Position;
use crate::ema::EmaState;
use crate::optimizer::OptimizerState;
use crate::stopping::{BestValue, BestWeights, StoppingState};
use compress_tensor::Tensor;
use compress_tensor::safetensors::{self, Contents, SafetensorsError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the format that is written, and the only one read.
pub const VERSION: u32 = 1;

const STATE_KEY: &str = "modelpress.checkpoint";
const CHECKSUM_KEY: &str = "modelpress.checksum";

/// A run at one point.
///
/// # Examples
/// ```
/// use compress_train::{Checkpoint, Tensor};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("run.checkpoint");
/// let mut checkpoint = Checkpoint::default();
/// checkpoint.step = 100;
/// checkpoint.weights.insert("w".into(), Tensor::vector(vec![0.5f32, 1.5]));
/// checkpoint.write(&path)?;
/// let back = Checkpoint::read(&path)?;
/// assert_eq!((back.step, back.weights["w"].as_slice::<f32>()?), (100, &[0.5, 1.5][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Steps done: where the schedule and the log go on.
    pub step: u64,
    /// The weights by name, and whatever else the model changes while it trains (running statistics).
    pub weights: BTreeMap<String, Tensor>,
    /// The optimizer's state.
    pub optimizer: OptimizerState,
    /// The averages of weights.
    pub ema: Option<EmaState>,
    /// Where the sampler stands.
    pub sampler: Position,
    /// Seeds by what they are for.
    pub seeds: BTreeMap<String, u64>,
    /// What early stopping remembers.
    pub stopping: Option<StoppingState>,
    /// The best weights so far.
    pub best: Option<BestWeights>,
    /// Whatever else a caller wants back, such as the recipe of the run.
    pub notes: BTreeMap<String, String>,
}

/// What stands in the metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    step: u64,
    optimizer: String,
    updates: BTreeMap<String, u64>,
    /// The counts of averages; `None` without averages.
    averaged: Option<BTreeMap<String, u64>>,
    sampler: Position,
    seeds: BTreeMap<String, u64>,
    stopping: Option<StoppingState>,
    best: Option<BestValue>,
    notes: BTreeMap<String, String>,
}

/// The version alone, which is read first.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be read or written, or is no safetensors file.
    #[error(transparent)]
    File(#[from] SafetensorsError),
    /// A safetensors file that is no checkpoint.
    #[error("{}: not a checkpoint: {what} is missing", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// A version that is not known here.
    #[error("{}: a checkpoint of version {found}, this program reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Contents that are not those that were written.
    #[error("{}: the checkpoint is damaged: its checksum is {found}, that of its contents {computed}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The checksum that stands in the file.
        found: String,
        /// The checksum of what stands there.
        computed: String,
    },
    /// Metadata that do not read.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What does not read.
        source: serde_json::Error,
    },
    /// A tensor that no part of a checkpoint has.
    #[error("{}: tensor `{name}` belongs to no part of a checkpoint", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
}

impl Checkpoint {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`CheckpointError::File`], [`CheckpointError::State`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        let path = path.as_ref();
        let state = State {
            version: VERSION,
            step: self.step,
            optimizer: self.optimizer.kind.clone(),
            updates: self.optimizer.updates.clone(),
            averaged: self.ema.as_ref().map(|ema| ema.updates.clone()),
            sampler: self.sampler,
            seeds: self.seeds.clone(),
            stopping: self.stopping,
            best: self.best.as_ref().map(|best| best.at),
            notes: self.notes.clone(),
        };
        let state = serde_json::to_string(&state).map_err(|source| CheckpointError::State {
            path: path.to_owned(),
            source,
        })?;
        let tensors = self.tensors();
        let checksum = checksum::of(&state, &tensors);
        let metadata = [(STATE_KEY, state), (CHECKSUM_KEY, checksum)];
        let contents = Contents {
            tensors,
            metadata: metadata.map(|(key, text)| (key.to_owned(), text)).into(),
        };
        Ok(safetensors::write(path, &contents)?)
    }

    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let mut tensors = BTreeMap::new();
        let mut add = |part: &str, named: &BTreeMap<String, Tensor>| {
            for (name, tensor) in named {
                tensors.insert(format!("{part}/{name}"), tensor.clone());
            }
        };
        add("weights", &self.weights);
        for (slot, named) in &self.optimizer.slots {
            add(&format!("optimizer/{slot}"), named);
        }
        if let Some(ema) = &self.ema {
            add("average", &ema.averages);
        }
        if let Some(best) = &self.best {
            add("best", &best.weights);
        }
        tensors
    }

    /// Reads a file; the tensors are windows into its memory map.
    ///
    /// # Errors
    /// [`CheckpointError`], which names the file and what is wrong with it.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let Contents { tensors, metadata } = safetensors::read(path)?;
        let text = |key, what| {
            let found: Option<&String> = metadata.get(key);
            found.ok_or_else(|| CheckpointError::NotACheckpoint {
                path: path.to_owned(),
                what,
            })
        };
        let (state, found) = (
            text(STATE_KEY, "its state")?,
            text(CHECKSUM_KEY, "its checksum")?,
        );
        let version = parse::<Versioned>(path, state)?.version;
        if version != VERSION {
            return Err(CheckpointError::Version {
                path: path.to_owned(),
                found: version,
            });
        }
        let computed = checksum::of(state, &tensors);
        if *found != computed {
            return Err(CheckpointError::Damaged {
                path: path.to_owned(),
                found: found.clone(),
                computed,
            });
        }
        let mut checkpoint = Self::of_state(parse(path, state)?);
        for (name, tensor) in tensors {
            checkpoint
                .put(&name, tensor)
                .ok_or_else(|| CheckpointError::Tensor {
                    path: path.to_owned(),
                    name,
                })?;
        }
        Ok(checkpoint)
    }

    fn of_state(state: State) -> Self {
        Self {
            step: state.step,
            optimizer: OptimizerState {
                kind: state.optimizer,
                updates: state.updates,
                slots: BTreeMap::new(),
            },
            ema: state.averaged.map(|updates| EmaState {
                updates,
                averages: BTreeMap::new(),
            }),
            sampler: state.sampler,
            seeds: state.seeds,
            stopping: state.stopping,
            best: state.best.map(|at| BestWeights {
                at,
                weights: BTreeMap::new(),
            }),
            weights: BTreeMap::new(),
            notes: state.notes,
        }
    }

    /// Puts a tensor into its part; `None` where there is none.
    fn put(&mut self, name: &str, tensor: Tensor) -> Option<()> {
        let (part, name) = name.split_once('/')?;
        let (place, name) = match part {
            "weights" => (&mut self.weights, name),
            "average" => (&mut self.ema.as_mut()?.averages, name),
            "best" => (&mut self.best.as_mut()?.weights, name),
            "optimizer" => {
                let (slot, name) = name.split_once('/')?;
                (
                    self.optimizer.slots.entry(slot.to_owned()).or_default(),
                    name,
                )
            }
            _ => return None,
        };
        place.insert(name.to_owned(), tensor);
        Some(())
    }
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a str) -> Result<T, CheckpointError> {
    serde_json::from_str(text).map_err(|source| CheckpointError::State {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
