//! Memory of packed weights: on cache lines, and on large pages where it is large.
//!
//! Linux, Documentation/admin-guide/mm/transhuge.rst.

use std::ops::Range;

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::context::LINE;

/// Bytes of a large page, where pages are of 4 KiB.
#[cfg(any(test, target_os = "linux"))]
const PAGE: usize = 2 << 20;

/// A vector whose live part starts on a cache line: packed weights.
///
/// Weights of millions of bytes are read from end to end in every run. By pages of 4 KiB, that is a walk through the page tables every 64 cache
/// lines; large pages, which Linux gives to whom asks for them, make it one in 32768. What does not fill one stays on small pages, so that no memory
/// is taken beyond what is there.
#[derive(Debug)]
pub(crate) struct AlignedVec<T> {
    store: Store<T>,
    /// Elements before the live part.
    start: usize,
    len: usize,
}

#[derive(Debug)]
enum Store<T> {
    Heap(Vec<T>),
    Pages(MmapMut),
}

impl<T: Pod> Clone for AlignedVec<T> {
    fn clone(&self) -> Self {
        // Another allocation starts elsewhere in its cache line.
        let mut copy = Self::zeroed(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl<T: Pod> AlignedVec<T> {
    pub(crate) fn zeroed(len: usize) -> Self {
        if let Some((pages, skipped)) = large_pages(len.saturating_mul(size_of::<T>())) {
            return Self {
                store: Store::Pages(pages),
                start: skipped / size_of::<T>(),
                len,
            };
        }
        let store = vec![T::zeroed(); len + LINE];
        let start = store.as_ptr().align_offset(LINE).min(LINE);
        Self {
            store: Store::Heap(store),
            start,
            len,
        }
    }

    /// Makes room for `len` elements, whose values are arbitrary.
    pub(crate) fn resize(&mut self, len: usize) {
        let all = match &self.store {
            Store::Heap(store) => store.len(),
            Store::Pages(pages) => pages.len() / size_of::<T>(),
        };
        if len > all - self.start {
            *self = Self::zeroed(len);
        }
        self.len = len;
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        match &self.store {
            Store::Heap(store) => &store[self.start..self.start + self.len],
            Store::Pages(pages) => bytemuck::cast_slice(&pages[self.bytes()]),
        }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let bytes = self.bytes();
        match &mut self.store {
            Store::Heap(store) => &mut store[self.start..self.start + self.len],
            Store::Pages(pages) => bytemuck::cast_slice_mut(&mut pages[bytes]),
        }
    }

    /// The bytes of the live part.
    #[inline]
    fn bytes(&self) -> Range<usize> {
        self.start * size_of::<T>()..(self.start + self.len) * size_of::<T>()
    }
}

/// Memory of zeros on large pages, as far as it fills them, and how many bytes come before the first: systems align it to small pages, and
/// what is not touched takes no memory. None where it is less than one, or where the system does not know such.
#[cfg(target_os = "linux")]
fn large_pages(bytes: usize) -> Option<(MmapMut, usize)> {
    if bytes < PAGE {
        return None;
    }
    let pages = MmapMut::map_anon(bytes.checked_add(PAGE)?).ok()?;
    let skipped = pages.as_ptr().align_offset(PAGE).min(PAGE);
    // Without them it is as good as any other memory.
    let _ = pages.advise_range(memmap2::Advice::HugePage, skipped, bytes / PAGE * PAGE);
    Some((pages, skipped))
}

#[cfg(not(target_os = "linux"))]
fn large_pages(_: usize) -> Option<(MmapMut, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_packed_weights_are_aligned_too() {
        let mut packed = AlignedVec::zeroed(5);
        packed
            .as_mut_slice()
            .copy_from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0]);
        for copy in [packed.clone(), packed.clone(), packed.clone()] {
            assert_eq!(copy.as_slice(), packed.as_slice());
            assert_eq!(copy.as_slice().as_ptr() as usize % 64, 0);
        }
    }

    #[test]
    fn memory_of_large_pages_is_like_any_other() {
        let len = PAGE / 4 + 7;
        let mut packed = AlignedVec::<i32>::zeroed(3);
        packed.resize(len);
        assert!(packed.as_slice().iter().all(|&x| x == 0));
        packed.as_mut_slice()[len - 1] = 9;
        let copy = packed.clone();
        packed.resize(len - 1);
        assert_eq!(
            (packed.as_slice().len(), copy.as_slice()[len - 1]),
            (len - 1, 9)
        );
        let aligned = if cfg!(target_os = "linux") {
            PAGE
        } else {
            LINE
        };
        for whole in [&packed, &copy] {
            assert_eq!(whole.as_slice().as_ptr() as usize % aligned, 0);
        }
    }
}
