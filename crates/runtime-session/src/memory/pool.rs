//! Buffers that are used again: best fit among those that dead values left.

use compress_tensor::Element;

/// Elements below which the system's allocator is as good.
const MIN_POOLED: usize = 64;
/// Elements that a buffer may be larger than twice what is asked for.
const SLACK: usize = 1024;

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

/// Free buffers of one type, each with whether this run has used it.
pub(crate) struct FreeList<T> {
    free: Vec<(Vec<T>, bool)>,
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
            None => vec![T::default(); len],
        }
    }

    /// Takes a buffer for later use.
    pub(crate) fn give<T: Pooled>(&mut self, buffer: Vec<T>) {
        if buffer.capacity() >= MIN_POOLED {
            T::list(self).free.push((buffer, true));
        }
    }

    /// Drops the buffers that were not used since the last call.
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
        self.free.retain(|(_, used)| *used);
        for (_, used) in &mut self.free {
            *used = false;
        }
    }
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
        assert_eq!(pool.take::<f32>(2900).capacity(), 2900);
    }

    #[test]
    fn a_buffer_that_a_run_does_not_use_is_dropped_at_its_end() {
        let mut pool = BufferPool::default();
        pool.give(vec![0u8; 5000]);
        pool.trim();
        let buffer = pool.take::<u8>(5000);
        pool.give(buffer);
        pool.trim();
        assert_eq!(pool.u8.free.len(), 1);
        pool.trim();
        assert_eq!(pool.u8.free.len(), 0);
    }
}
