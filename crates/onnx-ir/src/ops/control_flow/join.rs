//! What is known of a value that comes from one of two places.

use crate::fact::{Fact, TensorFact};
use crate::symbolic::Dim;

/// What holds of both facts.
pub(super) fn join(a: &Fact, b: &Fact) -> Fact {
    match (a, b) {
        (Fact::Tensor(a), Fact::Tensor(b)) => join_tensors(a, b).into(),
        (Fact::Sequence(a), Fact::Sequence(b)) => Fact::Sequence(Box::new(join(a, b))),
        (Fact::Optional(a), Fact::Optional(b)) => Fact::Optional(Box::new(join(a, b))),
        (Fact::Map(key, a), Fact::Map(other, b)) if key == other => {
            Fact::Map(*key, Box::new(join(a, b)))
        }
        (Fact::SparseTensor(a), Fact::SparseTensor(b)) => Fact::SparseTensor(join_tensors(a, b)),
        _ => Fact::Unknown,
    }
}

fn join_tensors(a: &TensorFact, b: &TensorFact) -> TensorFact {
    let shape = match (&a.shape, &b.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => Some(a.iter().zip(b).map(join_dims).collect()),
        _ => None,
    };
    TensorFact::with_shape(a.dtype.filter(|_| a.dtype == b.dtype), shape)
}

fn join_dims((a, b): (&Dim, &Dim)) -> Dim {
    if a.is_same(b) {
        a.clone()
    } else {
        Dim::Unknown
    }
}

/// The fact without its value: what stays known when the value changes.
pub(super) fn without_value(fact: &Fact) -> Fact {
    match fact {
        Fact::Tensor(t) => TensorFact::with_shape(t.dtype, t.shape.clone()).into(),
        other => other.clone(),
    }
}

/// Whether both facts say the same, values aside. Unknown dimensions count as the same.
pub(super) fn says_the_same(a: &Fact, b: &Fact) -> bool {
    match (a, b) {
        (Fact::Unknown, Fact::Unknown) => true,
        (Fact::Tensor(a), Fact::Tensor(b)) | (Fact::SparseTensor(a), Fact::SparseTensor(b)) => {
            let same_shape = match (&a.shape, &b.shape) {
                (None, None) => true,
                (Some(a), Some(b)) => {
                    let same =
                        |(a, b): (&Dim, &Dim)| a.is_same(b) || (a.is_unknown() && b.is_unknown());
                    a.len() == b.len() && a.iter().zip(b).all(same)
                }
                _ => false,
            };
            a.dtype == b.dtype && same_shape
        }
        (Fact::Sequence(a), Fact::Sequence(b)) | (Fact::Optional(a), Fact::Optional(b)) => {
            says_the_same(a, b)
        }
        (Fact::Map(k, a), Fact::Map(l, b)) => k == l && says_the_same(a, b),
        _ => false,
    }
}
