//! Windows of channels-last images, a few vectors of channels at a time: what they hold stays in the registers while the taps pass by.

use super::window::PoolShape;
use crate::isa::{MAX_LANES, Simd, simd_dispatch};
use crate::quantized::QuantByte;
use std::marker::PhantomData;

/// Vectors of channels at a time.
const VECTORS: usize = 4;

/// Bytes whose sum is a word.
pub(super) const MOST_TAPS: usize = 1 << 22;

/// The channels of an image, and the first of them that are asked for.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    pub(super) of: usize,
    pub(super) live: usize,
}

impl Channels {
    pub(super) fn all(of: usize) -> Self {
        Self { of, live: of }
    }
}

/// The taps of a window: rows of taps, as many in each.
#[derive(Clone, Copy)]
struct Window<'a, T> {
    shape: &'a PoolShape,
    at: [usize; 3],
    /// The first tap of a row in its image row, and how many follow it at which distance.
    first: usize,
    count: usize,
    step: usize,
    channels: Channels,
    image: &'a [T],
}

impl<'a, T: Copy + Default> Window<'a, T> {
    #[inline(always)]
    fn new(shape: &'a PoolShape, at: [usize; 3], channels: Channels, image: &'a [T]) -> Self {
        let columns = shape.taps(2, at[2]);
        Self {
            shape,
            at,
            first: match columns.is_empty() {
                true => 0,
                false => shape.coordinate(2, at[2], columns.start),
            },
            count: columns.len(),
            step: shape.dilation(2),
            channels,
            image,
        }
    }

    /// Combines `V` vectors of channels of all taps, those from channel `c` on; `live` of the elements are.
    #[inline(always)]
    fn fold<S: Simd, C: Combine<Element = T>, const V: usize>(
        &self,
        s: S,
        c: usize,
        live: usize,
    ) -> [C::Vector<S>; V] {
        let mut found = [C::start(s); V];
        let ([_, h, w], [z, y, _]) = (self.shape.input, self.at);
        for kz in self.shape.taps(0, z) {
            let plane = self.shape.coordinate(0, z, kz) * h;
            for ky in self.shape.taps(1, y) {
                let row = (plane + self.shape.coordinate(1, y, ky)) * w + self.first;
                for kx in 0..self.count {
                    let tap = &self.image[(row + kx * self.step) * self.channels.of + c..][..live];
                    for v in 0..V {
                        found[v] = C::combine(s, found[v], vector::<S, C>(s, &tap[v * S::LANES..]));
                    }
                }
            }
        }
        found
    }

    #[inline(always)]
    fn write<S: Simd, C: Combine<Element = T>>(&self, s: S, y: &mut [C::Word]) {
        let wide = VECTORS * S::LANES;
        let mut c = 0;
        while c + wide <= self.channels.live {
            let found = self.fold::<S, C, VECTORS>(s, c, wide);
            for v in 0..VECTORS {
                C::store(s, found[v], &mut y[c + v * S::LANES..]);
            }
            c += wide;
        }
        while c < self.channels.live {
            let live = S::LANES.min(self.channels.live - c);
            let [found] = self.fold::<S, C, 1>(s, c, live);
            let mut words = [C::Word::default(); MAX_LANES];
            C::store(s, found, &mut words);
            y[c..c + live].copy_from_slice(&words[..live]);
            c += live;
        }
    }
}

/// A vector of elements, of the default where there are fewer.
#[inline(always)]
fn vector<S: Simd, C: Combine>(s: S, from: &[C::Element]) -> C::Vector<S> {
    if from.len() >= S::LANES {
        return C::load(s, from);
    }
    let mut lanes = [C::Element::default(); MAX_LANES];
    lanes[..from.len()].copy_from_slice(from);
    C::load(s, &lanes)
}

/// How the elements of a window become one.
trait Combine {
    type Element: Copy + Default;
    type Word: Copy + Default;
    type Vector<S: Simd>: Copy;

    fn start<S: Simd>(s: S) -> Self::Vector<S>;
    fn load<S: Simd>(s: S, from: &[Self::Element]) -> Self::Vector<S>;
    fn combine<S: Simd>(s: S, found: Self::Vector<S>, x: Self::Vector<S>) -> Self::Vector<S>;
    fn store<S: Simd>(s: S, found: Self::Vector<S>, to: &mut [Self::Word]);
}

/// The greatest; the last NaN where there are any, and the first of equal ones.
struct Greatest;

/// The sum.
struct Sum;

/// The sum of bytes.
struct ByteSum<T>(PhantomData<T>);

macro_rules! of_floats {
    ($combine:ty, $start:expr, $of:expr) => {
        impl Combine for $combine {
            type Element = f32;
            type Word = f32;
            type Vector<S: Simd> = S::F;

            #[inline(always)]
            fn start<S: Simd>(s: S) -> S::F {
                s.splat($start)
            }
            #[inline(always)]
            fn load<S: Simd>(s: S, from: &[f32]) -> S::F {
                s.load(from)
            }
            #[inline(always)]
            fn combine<S: Simd>(s: S, found: S::F, x: S::F) -> S::F {
                $of(s, found, x)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, found: S::F, to: &mut [f32]) {
                s.store(found, to);
            }
        }
    };
}

of_floats!(Greatest, f32::NEG_INFINITY, greater);
of_floats!(Sum, 0.0, sum_of);

#[inline(always)]
fn greater<S: Simd>(s: S, found: S::F, x: S::F) -> S::F {
    s.select(s.is_nan(x), x, s.max(x, found))
}

#[inline(always)]
fn sum_of<S: Simd>(s: S, found: S::F, x: S::F) -> S::F {
    s.add(found, x)
}

impl<T: QuantByte> Combine for ByteSum<T> {
    type Element = T;
    type Word = i32;
    type Vector<S: Simd> = S::I;

    #[inline(always)]
    fn start<S: Simd>(s: S) -> S::I {
        s.splat_i32(0)
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[T]) -> S::I {
        T::load(s, from)
    }
    #[inline(always)]
    fn combine<S: Simd>(s: S, found: S::I, x: S::I) -> S::I {
        s.add_i32(found, x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, found: S::I, to: &mut [i32]) {
        s.store_i32(found, to);
    }
}

simd_dispatch! {
    /// The greatest element of the window at `at` of each channel.
    pub(super) fn greatest(
        s: S,
        shape: &PoolShape,
        at: [usize; 3],
        channels: Channels,
        image: &[f32],
        y: &mut [f32],
    ) {
        Window::new(shape, at, channels, image).write::<S, Greatest>(s, y);
    }
}

simd_dispatch! {
    /// The sum of the window at `at` of each channel.
    pub(super) fn sum(
        s: S,
        shape: &PoolShape,
        at: [usize; 3],
        channels: Channels,
        image: &[f32],
        y: &mut [f32],
    ) {
        Window::new(shape, at, channels, image).write::<S, Sum>(s, y);
    }
}

simd_dispatch! {
    /// The sum of the window at `at` of each channel, of no more than [`MOST_TAPS`].
    pub(super) fn byte_sum[T: QuantByte](
        s: S,
        shape: &PoolShape,
        at: [usize; 3],
        channels: Channels,
        image: &[T],
        y: &mut [i32],
    ) {
        Window::new(shape, at, channels, image).write::<S, ByteSum<T>>(s, y);
    }
}
