//! The order of samples: a pure function of the seed and the epoch.

use super::{DataError, check_setting};
use crate::random::{Purpose, Random};
use serde::{Deserialize, Serialize};

/// Settings of a [`Sampler`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SamplerConfig {
    /// The seed of all orders.
    pub seed: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// The order within an epoch.
    pub order: Order,
    /// Whether a last batch of fewer samples is left out.
    pub drop_last: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            batch: 32,
            order: Order::Shuffled,
            drop_last: false,
        }
    }
}

/// The order of samples within an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As they stand.
    Sequential,
    /// Each once, in another order in each epoch.
    #[default]
    Shuffled,
    /// Sources that stand one behind the other ([`super::Concat`]), in given shares.
    ///
    /// Each source is gone through in shuffled passes, which go on from epoch to epoch: a small source is repeated as often as its share
    /// asks for, a large one is seen whole over several epochs.
    Mixture {
        /// The samples of an epoch.
        epoch: usize,
        /// The sources, in their order.
        sources: Vec<Share>,
    },
}

/// A source of a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Its number of samples.
    pub samples: usize,
    /// Its share of each epoch, in proportion to those of the others.
    pub weight: f64,
}

/// Where a sampler stands: all that is needed to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// Samples of the epoch that were taken.
    pub taken: u64,
    /// Samples of an epoch altogether.
    pub of: u64,
}

/// The samples of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchPlan {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Samples of the epoch that came before.
    pub start: usize,
    /// Whether the epoch ends with this batch.
    pub is_last: bool,
    /// The samples.
    pub indices: Vec<usize>,
    /// How often each of them came before in the epoch; empty where none did.
    pub repetitions: Vec<u32>,
}

impl BatchPlan {
    /// Some samples of epoch 0.
    pub fn of(indices: &[usize]) -> Self {
        Self {
            is_last: true,
            indices: indices.to_vec(),
            ..Self::default()
        }
    }
}

/// Cuts epochs into batches, without end.
///
/// # Examples
/// ```
/// use compress_train::data::{DataError, Sampler, SamplerConfig};
/// let mut sampler = Sampler::new(100, SamplerConfig::default())?;
/// let first = sampler.next_batch();
/// let position = sampler.position();
/// let second = sampler.next_batch();
/// let mut resumed = Sampler::new(100, SamplerConfig::default())?;
/// resumed.resume(position)?;
/// assert_eq!(resumed.next_batch(), second);
/// assert!(first.indices.iter().all(|i| !second.indices.contains(i)));
/// # Ok::<(), DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    samples: usize,
    epoch: u64,
    taken: usize,
    /// The order of the epoch at hand.
    order: Vec<usize>,
    /// How often each sample of it came before; empty where each comes once.
    repetitions: Vec<u32>,
}

impl Sampler {
    /// A sampler over `samples` samples, at the beginning of epoch 0.
    ///
    /// # Errors
    /// [`DataError::Setting`] where no batch could be made, or where a mixture does not fit the samples.
    pub fn new(samples: usize, config: SamplerConfig) -> Result<Self, DataError> {
        let batch = config.batch as f64;
        check_setting("the batch", batch, config.batch > 0, "it must be 1 or more")?;
        if let Order::Mixture { epoch, sources } = &config.order {
            check_mixture(samples, *epoch, sources)?;
        }
        let mut sampler = Self {
            samples,
            epoch: 0,
            taken: 0,
            order: Vec::new(),
            repetitions: Vec::new(),
            config,
        };
        let epoch = sampler.epoch_samples();
        let rule =
            "an epoch must have one sample, or a whole batch if a smaller last one is left out";
        check_setting(
            "the number of samples",
            epoch as f64,
            sampler.batches() > 0,
            rule,
        )?;
        sampler.begin(0);
        Ok(sampler)
    }

    /// The samples of an epoch, with those of a last batch that is left out.
    pub fn epoch_samples(&self) -> usize {
        match self.config.order {
            Order::Mixture { epoch, .. } => epoch,
            _ => self.samples,
        }
    }

    /// The batches of an epoch.
    pub fn batches(&self) -> usize {
        let (samples, batch) = (self.epoch_samples(), self.config.batch);
        if self.config.drop_last {
            samples / batch
        } else {
            samples.div_ceil(batch)
        }
    }

    /// The samples that an epoch uses.
    fn used(&self) -> usize {
        let samples = self.epoch_samples();
        if self.config.drop_last {
            self.batches() * self.config.batch
        } else {
            samples
        }
    }

    /// The order of an epoch.
    pub fn order_of(&self, epoch: u64) -> Vec<usize> {
        let seed = self.config.seed;
        match &self.config.order {
            Order::Sequential => (0..self.samples).collect(),
            Order::Shuffled => {
                Random::new(seed, Purpose::Shuffle, epoch, 0).permutation(self.samples)
            }
            Order::Mixture {
                epoch: length,
                sources,
            } => mixed(seed, epoch, *length, sources),
        }
    }

    /// The next batch; behind the last of an epoch the next epoch begins.
    pub fn next_batch(&mut self) -> BatchPlan {
        if self.taken >= self.used() {
            self.begin(self.epoch + 1);
        }
        let start = self.taken;
        let end = (start + self.config.batch).min(self.used());
        self.taken = end;
        BatchPlan {
            epoch: self.epoch,
            start,
            is_last: end == self.used(),
            indices: self.order[start..end].to_vec(),
            repetitions: match self.repetitions.is_empty() {
                true => Vec::new(),
                false => self.repetitions[start..end].to_vec(),
            },
        }
    }

