//! How work is spread over threads: an explicit handle, never a global pool.
//!
//! Every kernel cuts its output into parts and gives each part to one task; no task adds to
//! another's numbers, so the results do not depend on the number of threads.

mod tile;

use std::sync::Arc;

pub(crate) use tile::TileMut;

/// A piece of a [`TileMut`]: where it starts, and its extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) row: usize,
    pub(crate) col: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

use crate::KernelError;

/// Multiply-adds of a product that pay for waking a thread: some ten microseconds.
const WORK_PER_TASK: usize = 512 * 1024;

/// What an element of a function that is applied to each costs, in multiply-adds of a product.
const ELEMENT_WORK: usize = 16;

/// A rayon pool, or none: how many threads a kernel may use.
#[derive(Clone, Debug, Default)]
pub struct Parallelism {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Parallelism {
    /// Runs everything on the calling thread.
    pub fn sequential() -> Self {
        Self::default()
    }

    /// A pool of its own with `threads` threads; 0 and 1 are sequential.
    ///
    /// # Errors
    /// [`KernelError::ThreadPool`] if the system refuses the threads.
    pub fn with_threads(threads: usize) -> Result<Self, KernelError> {
        if threads <= 1 {
            return Ok(Self::sequential());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("kernels-{i}"))
            .build()
            .map_err(|_| KernelError::ThreadPool { threads })?;
        Ok(Self::from_pool(Arc::new(pool)))
    }

    /// Shares a pool with the rest of the program.
    pub fn from_pool(pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool) }
    }

    /// Threads that a kernel may use.
    pub fn threads(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, |pool| pool.current_num_threads())
    }

    /// Into how many tasks `work` multiply-adds are worth cutting, at most `limit`.
    pub(crate) fn tasks(&self, work: usize, limit: usize) -> usize {
        self.threads().min(work / WORK_PER_TASK).min(limit).max(1)
    }

    /// Runs `f` on each part, in any order, and waits for all.
    ///
    /// The calling thread takes the first part itself, so that it does not sit idle while the
    /// pool wakes up.
    pub(crate) fn for_each<T: Send>(&self, mut parts: Vec<T>, f: impl Fn(T) + Sync + Send) {
        match &self.pool {
            Some(pool) if parts.len() > 1 => {
                let f = &f;
                pool.in_place_scope(|scope| {
                    for part in parts.drain(1..) {
                        scope.spawn(move |_| f(part));
                    }
                    parts.drain(..).for_each(f);
                });
            }
            _ => parts.drain(..).for_each(f),
        }
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
        let parts = out.chunks_mut(per_task * row_len).enumerate().collect();
        self.for_each(parts, |(i, rows)| f(i * per_task, rows));
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
    fn small_work_stays_on_one_task() {
        let parallelism = Parallelism::with_threads(2).unwrap();
        assert_eq!(parallelism.tasks(WORK_PER_TASK, 10), 1);
        assert_eq!(parallelism.tasks(2 * WORK_PER_TASK, 10), 2);
        assert_eq!(parallelism.tasks(1 << 30, 10), 2);
    }
}
