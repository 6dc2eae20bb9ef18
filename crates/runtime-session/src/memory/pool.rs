//! Buffers that are used again: best fit among those that dead values left.
//!
//! Runs of one model may have inputs of many sizes, as sentences have. Capacities are therefore rounded up to classes,
//! eight to each power of two, so that what one run leaves serves the next one of a similar size; and a buffer is kept
//! until a number of runs in a row had no use for it.

use compress_tensor::{Element, Tensor, TensorError, element_count};
use half::{bf16, f16};

/// Elements that a buffer may be larger than twice what is asked for.
const SLACK: usize = 1024;

/// Runs in a row without use after which a buffer is dropped.
const IDLE_RUNS: u8 = 8;

/// Tensors that a list has room for beyond twice those that it holds.
const SPARE: usize = 8;

/// An element type whose buffers are pooled.
pub(crate) trait Pooled: Element {
    fn list(pool: &mut BufferPool) -> &mut FreeList;
}

/// Dead tensors by element type, to be used again with all that belongs to them.
#[derive(Default)]
pub(crate) struct BufferPool {
    f32: FreeList,
    u8: FreeList,
    i8: FreeList,
    i32: FreeList,
    i64: FreeList,
    bool: FreeList,
    f16: FreeList,
    bf16: FreeList,
}

/// Dead tensors of one type, each with the number of runs that ended since one used it.
#[derive(Default)]
pub(crate) struct FreeList {
    free: Vec<(Tensor, u8)>,
}

impl BufferPool {
    /// A tensor that nobody shares, with arbitrary elements.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] if the size overflows.
    pub(crate) fn take<T: Pooled>(&mut self, shape: &[usize]) -> Result<Tensor, TensorError> {
        let len = element_count(shape).unwrap_or(usize::MAX);
        let free = &mut T::list(self).free;
        let fits = |n: usize| (len..=len.saturating_mul(2).saturating_add(SLACK)).contains(&n);
        let best = free
            .iter()
            .enumerate()
            .map(|(i, (tensor, _))| (tensor.capacity(), i))
            .filter(|&(capacity, _)| fits(capacity))
            .min();
        match best {
            Some((_, i)) => free.swap_remove(i).0.reuse::<T>(shape),
            None => {
                let mut buffer = Vec::with_capacity(class(len));
                buffer.resize(len, T::default());
                Tensor::from_vec(shape, buffer)
            }
        }
    }

    /// Takes a tensor for later use.
    pub(crate) fn give<T: Pooled>(&mut self, tensor: Tensor) {
        T::list(self).free.push((tensor, 0));
    }

    /// Ends a run: drops the buffers that the last runs had no use for.
    pub(crate) fn trim(&mut self) {
        let Self {
            f32,
            u8,
            i8,
            i32,
            i64,
            bool,
            f16,
            bf16,
        } = self;
        for list in [f32, u8, i8, i32, i64, bool, f16, bf16] {
            list.trim();
        }
    }
}

impl FreeList {
    fn trim(&mut self) {
        self.free.retain_mut(|(_, idle)| {
            *idle += 1;
            *idle <= IDLE_RUNS
        });
        // The next run may give more at a time: its outputs of before, and what it needs beside what is there.
        self.free.reserve(self.free.len() + SPARE);
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
            fn list(pool: &mut BufferPool) -> &mut FreeList {
                &mut pool.$t
            }
        }
    )*};
}

pooled!(f32, u8, i8, i32, i64, bool, f16, bf16);

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity_of<T: Pooled>(pool: &mut BufferPool, len: usize) -> usize {
        pool.take::<T>(&[len]).unwrap().capacity()
    }

    #[test]
    fn the_smallest_buffer_that_fits_is_taken() {
        let mut pool = BufferPool::default();
        pool.give::<f32>(Tensor::vector(vec![0f32; 5000]));
        pool.give::<f32>(Tensor::vector(vec![0f32; 3000]));
        assert_eq!(capacity_of::<f32>(&mut pool, 2900), 3000);
        assert_eq!(capacity_of::<f32>(&mut pool, 2900), 5000);
        assert_eq!(capacity_of::<f32>(&mut pool, 2900), 3072);
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
        pool.give::<u8>(Tensor::vector(vec![0u8; 5000]));
        for _ in 0..IDLE_RUNS {
            pool.trim();
        }
        let buffer = pool.take::<u8>(&[5000]).unwrap();
        assert_eq!(buffer.capacity(), 5000);
        pool.give::<u8>(buffer);
        for _ in 0..IDLE_RUNS {
            pool.trim();
            assert_eq!(pool.u8.free.len(), 1);
        }
        pool.trim();
        assert_eq!(pool.u8.free.len(), 0);
    }
}