    fn begin(&mut self, epoch: u64) {
        (self.epoch, self.taken) = (epoch, 0);
        self.order = self.order_of(epoch);
        if let Order::Mixture { .. } = self.config.order {
            self.repetitions = repetitions(&self.order, self.samples);
        }
    }

    /// Where the next batch begins.
    pub fn position(&self) -> Position {
        Position {
            seed: self.config.seed,
            epoch: self.epoch,
            taken: self.taken as u64,
            of: self.epoch_samples() as u64,
        }
    }

    /// Where the batch behind one of this sampler's begins.
    pub fn position_behind(&self, epoch: u64, taken: usize) -> Position {
        Position {
            epoch,
            taken: taken as u64,
            ..self.position()
        }
    }

    /// Goes on from a position.
    ///
    /// # Errors
    /// [`DataError::Position`] for a position of another seed or of another number of samples.
    pub fn resume(&mut self, position: Position) -> Result<(), DataError> {
        let own = self.position();
        for (what, expected, found) in [
            ("the seed", own.seed, position.seed),
            ("the number of samples of an epoch", own.of, position.of),
            (
                "the number of samples taken",
                position.taken.min(self.used() as u64),
                position.taken,
            ),
        ] {
            if expected != found {
                return Err(DataError::Position {
                    what,
                    expected,
                    found,
                });
            }
        }
        self.begin(position.epoch);
        self.taken = position.taken as usize;
        Ok(())
    }
}

fn check_mixture(samples: usize, epoch: usize, sources: &[Share]) -> Result<(), DataError> {
    let sum: usize = sources.iter().map(|s| s.samples).sum();
    let rule = "they must be those of all sources together";
    check_setting(
        "the number of samples",
        samples as f64,
        sum == samples,
        rule,
    )?;
    for source in sources {
        let is_right = source.weight.is_finite() && source.weight >= 0.0;
        check_setting(
            "the weight of a source",
            source.weight,
            is_right,
            "it must be finite, 0 or more",
        )?;
        let is_there = source.samples > 0 || source.weight == 0.0;
        check_setting(
            "the number of samples of a source",
            0.0,
            is_there,
            "a source with a weight must have some",
        )?;
    }
    let total: f64 = sources.iter().map(|s| s.weight).sum();
    check_setting(
        "the sum of all weights",
        total,
        total > 0.0,
        "it must be positive",
    )?;
    for (source, count) in sources.iter().zip(counts(epoch, sources)) {
        check_setting(
            "the weight of a source",
            source.weight,
            count > 0 || source.weight == 0.0,
            "of which an epoch has no whole sample: it needs more samples, or the source a larger share",
        )?;
    }
    Ok(())
}

/// For every place of an order, how often its sample came before.
fn repetitions(order: &[usize], samples: usize) -> Vec<u32> {
    let mut seen = vec![0; samples];
    let before = order.iter().map(|&index| {
        let before = seen[index];
        seen[index] += 1;
        before
    });
    before.collect()
}

/// The samples of one epoch of a mixture.
fn mixed(seed: u64, epoch: u64, length: usize, sources: &[Share]) -> Vec<usize> {
    let counts = counts(length, sources);
    let mut turns: Vec<usize> = Vec::with_capacity(length);
    for (source, &count) in counts.iter().enumerate() {
        turns.extend(std::iter::repeat_n(source, count));
    }
    Random::new(seed, Purpose::Mixture, epoch, 0).shuffle(&mut turns);
    let mut start = 0;
    let mut drawn: Vec<std::vec::IntoIter<usize>> = Vec::with_capacity(sources.len());
    for (number, (source, &count)) in sources.iter().zip(&counts).enumerate() {
        let first = epoch.saturating_mul(count as u64);
        let own = passes(seed, number, source.samples, first, count);
        drawn.push(
            own.into_iter()
                .map(|i| start + i)
                .collect::<Vec<_>>()
                .into_iter(),
        );
        start += source.samples;
    }
    turns
        .into_iter()
        .filter_map(|source| drawn[source].next())
        .collect()
}

/// `length` divided by weight: the largest remainders are rounded up.
fn counts(length: usize, sources: &[Share]) -> Vec<usize> {
    let total: f64 = sources.iter().map(|s| s.weight).sum();
    let exact: Vec<f64> = sources
        .iter()
        .map(|s| s.weight / total * length as f64)
        .collect();
    let mut counts: Vec<usize> = exact.iter().map(|e| e.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..sources.len())
        .filter(|&i| sources[i].weight > 0.0)
        .collect();
    by_remainder.sort_by(|&a, &b| {
        exact[b]
            .fract()
            .total_cmp(&exact[a].fract())
            .then(a.cmp(&b))
    });
    let missing = length.saturating_sub(counts.iter().sum());
    for &source in by_remainder
        .iter()
        .cycle()
        .take(if by_remainder.is_empty() { 0 } else { missing })
    {
        counts[source] += 1;
    }
    counts
}

/// Draws `first..first + count` of the endless shuffled passes through a source.
fn passes(seed: u64, source: usize, samples: usize, first: u64, count: usize) -> Vec<usize> {
    let mut drawn = Vec::with_capacity(count);
    if samples == 0 {
        return drawn;
    }
    let (mut pass, mut at) = (first / samples as u64, (first % samples as u64) as usize);
    while drawn.len() < count {
        let order =
            Random::new(seed, Purpose::Shuffle, pass, 1 + source as u64).permutation(samples);
        let end = (at + count - drawn.len()).min(samples);
        drawn.extend_from_slice(&order[at..end]);
        (pass, at) = (pass + 1, 0);
    }
    drawn
}
