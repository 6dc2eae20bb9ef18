//! Buffers that are used again: best fit among those that dead values left.
//!
//! Runs of one model may have inputs of many sizes, as sentences have. Capacities are therefore rounded up to classes,
//! eight to each power of two, so that what one run leaves serves the next one of a similar size; and a buffer is kept
//! until a number of runs in a row had no use for it.

use compress_tensor::Element;

/// Elements below which the system's allocator is as good.
const MIN_POOLED: usize = 64;
/// Elements that a buffer may be larger than twice what is asked for.
const SLACK: usize = 1024;

/// Runs in a row without use after which a buffer is dropped.
const IDLE_RUNS: u8 = 8;

/// An element type whose buffers are pooled.
pub(crate) trait Pooled: Element {
    fn list(pool: &mut BufferPool) -> &mut FreeList<Self>;
}

/// Free buffers by element type.
#[derive(Default)]
pub(crate) struct BufferPool {
    f32: FreeList<f32>,
    u8: FreeList<u8>,
    i8: FreeList<i8>,
    i32: FreeList<i32>,
    i64: FreeList<i64>,
}

/// Free buffers of one type, each with the number of runs that ended since one used it.
pub(crate) struct FreeList<T> {
    free: Vec<(Vec<T>, u8)>,
}

impl<T> Default for FreeList<T> {
    fn default() -> Self {
        Self { free: Vec::new() }
    }
}

impl BufferPool {
    /// A buffer of `len` elements with arbitrary contents.
    pub(crate) fn take<T: Pooled>(&mut self, len: usize) -> Vec<T> {
        if len < MIN_POOLED {
            return vec![T::default(); len];
        }
        let free = &mut T::list(self).free;
        let fits = |n: usize| (len..=len.saturating_mul(2).saturating_add(SLACK)).contains(&n);
        let best = free
            .iter()
            .enumerate()
            .filter(|(_, (buffer, _))| fits(buffer.capacity()))
            .min_by_key(|(_, (buffer, _))| buffer.capacity())
            .map(|(i, _)| i);
        match best {
            Some(i) => {
                let (mut buffer, _) = free.swap_remove(i);
                // Keeps what is there: only a part that was cut off before is filled again.
                buffer.resize(len, T::default());
                buffer
            }
            None => {
                let mut buffer = Vec::with_capacity(class(len));
                buffer.resize(len, T::default());
                buffer
            }
        }
    }

    /// Takes a buffer for later use.
    pub(crate) fn give<T: Pooled>(&mut self, buffer: Vec<T>) {
        if buffer.capacity() >= MIN_POOLED {
            T::list(self).free.push((buffer, 0));
        }
    }

    /// Ends a run: drops the buffers that the last runs had no use for.
    pub(crate) fn trim(&mut self) {
        self.f32.trim();
        self.u8.trim();
        self.i8.trim();
        self.i32.trim();
        self.i64.trim();
    }
}

impl<T> FreeList<T> {
    fn trim(&mut self) {
        self.free.retain_mut(|(_, idle)| {
            *idle += 1;
            *idle <= IDLE_RUNS
        });
    }
}

/// The capacity that is allocated for `len` elements: a multiple of an eighth of the power of two below.
fn class(len: usize) -> usize {
    let step = (len.checked_next_power_of_two().unwrap_or(1) / 16).max(1);
    len.checked_next_multiple_of(step).unwrap_or(len)
}

macro_rules! pooled {
    ($($t:ident),*) => {$(
        impl Pooled for $t {
            fn list(pool: &mut BufferPool) -> &mut FreeList<Self> {
                &mut pool.$t
            }
        }
    )*};
}

pooled!(f32, u8, i8, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_fits_is_taken() {
        let mut pool = BufferPool::default();
        pool.give(vec![0f32; 5000]);
        pool.give(vec![0f32; 3000]);
        assert_eq!(pool.take::<f32>(2900).capacity(), 3000);
        assert_eq!(pool.take::<f32>(2900).capacity(), 5000);
        assert_eq!(pool.take::<f32>(2900).capacity(), 3072);
    }

    #[test]
    fn similar_sizes_share_a_class() {
        assert_eq!(
            [class(64), class(65), class(1000), class(1025)],
            [64, 72, 1024, 1152]
        );
        assert_eq!(class(usize::MAX), usize::MAX);
    }

    #[test]
    fn a_buffer_that_runs_do_not_use_is_dropped() {
        let mut pool = BufferPool::default();
        pool.give(vec![0u8; 5000]);
        for _ in 0..IDLE_RUNS {
            pool.trim();
        }
        let buffer = pool.take::<u8>(5000);
        assert_eq!(buffer.capacity(), 5000);
        pool.give(buffer);
        for _ in 0..IDLE_RUNS {
            pool.trim();
            assert_eq!(pool.u8.free.len(), 1);
        }
        pool.trim();
        assert_eq!(pool.u8.free.len(), 0);
    }
}
