//! What is known of a value before the model runs: kind, element type, shape, partial value.

use crate::symbolic::Dim;
use compress_tensor::{DType, Tensor};
use std::fmt;

/// What is known of a value.
#[derive(Clone, Debug, Default)]
pub enum Fact {
    /// Nothing, not even the kind.
    #[default]
    Unknown,
    /// A tensor.
    Tensor(TensorFact),
    /// A sequence of values of one kind.
    Sequence(Box<Fact>),
    /// A value that may be absent.
    Optional(Box<Fact>),
    /// A map, as `ai.onnx.ml` operators make: key type and value.
    Map(DType, Box<Fact>),
    /// A sparse tensor.
    SparseTensor(TensorFact),
}

/// What is known of a tensor.
#[derive(Clone, Debug, Default)]
pub struct TensorFact {
    /// The element type.
    pub dtype: Option<DType>,
    /// The shape; `None` where not even the rank is known.
    pub shape: Option<Vec<Dim>>,
    /// The value, where it is known in whole or, for small integer tensors, in part.
    pub value: Option<KnownValue>,
}

/// A value that is known before the model runs.
#[derive(Clone, Debug)]
pub enum KnownValue {
    /// The whole tensor.
    Const(Tensor),
    /// The elements of an integer tensor of rank 0 or 1, each known, symbolic or unknown.
    Elements(Vec<Dim>),
}

/// Elements beyond which an integer tensor is not tracked element by element.
pub const MAX_TRACKED_ELEMENTS: usize = 1024;

impl Fact {
    /// A tensor of known type and shape.
    pub fn tensor(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        Fact::Tensor(TensorFact::new(dtype, shape))
    }

    /// The tensor fact, where this is a tensor.
    pub fn as_tensor(&self) -> Option<&TensorFact> {
        match self {
            Fact::Tensor(fact) => Some(fact),
            _ => None,
        }
    }
}

impl From<TensorFact> for Fact {
    fn from(fact: TensorFact) -> Self {
        Fact::Tensor(fact)
    }
}

impl TensorFact {
    /// A tensor of known type and shape.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Self {
        Self {
            dtype: Some(dtype),
            shape: Some(shape.into_iter().map(Into::into).collect()),
            value: None,
        }
    }

    /// A tensor of known type, of which not even the rank is known.
    pub fn of_dtype(dtype: Option<DType>) -> Self {
        Self {
            dtype,
            ..Self::default()
        }
    }

    /// A tensor of which the type and the shape may be known.
    pub fn with_shape(dtype: Option<DType>, shape: Option<Vec<Dim>>) -> Self {
        Self {
            dtype,
            shape,
            value: None,
        }
    }

    /// A constant.
    pub fn constant(tensor: Tensor) -> Self {
        Self {
            dtype: Some(tensor.dtype()),
            shape: Some(tensor.shape().iter().map(|&d| d.into()).collect()),
            value: Some(KnownValue::Const(tensor)),
        }
    }

    /// An i64 vector of which the elements are known in part.
    pub fn int_vector(elements: Vec<Dim>) -> Self {
        Self::ints(DType::I64, vec![elements.len().into()], elements)
    }

    /// An i64 scalar that is known in part.
    pub fn int_scalar(element: Dim) -> Self {
        Self::ints(DType::I64, Vec::new(), vec![element])
    }

    /// An integer tensor of rank 0 or 1 whose elements are known in part; a plain constant where
    /// all of them are known (i64 and i32), no value where none is.
    pub fn ints(dtype: DType, shape: Vec<Dim>, elements: Vec<Dim>) -> Self {
        let mut fact = Self::with_shape(Some(dtype), Some(shape));
        let sizes: Option<Vec<usize>> = fact.sizes();
        let known: Option<Vec<i64>> = elements.iter().map(Dim::as_known).collect();
        let tensor = match (dtype, sizes, known) {
            (DType::I64, Some(sizes), Some(known)) => Tensor::from_vec(&sizes, known).ok(),
            (DType::I32, Some(sizes), Some(known)) => known
                .into_iter()
                .map(|n| i32::try_from(n).ok())
                .collect::<Option<Vec<i32>>>()
                .and_then(|v| Tensor::from_vec(&sizes, v).ok()),
            _ => None,
        };
        fact.value = match tensor {
            Some(tensor) => Some(KnownValue::Const(tensor)),
            None if elements.iter().all(Dim::is_unknown) => None,
            None => Some(KnownValue::Elements(elements)),
        };
        fact
    }

    /// The number of dimensions, where it is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The shape as sizes, where every dimension is known.
    pub fn sizes(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::as_size).collect()
    }

    /// The whole value, where it is known.
    pub fn as_const(&self) -> Option<&Tensor> {
        match &self.value {
            Some(KnownValue::Const(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The elements of a small integer tensor of rank 0 or 1, each known, symbolic or unknown;
    /// unknown elements where only the length is known.
    pub fn elements(&self) -> Option<Vec<Dim>> {
        match &self.value {
            Some(KnownValue::Elements(elements)) => Some(elements.clone()),
            Some(KnownValue::Const(tensor)) if tensor.len() <= MAX_TRACKED_ELEMENTS => {
                match tensor.dtype() {
                    DType::I64 => Some(
                        tensor
                            .data::<i64>()
                            .ok()?
                            .iter()
                            .map(|&n| Dim::Known(n))
                            .collect(),
                    ),
                    DType::I32 => Some(
                        tensor
                            .data::<i32>()
                            .ok()?
                            .iter()
                            .map(|&n| Dim::Known(n.into()))
                            .collect(),
                    ),
                    _ => None,
                }
            }
            Some(KnownValue::Const(_)) => None,
            None => match self.sizes()?.as_slice() {
                [] => Some(vec![Dim::Unknown]),
                &[n] if n <= MAX_TRACKED_ELEMENTS => Some(vec![Dim::Unknown; n]),
                _ => None,
            },
        }
    }

    /// The elements of a small integer tensor, where all are known.
    pub fn const_ints(&self) -> Option<Vec<i64>> {
        self.elements()?.iter().map(Dim::as_known).collect()
    }
}

impl fmt::Display for Fact {
    /// As in `f32[batch, 3, 32, 32]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Unknown => f.write_str("?"),
            Fact::Tensor(t) => write!(f, "{t}"),
            Fact::Sequence(inner) => write!(f, "seq({inner})"),
            Fact::Optional(inner) => write!(f, "optional({inner})"),
            Fact::Map(key, inner) => write!(f, "map({key}, {inner})"),
            Fact::SparseTensor(t) => write!(f, "sparse({t})"),
        }
    }
}

impl fmt::Display for TensorFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            Some(dtype) => write!(f, "{dtype}")?,
            None => f.write_str("?")?,
        }
        let Some(shape) = &self.shape else {
            return f.write_str("[..]");
        };
        f.write_str("[")?;
        for (i, dim) in shape.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}
