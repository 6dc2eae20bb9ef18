//! `LabelEncoder`: maps each element by a table of keys and values; others to a default.
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html>
//!
//! Version 1 maps strings to their positions in a list and integers back; version 2 has typed lists,
//! version 4 tensors as well.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::select;
use std::collections::HashMap;

/// The table of `LabelEncoder`.
#[derive(Clone, Debug)]
pub struct LabelEncoder {
    /// The keys, a vector.
    pub keys: Tensor,
    /// The value of each key.
    pub values: Tensor,
    /// The value for what is no key: one element.
    pub default: Tensor,
    /// Whether the table also maps the other way round, by the type of the input (version 1).
    pub both_ways: Option<Tensor>,
}

impl Operator for LabelEncoder {
    const SIGNATURE: Signature = super::signature("LabelEncoder", &[1, 2, 4]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let int = Tensor::scalar(attrs.int_or("default_int64", -1)?);
        let text = strings(vec![attrs.string_or("default_string", "_Unused".into())?])?;
        if attrs.version() < 2 {
            let classes = strings(attrs.strings("classes_strings")?)?;
            let positions = Tensor::vector((0..classes.len() as i64).collect());
            let both_ways = Some(text);
            return Ok(Self {
                keys: classes,
                values: positions,
                default: int,
                both_ways,
            });
        }
        let float = Tensor::scalar(attrs.f32_or("default_float", -0.0)?);
        let keys = table(
            attrs,
            ["keys_tensor", "keys_int64s", "keys_floats", "keys_strings"],
        )?;
        let values = table(
            attrs,
            [
                "values_tensor",
                "values_int64s",
                "values_floats",
                "values_strings",
            ],
        )?;
        if keys.len() != values.len() {
            return Err(AttrError::Invalid {
                name: "keys_tensor",
                found: format!("{} keys, {} values", keys.len(), values.len()),
                rule: "there must be one value for each key",
            });
        }
        let by_type = match values.dtype() {
            DType::String => text,
            dtype if dtype.is_float() => cast_scalar(&float, dtype),
            dtype => cast_scalar(&int, dtype),
        };
        let default = attrs.tensor_opt("default_tensor")?.unwrap_or(by_type);
        if default.dtype() != values.dtype() || default.len() != 1 {
            return Err(AttrError::Invalid {
                name: "default_tensor",
                found: format!("{default:?}"),
                rule: "it must be one element of the type of the values",
            });
        }
        Ok(Self {
            keys,
            values,
            default,
            both_ways: None,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let dtype = match (&self.both_ways, x.dtype) {
            (None, _) => Some(self.values.dtype()),
            (Some(_), Some(DType::String)) => Some(DType::I64),
            (Some(_), Some(_)) => Some(DType::String),
            (Some(_), None) => None,
        };
        Ok(vec![TensorFact::with_shape(dtype, x.shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (keys, values, default) = match &self.both_ways {
            Some(text) if x.dtype() != DType::String => (&self.values, &self.keys, text),
            _ => (&self.keys, &self.values, &self.default),
        };
        if x.dtype() != keys.dtype() {
            return Err(EvalError::WrongInput {
                index: 0,
                expected: "the type of the keys",
                found: x.dtype().to_string(),
            });
        }
        // Of a key that stands there twice the last one counts.
        let positions: HashMap<Key, usize> = elements(keys)?.into_iter().zip(0..).collect();
        let runs = elements(x)?
            .into_iter()
            .map(|key| match positions.get(&key) {
                Some(&at) => (values, at, 1),
                None => (default, 0, 1),
            });
        Ok(vec![
            select::assemble(values.dtype(), x.shape(), runs)?.into(),
        ])
    }
}

/// An element that can be looked up; all NaN are one key.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(u64),
    Text(String),
}

fn elements(x: &Tensor) -> Result<Vec<Key>, EvalError> {
    if let Ok(strings) = x.strings() {
        return Ok(strings.iter().cloned().map(Key::Text).collect());
    }
    if let Ok(ints) = x.data::<i64>() {
        return Ok(ints.iter().map(|&i| Key::Number(i as u64)).collect());
    }
    let number = |v: f64| {
        // 0 and -0 are equal.
        let v = if v.is_nan() { f64::NAN } else { v + 0.0 };
        Key::Number(v.to_bits())
    };
    dispatch!(x.dtype(), T in numbers => {
        Ok(x.data::<T>()?.iter().map(|v| number(v.to_f64())).collect())
    })
}

/// The one of four attributes that is given: a tensor, integers, floats, strings.
fn table(attrs: &mut Attrs<'_>, names: [&'static str; 4]) -> Result<Tensor, AttrError> {
    let [tensor, ints, floats, texts] = names;
    let given = [
        attrs.tensor_opt(tensor)?,
        attrs.ints_opt(ints)?.map(Tensor::vector),
        attrs.floats_opt(floats)?.map(Tensor::vector),
        attrs.strings_opt(texts)?.map(strings).transpose()?,
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(table), None) => Ok(table),
        (None, _) => Err(AttrError::Missing { name: tensor }),
        (Some(_), Some(_)) => Err(AttrError::Invalid {
            name: tensor,
            found: "several lists".to_owned(),
            rule: "one list of keys and one of values must be given",
        }),
    }
}

fn strings(values: Vec<String>) -> Result<Tensor, AttrError> {
    let shape = [values.len()];
    Tensor::from_strings(&shape, values).map_err(|e| AttrError::Invalid {
        name: "values_strings",
        found: e.to_string(),
        rule: "it must be a list of strings",
    })
}

/// A default number as an element of a type; as it is where the type has no arithmetic.
fn cast_scalar(value: &Tensor, dtype: DType) -> Tensor {
    let number = value
        .to_f64_vec()
        .ok()
        .and_then(|v| v.first().copied())
        .unwrap_or(0.0);
    let cast: Result<Tensor, EvalError> =
        dispatch!(dtype, T in numbers => Ok(Tensor::scalar(T::from_f64(number))));
    cast.unwrap_or_else(|_| value.clone())
}
