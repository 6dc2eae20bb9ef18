//! What becomes of exact int32 sums: stored as they are, scaled to f32, or requantised.

use crate::elementwise::Activation;
use crate::isa::Simd;

/// What the public traits do with vectors; sealed, because the vector trait is internal.
pub(crate) mod sealed {
    use super::Channels;
    use crate::isa::Simd;

    /// Eight-bit loads and stores.
    pub trait ByteLanes: Sized {
        /// Loads one vector, widened.
        fn load<S: Simd>(s: S, src: &[Self]) -> S::I;
        /// Stores one vector whose lanes lie in the type's range.
        fn store<S: Simd>(s: S, v: S::I, dst: &mut [Self]);
    }

    /// Stores runs of sums.
    pub trait WriteSums<T> {
        /// Stores `out.len()` sums; `acc` has room for whole vectors beyond.
        fn write<S: Simd>(&self, s: S, acc: &mut [i32], channels: Channels, out: &mut [T]);
    }
}
use sealed::{ByteLanes, WriteSums};

/// `u8` or `i8`: the element of an int8 tensor.
pub trait QuantByte: ByteLanes + Copy + Default + Send + Sync + PartialOrd + 'static {
    /// The least value.
    const MIN: i32;
    /// The greatest value.
    const MAX: i32;

    /// The value.
    fn to_i32(self) -> i32;
    /// The value, which must lie in the type's range.
    fn from_i32(x: i32) -> Self;
}

macro_rules! quant_byte {
    ($ty:ty, $load:ident, $store:ident) => {
        impl QuantByte for $ty {
            const MIN: i32 = <$ty>::MIN as i32;
            const MAX: i32 = <$ty>::MAX as i32;

            #[inline(always)]
            fn to_i32(self) -> i32 {
                i32::from(self)
            }
            #[inline(always)]
            fn from_i32(x: i32) -> Self {
                x as $ty
            }
        }

        impl ByteLanes for $ty {
            #[inline(always)]
            fn load<S: Simd>(s: S, src: &[Self]) -> S::I {
                s.$load(src)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, v: S::I, dst: &mut [Self]) {
                s.$store(v, dst);
            }
        }
    };
}
quant_byte!(u8, load_u8, store_u8);
quant_byte!(i8, load_i8, store_i8);

/// To which channels a run of results belongs.
#[derive(Clone, Copy, Debug)]
pub enum Channels {
    /// All to this one.
    One(usize),
    /// The first to this one, the next to the next, and so on.
    From(usize),
}

/// A way to store exact int32 sums as elements of type `T`: [`RawOutput`], [`Dequantize`] or
/// [`crate::quantized::Requantization`].
pub trait IntegerEpilogue<T>: WriteSums<T> + Sync {
    /// Channels for which there are parameters; `None` if one set serves all.
    fn channels(&self) -> Option<usize>;
}

/// Stores the sums as `i32`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawOutput;

impl IntegerEpilogue<i32> for RawOutput {
    fn channels(&self) -> Option<usize> {
        None
    }
}

impl WriteSums<i32> for RawOutput {
    #[inline(always)]
    fn write<S: Simd>(&self, _: S, acc: &mut [i32], _: Channels, out: &mut [i32]) {
        out.copy_from_slice(&acc[..out.len()]);
    }
}

/// `y = activation(f32(sum) * scale + bias)`: an int8 product with a float result.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Dequantize<'a> {
    /// Real units per step of the sum (the product of the operands' scales): one, or one per
    /// channel.
    pub scales: &'a [f32],
    /// Summand in real units, one per channel, or empty.
    pub bias: &'a [f32],
    /// Applied last.
    pub activation: Activation,
}

impl<'a> Dequantize<'a> {
    /// Scales only: one, or one per channel.
    pub fn new(scales: &'a [f32]) -> Self {
        Self {
            scales,
            bias: &[],
            activation: Activation::None,
        }
    }

    /// With a summand per channel, in real units.
    pub fn with_bias(mut self, bias: &'a [f32]) -> Self {
        self.bias = bias;
        self
    }

    /// With an activation.
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }
}

impl IntegerEpilogue<f32> for Dequantize<'_> {
    fn channels(&self) -> Option<usize> {
        if self.bias.is_empty() && self.scales.len() == 1 {
            return None;
        }
        let agree =
            self.bias.is_empty() || self.scales.len() == 1 || self.bias.len() == self.scales.len();
        // Lists that disagree match no number of channels.
        Some(if agree {
            self.bias.len().max(self.scales.len())
        } else {
            usize::MAX
        })
    }
}

impl WriteSums<f32> for Dequantize<'_> {
    #[inline(always)]
    fn write<S: Simd>(&self, s: S, acc: &mut [i32], channels: Channels, out: &mut [f32]) {
        let mut at = 0;
        while at < out.len() {
            let n = S::LANES.min(out.len() - at);
            let scale = channel_floats(s, self.scales, channels, at, n);
            let bias = channel_floats(s, self.bias, channels, at, n);
            let x = s.add(s.mul(s.to_f32(s.load_i32(&acc[at..])), scale), bias);
            let y = self.activation.apply(s, x);
            if n == S::LANES {
                s.store(y, &mut out[at..]);
            } else {
                s.store_partial(y, &mut out[at..]);
            }
            at += S::LANES;
        }
    }
}

/// The parameters of `n` results from `at` on; a list of one serves all, an empty one is zero.
#[inline(always)]
pub(crate) fn channel_floats<S: Simd>(
    s: S,
    list: &[f32],
    channels: Channels,
    at: usize,
    n: usize,
) -> S::F {
    match (list, channels) {
        ([], _) => s.splat(0.0),
        ([one], _) => s.splat(*one),
        (list, Channels::One(c)) => s.splat(list[c]),
        (list, Channels::From(c)) if n == S::LANES => s.load(&list[c + at..]),
        (list, Channels::From(c)) => s.load_partial(&list[c + at..c + at + n], 0.0),
    }
}
