//! The first half of a cast: any numeric type to the widest one of its kind.

use crate::packed::sign_extend;
use crate::{DType, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, Tensor, f4e2m1_to_f32};
use half::{bf16, f16};

/// Elements of a tensor, each exactly as it was.
pub(super) enum Wide<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    I64(&'a [i64]),
    U64(&'a [u64]),
}

/// Elements per chunk: small enough for the first-level cache, and a multiple of four, so that a
/// chunk of a packed type starts with a byte.
const CHUNK: usize = 1024;

/// Calls `visit` with all elements of `x` in order, chunk by chunk; not at all for strings and
/// complex numbers, which are not widened.
pub(super) fn widen_chunks(x: &Tensor, mut visit: impl FnMut(Wide<'_>)) {
    let mut f32s = Vec::new();
    let mut i64s = Vec::new();
    for start in (0..x.len()).step_by(CHUNK) {
        let range = start..(start + CHUNK).min(x.len());
        macro_rules! elements {
            ($t:ty) => {{
                let size = size_of::<$t>();
                <$t as crate::Element>::read(&x.bytes()[range.start * size..range.end * size])
            }};
        }
        macro_rules! to {
            ($buffer:ident, $kind:ident, $values:expr) => {{
                $buffer.clear();
                $buffer.extend($values);
                visit(Wide::$kind(&$buffer));
            }};
        }
        match x.dtype() {
            DType::F32 => visit(Wide::F32(&elements!(f32))),
            DType::F64 => visit(Wide::F64(&elements!(f64))),
            DType::I64 => visit(Wide::I64(&elements!(i64))),
            DType::U64 => visit(Wide::U64(&elements!(u64))),
            DType::F16 => to!(f32s, F32, elements!(f16).iter().map(|v| v.to_f32())),
            DType::BF16 => to!(f32s, F32, elements!(bf16).iter().map(|v| v.to_f32())),
            DType::F8E4M3FN => to!(f32s, F32, elements!(F8E4M3FN).iter().map(|v| v.to_f32())),
            DType::F8E4M3FNUZ => to!(f32s, F32, elements!(F8E4M3FNUZ).iter().map(|v| v.to_f32())),
            DType::F8E5M2 => to!(f32s, F32, elements!(F8E5M2).iter().map(|v| v.to_f32())),
            DType::F8E5M2FNUZ => to!(f32s, F32, elements!(F8E5M2FNUZ).iter().map(|v| v.to_f32())),
            DType::F8E8M0 => to!(f32s, F32, elements!(F8E8M0).iter().map(|v| v.to_f32())),
            DType::F4E2M1 => to!(f32s, F32, x.codes(range).map(f4e2m1_to_f32)),
            DType::I8 => to!(i64s, I64, elements!(i8).iter().copied().map(i64::from)),
            DType::I16 => to!(i64s, I64, elements!(i16).iter().copied().map(i64::from)),
            DType::I32 => to!(i64s, I64, elements!(i32).iter().copied().map(i64::from)),
            DType::U8 => to!(i64s, I64, elements!(u8).iter().copied().map(i64::from)),
            DType::U16 => to!(i64s, I64, elements!(u16).iter().copied().map(i64::from)),
            DType::U32 => to!(i64s, I64, elements!(u32).iter().copied().map(i64::from)),
            DType::Bool => to!(i64s, I64, elements!(bool).iter().copied().map(i64::from)),
            DType::I4 | DType::U4 | DType::I2 | DType::U2 => to!(
                i64s,
                I64,
                x.codes(range)
                    .map(|code| i64::from(sign_extend(x.dtype(), code)))
            ),
            DType::String | DType::C64 | DType::C128 => return,
        }
    }
}
