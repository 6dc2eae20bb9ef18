//! From an element type that is known while running to a Rust type that the code is compiled for.

/// Evaluates an expression with `$T` as the Rust type of a `DType`; the expression is a `Result` with
/// [`EvalError`](crate::operator::EvalError). A type outside of the group is `EvalError::DType`.
///
/// Groups: `floats` (f32 f64 f16 bf16), `signed` and `unsigned` integers of 8 to 64 bits, `integers`
/// (both), `numbers` (`floats` and `integers`, all of them [`Number`](super::number::Number)),
/// `elements` (`numbers` and bool).
///
/// ```ignore
/// let sum = dispatch!(a.dtype(), T in numbers => binary(cx, a, b, |x: T, y: T| Ok(x.plus(y))))?;
/// ```
macro_rules! dispatch {
    ($dtype:expr, $T:ident in floats => $body:expr) => {
        dispatch!(@ $dtype, $T, $body, F32 f32, F64 f64, F16 half::f16, BF16 half::bf16)
    };
    ($dtype:expr, $T:ident in signed => $body:expr) => {
        dispatch!(@ $dtype, $T, $body, I8 i8, I16 i16, I32 i32, I64 i64)
    };
    ($dtype:expr, $T:ident in unsigned => $body:expr) => {
        dispatch!(@ $dtype, $T, $body, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    ($dtype:expr, $T:ident in integers => $body:expr) => {
        dispatch!(@ $dtype, $T, $body,
            I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    ($dtype:expr, $T:ident in numbers => $body:expr) => {
        dispatch!(@ $dtype, $T, $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16,
            I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    ($dtype:expr, $T:ident in elements => $body:expr) => {
        dispatch!(@ $dtype, $T, $body,
            F32 f32, F64 f64, F16 half::f16, BF16 half::bf16,
            I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64, Bool bool)
    };
    (@ $dtype:expr, $T:ident, $body:expr, $($D:ident $type:ty),+) => {
        match $dtype {
            $(compress_tensor::DType::$D => {
                type $T = $type;
                $body
            })+
            dtype => Err($crate::operator::EvalError::DType { dtype }),
        }
    };
}

pub(crate) use dispatch;
