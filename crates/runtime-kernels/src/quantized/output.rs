//! What becomes of exact int32 sums: stored as they are, scaled to f32, or requantised.

use super::requantize::Requantization;
use crate::context::Element;
use crate::conv::Int8Input;
use crate::elementwise::Activation;
use crate::isa::Simd;
use crate::threads::TileMut;

/// What the public traits do with vectors; sealed, because the vector trait is internal.
pub(crate) mod sealed {
    use super::{SumRule, SumTile};
    use crate::conv::Int8Input;
    use crate::isa::Simd;
    use crate::threads::TileMut;

    /// Eight-bit loads and stores.
    pub trait ByteLanes: Sized {
        /// Loads one vector, widened.
        fn load<S: Simd>(s: S, src: &[Self]) -> S::I;
        /// Stores one vector whose lanes lie in the type's range.
        fn store<S: Simd>(s: S, v: S::I, dst: &mut [Self]);
        /// An image of this type.
        fn image(bytes: &[Self]) -> Int8Input<'_>;
        /// A result of this type.
        fn tile(out: TileMut<'_, Self>) -> SumTile<'_>;
    }

    /// An epilogue as data, so that the products are compiled once for all epilogues.
    pub trait StoreSums<T> {
        /// What is done to the sums.
        fn rule(&self) -> SumRule<'_>;
        /// The result, tagged with its type.
        fn tile(out: TileMut<'_, T>) -> SumTile<'_>;
    }
}
use sealed::{ByteLanes, StoreSums};

/// `u8` or `i8`: the element of an int8 tensor.
pub trait QuantByte: ByteLanes + Element + PartialOrd + 'static {
    /// The least value.
    const MIN: i32;
    /// The greatest value.
    const MAX: i32;

    /// The value.
    fn to_i32(self) -> i32;
    /// The value, which must lie in the type's range.
    fn from_i32(x: i32) -> Self;
    /// The value of these bits.
    fn from_bits(bits: u8) -> Self;
}

macro_rules! quant_byte {
    ($ty:ty, $load:ident, $store:ident, $tile:ident) => {
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
            #[inline(always)]
            fn from_bits(bits: u8) -> Self {
                bits as $ty
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
            fn image(bytes: &[Self]) -> Int8Input<'_> {
                bytes.into()
            }
            fn tile(out: TileMut<'_, Self>) -> SumTile<'_> {
                SumTile::$tile(out)
            }
        }
    };
}
quant_byte!(u8, load_u8, store_u8, U8);
quant_byte!(i8, load_i8, store_i8, I8);

/// What is done to exact sums.
#[derive(Clone, Copy, Debug)]
pub enum SumRule<'a> {
    /// Stored as `i32`.
    Raw,
    /// Scaled to `f32`.
    Dequantize(&'a Dequantize<'a>),
    /// Brought to another scale in 8 bits.
    Requantize(&'a Requantization),
}

/// A result of the type that a [`SumRule`] gives.
pub enum SumTile<'a> {
    /// Of [`SumRule::Raw`].
    I32(TileMut<'a, i32>),
    /// Of [`SumRule::Dequantize`].
    F32(TileMut<'a, f32>),
    /// Of [`SumRule::Requantize`].
    U8(TileMut<'a, u8>),
    /// Of [`SumRule::Requantize`].
    I8(TileMut<'a, i8>),
}

/// To which channels a tile of results belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channels {
    /// The first row to this one, the next row to the next, and so on.
    Rows(usize),
    /// The first column to this one, the next column to the next, and so on.
    Cols(usize),
}

/// A way to store exact int32 sums as elements of type `T`: [`RawOutput`], [`Dequantize`] or
/// [`crate::quantized::Requantization`].
pub trait IntegerEpilogue<T>: StoreSums<T> + Sync {
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

impl StoreSums<i32> for RawOutput {
    fn rule(&self) -> SumRule<'_> {
        SumRule::Raw
    }
    fn tile(out: TileMut<'_, i32>) -> SumTile<'_> {
        SumTile::I32(out)
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

impl StoreSums<f32> for Dequantize<'_> {
    fn rule(&self) -> SumRule<'_> {
        SumRule::Dequantize(self)
    }
    fn tile(out: TileMut<'_, f32>) -> SumTile<'_> {
        SumTile::F32(out)
    }
}
