//! How work is spread over threads: an explicit handle, never a global pool.
//!
//! Every kernel cuts its output into parts and gives each part to one task; no task adds to
//! another's numbers, so the results do not depend on the number of threads.

mod pool;
mod tile;

use crate::KernelError;
use pool::Pool;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use tile::TileMut;

/// A piece of a [`TileMut`]: where it starts, and its extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) col: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// Multiply-adds of a product that pay for handing them to a thread that is awake: some microseconds.
const WORK_PER_TASK: usize = 256 * 1024;

/// What an element of a function that is applied to each costs, in multiply-adds of a product.
const ELEMENT_WORK: usize = 16;

/// Rows that a product is taken to have at least: the weights come from memory no faster than so many rows are multiplied
/// with them.
const MIN_ROWS: usize = 8;

/// The work of a product of these extents, for [`Parallelism::tasks`].
pub(crate) fn product_work(rows: usize, depth: usize, cols: usize) -> usize {
    rows.max(MIN_ROWS)
        .saturating_mul(depth)
        .saturating_mul(cols)
}

/// More threads than any machine has cores: to start them could bring the system down before it refuses.
const MAX_THREADS: usize = 4096;

/// The threads that a kernel may use: the calling one, and those of a pool.
///
/// Clones share the pool, and so may sessions. The pool serves one caller at a time; others go on alone, and a
/// caller that is [registered](Parallelism::caller) leaves them out of its count from the start.
#[derive(Clone, Default)]
pub struct Parallelism {
    pool: Option<Arc<Pool>>,
    /// Threads, at most those of the pool and the calling one.
    threads: usize,
}

impl Parallelism {
    /// Runs everything on the calling thread.
    pub fn sequential() -> Self {
        Self::default()
    }

    /// A pool of its own, for `threads` threads with the calling one; 0 and 1 are sequential.
    ///
    /// # Errors
    /// [`KernelError::ThreadPool`] if the system refuses the threads, or for more than 4,096.
    pub fn with_threads(threads: usize) -> Result<Self, KernelError> {
        if threads <= 1 {
            return Ok(Self::sequential());
        }
        let refused = |reason: String| KernelError::ThreadPool { threads, reason };
        if threads > MAX_THREADS {
            return Err(refused(format!("there may be {MAX_THREADS}")));
        }
        let pool = Pool::new(threads - 1).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            pool: Some(Arc::new(pool)),
            threads,
        })
    }

    /// Threads that a kernel may use.
    pub fn threads(&self) -> usize {
        self.threads.max(1)
    }

    /// Registers a caller that is about to run kernels, until the result is dropped. The threads of the pool are shared
    /// out: with `n` callers there before, `n` threads fewer are left for this one, but its own.
    pub fn caller(&self) -> Caller {
        let Some(pool) = &self.pool else {
            return Caller(Self::sequential());
        };
        let before = pool.callers.fetch_add(1, Ordering::Relaxed);
        Caller(Self {
            pool: Some(pool.clone()),
            threads: pool.threads().saturating_sub(before).max(1),
        })
    }

    /// Into how many tasks `work` multiply-adds are worth cutting, at most `limit`.
    pub(crate) fn tasks(&self, work: usize, limit: usize) -> usize {
        self.threads().min(work / WORK_PER_TASK).min(limit).max(1)
    }

    /// Runs `f` on each of `count` parts, in any order, and waits for all.
    pub(crate) fn for_each<T: Send>(
        &self,
        count: usize,
        parts: impl Iterator<Item = T> + Send,
        f: impl Fn(T) + Sync,
    ) {
        let helpers = self.threads().min(count) - usize::from(count > 0);
        let Some(pool) = self.pool.as_ref().filter(|_| helpers > 0) else {
            return parts.for_each(f);
        };
        let parts = Mutex::new(parts);
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        pool.run(helpers, &|| {
            while let Some(part) = next() {
                f(part);
            }
        });
    }

    /// Runs `f(first_row, rows)` over runs of whole rows of `out`; `work_per_row` is their cost in
    /// elements.
    pub(crate) fn for_each_rows<T: Send>(
        &self,
        out: &mut [T],
        row_len: usize,
        work_per_row: usize,
        f: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        if out.is_empty() || row_len == 0 {
            return;
        }
        let rows = out.len() / row_len;
        let work = rows.saturating_mul(work_per_row);
        let tasks = self.tasks(work.saturating_mul(ELEMENT_WORK), rows);
        if tasks == 1 {
            return f(0, out);
        }
        let per_task = rows.div_ceil(tasks);
        let parts = out.chunks_mut(per_task * row_len).enumerate();
        self.for_each(tasks, parts, |(i, rows)| f(i * per_task, rows));
    }
}

impl fmt::Debug for Parallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parallelism")
            .field("threads", &self.threads())
            .finish()
    }
}

/// A caller that runs kernels at the moment: see [`Parallelism::caller`].
#[derive(Debug)]
pub struct Caller(Parallelism);

impl Caller {
    /// The threads that are left for this caller.
    pub fn parallelism(&self) -> &Parallelism {
        &self.0
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(pool) = &self.0.pool {
            pool.callers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_covered_once_at_any_thread_count() {
        for threads in [1, 2, 3] {
            let parallelism = Parallelism::with_threads(threads).unwrap();
            assert_eq!(parallelism.threads(), threads);
            let mut out = vec![0usize; 7 * 3];
            parallelism.for_each_rows(&mut out, 3, 1 << 20, |first, rows| {
                for (i, row) in rows.chunks_mut(3).enumerate() {
                    row.iter_mut().for_each(|x| *x += first + i + 1);
                }
            });
            let expected: Vec<usize> = (0..21).map(|i| i / 3 + 1).collect();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn callers_share_the_threads_out() {
        let parallelism = Parallelism::with_threads(3).unwrap();
        let first = parallelism.caller();
        let second = parallelism.clone().caller();
        let others = [parallelism.caller(), parallelism.caller()];
        let threads = |caller: &Caller| caller.parallelism().threads();
        assert_eq!((threads(&first), threads(&second)), (3, 2));
        assert_eq!(others.each_ref().map(threads), [1, 1]);
        drop((first, second, others));
        assert_eq!(threads(&parallelism.caller()), 3);
        assert_eq!(threads(&Parallelism::sequential().caller()), 1);
    }

    #[test]
    fn absurd_numbers_of_threads_are_refused() {
        for threads in [MAX_THREADS + 1, usize::MAX] {
            let refused = Parallelism::with_threads(threads);
            assert!(matches!(refused, Err(KernelError::ThreadPool { .. })));
        }
    }

    #[test]
    fn small_work_stays_on_one_task() {
        let parallelism = Parallelism::with_threads(2).unwrap();
        assert_eq!(parallelism.tasks(WORK_PER_TASK, 10), 1);
        assert_eq!(parallelism.tasks(2 * WORK_PER_TASK, 10), 2);
        assert_eq!(parallelism.tasks(1 << 30, 10), 2);
    }
}
