//! Joining an inferred fact with a declared one.

use crate::fact::{Fact, TensorFact};

/// Two facts that cannot both hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// As declared in the file.
    pub declared: String,
    /// As inferred.
    pub inferred: String,
}

/// The inferred fact, completed by what only the declared one knows.
///
/// # Errors
/// [`Conflict`] where kinds, element types, ranks or known dimensions differ.
pub fn refine(inferred: &Fact, declared: &Fact) -> Result<Fact, Conflict> {
    let conflict = || Conflict {
        declared: declared.to_string(),
        inferred: inferred.to_string(),
    };
    match (inferred, declared) {
        (Fact::Unknown, other) => Ok(other.clone()),
        (fact, Fact::Unknown) => Ok(fact.clone()),
        (Fact::Tensor(a), Fact::Tensor(b)) => {
            refine_tensor(a, b).map(Fact::Tensor).ok_or_else(conflict)
        }
        (Fact::Sequence(a), Fact::Sequence(b)) => Ok(Fact::Sequence(Box::new(refine(a, b)?))),
        (Fact::Optional(a), Fact::Optional(b)) => Ok(Fact::Optional(Box::new(refine(a, b)?))),
        (Fact::Map(..), Fact::Map(..)) | (Fact::SparseTensor(_), Fact::SparseTensor(_)) => {
            Ok(inferred.clone())
        }
        _ => Err(conflict()),
    }
}

fn refine_tensor(inferred: &TensorFact, declared: &TensorFact) -> Option<TensorFact> {
    let dtype = match (inferred.dtype, declared.dtype) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let shape = match (&inferred.shape, &declared.shape) {
        (Some(a), Some(b)) => {
            if a.len() != b.len() || a.iter().zip(b).any(|(a, b)| a.contradicts(b)) {
                return None;
            }
            Some(a.iter().zip(b).map(|(a, b)| a.refine(b)).collect())
        }
        (a, b) => a.clone().or_else(|| b.clone()),
    };
    Some(TensorFact {
        dtype,
        shape,
        value: inferred.value.clone().or_else(|| declared.value.clone()),
    })
}
