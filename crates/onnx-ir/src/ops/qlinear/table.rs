//! Functions of one 8-bit operand as tables of 256 entries, as ONNX Runtime evaluates them: the value of
//! each code, the function of it and its quantization are all binary32.

use crate::operator::prelude::*;
use crate::ops::quantization::rounding::{Quantizer, integers, small_tensor};

/// The scale and zero point of an 8-bit tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Real units per step.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i32,
}

impl Affine {
    /// The scale at input `scale` and the zero point at the next input, 0 where it is left out.
    ///
    /// # Errors
    /// [`EvalError::WrongInput`] where one of them is not a single number.
    pub fn at(cx: &EvalContext<'_>, scale: usize) -> Result<Self, EvalError> {
        use crate::ops::quantization::rounding::{scalar_scale, scalar_zero_point};
        Ok(Self {
            scale: scalar_scale(cx, scale)?,
            zero_point: scalar_zero_point(cx, scale + 1)?,
        })
    }

    /// The value of a code.
    pub fn value(&self, code: i32) -> f32 {
        self.scale * (code - self.zero_point) as f32
    }
}

/// `f` of every element of `x`, quantized to the same type as `x` with `y`'s scale and zero point.
///
/// # Errors
/// [`EvalError::DType`] for other than i8 and u8.
pub fn map(
    x: &Tensor,
    from: Affine,
    to: Affine,
    f: impl Fn(f32) -> f32,
) -> Result<Tensor, EvalError> {
    let dtype = x.dtype();
    let table = Table::new(dtype, from, to, f)?;
    let y = integers(x)?.into_iter().map(|code| table.get(code));
    small_tensor(dtype, x.shape(), y)
}

/// A function of an 8-bit code.
#[derive(Clone, Debug)]
pub struct Table {
    codes: Vec<i32>,
}

impl Table {
    /// The table of `f` between two quantized types that share `dtype`.
    ///
    /// # Errors
    /// [`EvalError::DType`] for other than i8 and u8.
    pub fn new(
        dtype: DType,
        from: Affine,
        to: Affine,
        f: impl Fn(f32) -> f32,
    ) -> Result<Self, EvalError> {
        if !matches!(dtype, DType::I8 | DType::U8) {
            return Err(EvalError::DType { dtype });
        }
        let quantizer = Quantizer::new(dtype, to.zero_point)?;
        let codes = (0..=255u8)
            .map(|byte| {
                let code = match dtype {
                    DType::I8 => i32::from(byte as i8),
                    _ => byte.into(),
                };
                quantizer.quantize(f(from.value(code)) / to.scale)
            })
            .collect();
        Ok(Self { codes })
    }

    /// The entry of an i8 or u8 code.
    pub fn get(&self, code: i32) -> i32 {
        self.codes[usize::from(code as u8)]
    }
}
