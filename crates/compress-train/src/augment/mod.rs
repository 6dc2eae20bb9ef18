//! Augmentation: random changes of samples, the same for a sample of an epoch wherever and whenever they are made.
//!
//! Step `k` draws for sample `i` in epoch `e` from the stream `(seed, Augment(k), e, i)` of [`crate::random`], so that neither threads
//! nor the order of batches nor other steps matter; where a mixture takes a sample several times in an epoch, each time from
//! another repetition of it. Mixing steps ([`Mixup`], [`CutMix`]) also depend on which samples a batch
//! holds, which the sampler's seed decides.

mod colour;
mod geometry;
mod images;
mod mix;

pub use colour::{Cutout, Jitter, Moments, Normalize};
pub use geometry::{Border, Flip, RandomCrop};
pub use images::{ChannelOrder, Images};
pub use mix::{CutMix, Mixup};

use crate::data::{Batch, DataError};
use crate::random::{Purpose, Random};

/// A change of all samples of a batch.
///
/// # Examples
/// A step of one's own, which hides tokens:
/// ```
/// use compress_train::augment::{Draws, Transform};
/// use compress_train::data::{Batch, DataError, Values};
/// use compress_train::random::Random;
/// struct Hide(f64);
/// impl Transform for Hide {
///     fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
///         let streams: Vec<Random> = draws.each(&batch.indices, &batch.repetitions).collect();
///         let column = batch.column_mut("tokens")?;
///         let length = column.field.count();
///         if let Values::I64(tokens) = &mut column.values {
///             for (mut random, sample) in streams.into_iter().zip(tokens.chunks_mut(length)) {
///                 sample.iter_mut().filter(|_| random.coin(self.0)).for_each(|t| *t = 0);
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Transform: Send + Sync {
    /// Changes the batch in place.
    ///
    /// # Errors
    /// [`DataError`] for samples that the step does not work on.
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError>;
}

/// The random streams of one step in one epoch.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
    step: u32,
    epoch: u64,
}

impl Draws {
    /// The streams of the samples of a batch: by their indices in the data set, and how often each came before in the epoch
    /// ([`Batch::repetitions`]).
    pub fn each<'a>(
        &self,
        indices: &'a [usize],
        repetitions: &'a [u32],
    ) -> impl Iterator<Item = Random> + use<'a> {
        let Self { seed, step, epoch } = *self;
        let repetitions = repetitions.iter().copied().chain(std::iter::repeat(0));
        indices
            .iter()
            .zip(repetitions)
            .map(move |(&index, before)| {
                Random::new(seed, Purpose::Augment(step), epoch, index as u64).repetition(before)
            })
    }
}

/// Steps that are applied to each batch, one after the other.
///
/// # Examples
/// ```
/// use compress_train::augment::{Augmentation, Flip, Images, RandomCrop};
/// let images = Images::nchw("x");
/// let augmentation = Augmentation::new(7)
///     .with(Flip { images: images.clone(), horizontal: 0.5, vertical: 0.0 })
///     .with(RandomCrop { padding: 4, ..RandomCrop::of(images) });
/// ```
#[derive(Default)]
pub struct Augmentation {
    seed: u64,
    steps: Vec<Box<dyn Transform>>,
}

impl Augmentation {
    /// No steps yet.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            steps: Vec::new(),
        }
    }

    /// These steps and one more.
    #[must_use]
    pub fn with(mut self, step: impl Transform + 'static) -> Self {
        self.steps.push(Box::new(step));
        self
    }

    /// Applies all steps.
    ///
    /// # Errors
    /// That of the first step that fails.
    pub fn apply(&self, batch: &mut Batch) -> Result<(), DataError> {
        for (step, transform) in self.steps.iter().enumerate() {
            let draws = Draws {
                seed: self.seed,
                step: step as u32,
                epoch: batch.epoch,
            };
            transform.apply(batch, &draws)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
