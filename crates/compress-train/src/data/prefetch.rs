//! Batches that are made ready by other threads, in the one order that the sampler gives.

use super::{Batch, BatchPlan, DataError, Dataset, Position, Sampler, read_batch};
use crate::augment::Augmentation;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Settings of a [`Loader`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoaderConfig {
    /// Threads that read and augment; with 0 the caller's does.
    pub threads: usize,
    /// Batches that each thread may be ahead.
    pub ahead: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            ahead: 2,
        }
    }
}

/// Reads and augments the batches of a sampler, without end and in its order, whatever the number of threads.
///
/// Batch `k` is made by thread `k mod threads`. Buffers go around: those of a batch that is handed back by [`Self::recycle`] are
/// used again, also where a step of this crate changes the type of a column.
pub struct Loader {
    job: Arc<Job>,
    sampler: Sampler,
    threads: Vec<Reader>,
    /// Which thread is to be given the next plan, and which to be asked for the next batch.
    give: usize,
    take: usize,
    spare: VecDeque<Batch>,
    position: Position,
}

struct Job {
    dataset: Arc<dyn Dataset>,
    augmentation: Option<Arc<Augmentation>>,
}

impl Job {
    fn make(&self, plan: &BatchPlan, batch: &mut Batch) -> Result<(), DataError> {
        read_batch(&*self.dataset, plan, batch)?;
        self.augmentation
            .as_ref()
            .map_or(Ok(()), |a| a.apply(batch))
            .map_err(|error| error.in_rows_of(&*self.dataset))
    }
}

struct Reader {
    plans: Option<Sender<(BatchPlan, Batch)>>,
    batches: Receiver<Result<Batch, DataError>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts the threads; the first batches are read from now on.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        augmentation: Option<Arc<Augmentation>>,
        sampler: Sampler,
        config: &LoaderConfig,
    ) -> Self {
        let job = Arc::new(Job {
            dataset,
            augmentation,
        });
        let threads = (0..config.threads)
            .map(|_| Reader::start(Arc::clone(&job)))
            .collect();
        let mut loader = Self {
            position: sampler.position(),
            job,
            sampler,
            threads,
            give: 0,
            take: 0,
            spare: VecDeque::new(),
        };
        for _ in 0..config.threads * config.ahead.max(1) {
            loader.give_plan();
        }
        loader
    }

    /// The next batch.
    ///
    /// # Errors
    /// Those of reading and of augmentation; the batch is then passed over. [`DataError::ReaderEnded`].
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let batch = if self.threads.is_empty() {
            let mut batch = self.spare.pop_front().unwrap_or_default();
            let plan = self.sampler.next_batch();
            self.job.make(&plan, &mut batch)?;
            batch
        } else {
            let reader = &self.threads[self.take];
            let received = reader.batches.recv().map_err(|_| DataError::ReaderEnded)?;
            self.take = (self.take + 1) % self.threads.len();
            self.give_plan();
            received?
        };
        self.position = self
            .sampler
            .position_behind(batch.epoch, batch.start + batch.len());
        Ok(batch)
    }

    /// Takes back the buffers of a batch.
    pub fn recycle(&mut self, batch: Batch) {
        self.spare.push_back(batch);
    }

    /// Where the batch behind the last one that was handed out begins.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The batches of an epoch.
    pub fn batches(&self) -> usize {
        self.sampler.batches()
    }

    fn give_plan(&mut self) {
        let plan = self.sampler.next_batch();
        let batch = self.spare.pop_front().unwrap_or_default();
        let reader = &self.threads[self.give];
        // A thread that has ended is reported when its batch is asked for.
        if let Some(plans) = &reader.plans {
            let _ = plans.send((plan, batch));
        }
        self.give = (self.give + 1) % self.threads.len();
    }
}

impl Reader {
    fn start(job: Arc<Job>) -> Self {
        let (plans, wanted) = channel::<(BatchPlan, Batch)>();
        let (made, batches) = channel();
        let thread = std::thread::spawn(move || {
            for (plan, mut batch) in wanted {
                let result = job.make(&plan, &mut batch).map(|()| batch);
                if made.send(result).is_err() {
                    return;
                }
            }
        });
        Self {
            plans: Some(plans),
            batches,
            thread: Some(thread),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Without plans to come the thread ends.
        self.plans = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported as `ReaderEnded` already, or nobody asked.
            let _ = thread.join();
        }
    }
}
