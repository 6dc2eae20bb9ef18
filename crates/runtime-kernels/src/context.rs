//! What every kernel is given beside its operands: instruction set, threads, scratch memory.

use half::bf16;

use crate::conv::FreshWeights;
use crate::{Isa, Parallelism};

/// The instruction set to run and the threads to run on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The instruction set; packed operands must have been packed for it.
    pub isa: Isa,
    /// The threads.
    pub parallelism: Parallelism,
}

impl Context {
    /// The best instruction set of this CPU on the given threads.
    pub fn new(parallelism: Parallelism) -> Self {
        Self {
            isa: Isa::best(),
            parallelism,
        }
    }

    /// The same with a chosen instruction set.
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }
}

impl Default for Context {
    /// The best instruction set, sequential.
    fn default() -> Self {
        Self::new(Parallelism::sequential())
    }
}

/// Memory that kernels work in, kept by the caller from call to call.
///
/// It grows to the largest need seen; a session that runs the same shapes again allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    floats: Vec<f32>,
    words: Vec<i32>,
    bytes: Vec<u8>,
    halves: Vec<bf16>,
    /// What stands between kernels that run within another one.
    images: Images,
    /// That of such kernels, a piece for each task.
    inner: Vec<Scratch>,
    /// Weights that are packed as they come.
    pub(crate) weights: FreshWeights,
}

/// Elements to spare so that a slice can start on a cache line: enough for elements of one byte.
pub(crate) const LINE: usize = 64;

impl Scratch {
    /// Empty scratch memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held at present.
    pub fn bytes(&self) -> usize {
        let inner: usize = self.inner.iter().map(Self::bytes).sum();
        let images =
            4 * self.images.floats.len() + self.images.unsigned.len() + self.images.signed.len();
        let halves = 2 * self.halves.len();
        let weights = self.weights.bytes();
        4 * (self.floats.len() + self.words.len())
            + halves
            + self.bytes.len()
            + images
            + inner
            + weights
    }

    /// Words and bytes at once; the contents are arbitrary.
    pub(crate) fn words_and_bytes(
        &mut self,
        words: usize,
        bytes: usize,
    ) -> (&mut [i32], &mut [u8]) {
        (
            aligned(&mut self.words, words),
            aligned(&mut self.bytes, bytes),
        )
    }

    /// Numbers of 16 bits; the contents are arbitrary.
    pub(crate) fn halves(&mut self, len: usize) -> &mut [bf16] {
        aligned(&mut self.halves, len)
    }

    /// Memory for `count` tasks that run kernels.
    pub(crate) fn inner(&mut self, count: usize) -> &mut [Self] {
        if self.inner.len() < count {
            self.inner.resize_with(count, Self::new);
        }
        &mut self.inner[..count]
    }

    /// `len` elements, whose values are arbitrary, and memory for kernels that run between them.
    pub(crate) fn with_inner<T: Element>(&mut self, len: usize) -> (&mut [T], &mut Self) {
        if self.inner.is_empty() {
            self.inner.push(Self::new());
        }
        (aligned(T::held(&mut self.images), len), &mut self.inner[0])
    }

    /// Both kinds at once; the contents are arbitrary.
    pub(crate) fn parts(&mut self, floats: usize, words: usize) -> (&mut [f32], &mut [i32]) {
        (
            aligned(&mut self.floats, floats),
            aligned(&mut self.words, words),
        )
    }
}

/// An element of images that scratch memory holds.
pub trait Element: Copy + Default + Send + Sync {
    /// Where elements of this type lie.
    fn held(scratch: &mut Images) -> &mut Vec<Self>;
}

/// Images between kernels, by element type.
#[derive(Clone, Debug, Default)]
pub struct Images {
    floats: Vec<f32>,
    unsigned: Vec<u8>,
    signed: Vec<i8>,
}

impl Element for f32 {
    fn held(scratch: &mut Images) -> &mut Vec<f32> {
        &mut scratch.floats
    }
}

impl Element for u8 {
    fn held(scratch: &mut Images) -> &mut Vec<u8> {
        &mut scratch.unsigned
    }
}

impl Element for i8 {
    fn held(scratch: &mut Images) -> &mut Vec<i8> {
        &mut scratch.signed
    }
}

/// `len` elements that start on a cache line.
fn aligned<T: Copy + Default>(store: &mut Vec<T>, len: usize) -> &mut [T] {
    if len == 0 {
        return &mut [];
    }
    if store.len() < len + LINE {
        store.resize(len + LINE, T::default());
    }
    let start = store.as_ptr().align_offset(LINE).min(LINE);
    &mut store[start..start + len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_aligned_and_reused() {
        let mut scratch = Scratch::new();
        let (floats, words) = scratch.parts(100, 50);
        assert_eq!((floats.len(), words.len()), (100, 50));
        assert_eq!(floats.as_ptr() as usize % 64, 0);
        let bytes = scratch.bytes();
        scratch.parts(10, 5);
        assert_eq!(scratch.bytes(), bytes);
    }
}
