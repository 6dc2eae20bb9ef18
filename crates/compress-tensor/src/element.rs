//! Rust types that a tensor's bytes can be viewed as.

use crate::{DType, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0};
use half::{bf16, f16};
use std::borrow::Cow;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is the element of a [`Tensor`](crate::Tensor). Sealed.
pub trait Element:
    Copy
    + PartialEq
    + PartialOrd
    + Default
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
    + sealed::Sealed
    + bytemuck::NoUninit
{
    /// The element type that this Rust type stands for.
    const DTYPE: DType;

    /// Views bytes as elements; `None` where they are misaligned, of a wrong length or no valid value.
    fn view(bytes: &[u8]) -> Option<&[Self]>;

    /// Bytes as elements: borrowed where they are aligned, else copied.
    ///
    /// `bytes` must be a whole number of elements; a rest is left out.
    fn read(bytes: &[u8]) -> Cow<'_, [Self]>;
}

macro_rules! pod_element {
    ($($t:ty => $d:ident),* $(,)?) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$d;
            fn view(bytes: &[u8]) -> Option<&[Self]> {
                if bytes.is_empty() {
                    return Some(&[]);
                }
                bytemuck::try_cast_slice(bytes).ok()
            }
            fn read(bytes: &[u8]) -> Cow<'_, [Self]> {
                match Self::view(bytes) {
                    Some(view) => Cow::Borrowed(view),
                    None => Cow::Owned(
                        bytes
                            .chunks_exact(size_of::<$t>())
                            .map(bytemuck::pod_read_unaligned)
                            .collect(),
                    ),
                }
            }
        }
    )*};
}

pod_element! {
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16,
    F8E4M3FN => F8E4M3FN, F8E4M3FNUZ => F8E4M3FNUZ, F8E5M2 => F8E5M2, F8E5M2FNUZ => F8E5M2FNUZ,
    F8E8M0 => F8E8M0,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn view(bytes: &[u8]) -> Option<&[Self]> {
        bytemuck::checked::try_cast_slice(bytes).ok()
    }
    /// Any byte but 0 is true, as ONNX readers take it.
    fn read(bytes: &[u8]) -> Cow<'_, [Self]> {
        match Self::view(bytes) {
            Some(view) => Cow::Borrowed(view),
            None => Cow::Owned(bytes.iter().map(|&b| b != 0).collect()),
        }
    }
}
