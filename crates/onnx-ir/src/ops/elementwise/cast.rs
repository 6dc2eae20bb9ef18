//! `Cast`: every element converted to another type; the rules stand at [`Tensor::cast`].
//! Strings came with opset 9, float8 with 19, int4 with 21, float4 with 23, `round_mode` with 24.
//! Opset 1 named the type by a string. <https://onnx.ai/onnx/operators/onnx__Cast.html>

use crate::operator::prelude::*;
use crate::ops::partial;
use compress_tensor::{CastOptions, E8M0Rounding, Overflow};

/// The attributes of `Cast`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// The type to convert to.
    pub to: DType,
    /// How float8 types are reached.
    pub options: CastOptions,
}

impl Operator for Cast {
    const SIGNATURE: Signature = Signature::onnx("Cast", &[1, 6, 9, 13, 19, 21, 23, 24, 25, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            to: match attrs.version() {
                1..6 => named_dtype(attrs.string("to")?)?,
                _ => attrs.dtype("to")?,
            },
            options: cast_options(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer_cast(cx, Some(self.to))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![cx.tensor(0)?.cast(self.to, self.options)?.into()])
    }
}

/// The types of opset 1, by the names of `TensorProto.DataType`.
fn named_dtype(found: String) -> Result<DType, AttrError> {
    Ok(match found.to_ascii_uppercase().as_str() {
        "FLOAT" => DType::F32,
        "FLOAT16" => DType::F16,
        "DOUBLE" => DType::F64,
        "INT8" => DType::I8,
        "INT16" => DType::I16,
        "INT32" => DType::I32,
        "INT64" => DType::I64,
        "UINT8" => DType::U8,
        "UINT16" => DType::U16,
        "UINT32" => DType::U32,
        "UINT64" => DType::U64,
        "BOOL" => DType::Bool,
        _ => {
            return Err(AttrError::Invalid {
                name: "to",
                found,
                rule: "it must name a numeric element type or BOOL",
            });
        }
    })
}

/// The attributes of casts that concern float8 types, added with opsets 19 and 24.
pub(super) fn cast_options(attrs: &mut Attrs<'_>) -> Result<CastOptions, AttrError> {
    let mut options = CastOptions::default();
    if attrs.version() >= 19 && !attrs.flag_or("saturate", true)? {
        options.overflow = Overflow::NonFinite;
    }
    if attrs.version() >= 24 {
        let found = attrs.string_or("round_mode", "up".to_owned())?;
        options.e8m0_rounding = match found.as_str() {
            "up" => E8M0Rounding::Up,
            "down" => E8M0Rounding::Down,
            "nearest" => E8M0Rounding::Nearest,
            _ => {
                return Err(AttrError::Invalid {
                    name: "round_mode",
                    found,
                    rule: "it must be `up`, `down` or `nearest`",
                });
            }
        };
    }
    Ok(options)
}

/// The output has the shape of input 0 and this type; small integers stay known.
pub(super) fn infer_cast(
    cx: &InferContext<'_>,
    to: Option<DType>,
) -> Result<Vec<Fact>, InferError> {
    let x = cx.tensor(0)?;
    let output = TensorFact::with_shape(to, x.shape.clone());
    let integer = |dtype| matches!(dtype, Some(DType::I64 | DType::I32));
    Ok(vec![match integer(to) {
        true => partial::same_elements(output, &x).into(),
        false => output.into(),
    }])
}
