//! What the sequence operators share: reading sequences, positions in them, facts of their elements.

use crate::operator::prelude::*;

/// The values of a required sequence input.
///
/// # Errors
/// [`EvalError::MissingInput`], [`EvalError::WrongInput`].
pub(super) fn sequence<'a>(cx: &EvalContext<'a>, index: usize) -> Result<&'a [Value], EvalError> {
    let value = match cx.required(index)? {
        Value::Optional(Some(inner)) => inner.as_ref(),
        other => other,
    };
    match value {
        Value::Sequence(values) => Ok(values),
        other => Err(EvalError::WrongInput {
            index,
            expected: "a sequence",
            found: other.kind().to_owned(),
        }),
    }
}

/// The position that input `index` names, below `end`; negative ones count from `len`.
///
/// # Errors
/// [`EvalError::Rule`] where it lies outside.
pub(super) fn position(
    cx: &EvalContext<'_>,
    index: usize,
    len: usize,
    end: usize,
) -> Result<Option<usize>, EvalError> {
    let Some(ints) = cx.ints(index)? else {
        return Ok(None);
    };
    let wrong = || {
        let rule = "the position must lie within the sequence";
        EvalError::rule(rule, format_args!("{ints:?}, length {len}"))
    };
    let &[at] = ints.as_slice() else {
        return Err(wrong());
    };
    let back = usize::try_from(at.unsigned_abs())
        .ok()
        .and_then(|back| len.checked_sub(back));
    let position = if at < 0 {
        back
    } else {
        usize::try_from(at).ok()
    };
    position.filter(|&p| p < end).map(Some).ok_or_else(wrong)
}

/// The fact of the elements of a sequence input.
///
/// # Errors
/// [`InferError::MissingInput`], [`InferError::WrongInput`] where it is known to be no sequence.
pub(super) fn element(cx: &InferContext<'_>, index: usize) -> Result<Fact, InferError> {
    let fact = match cx.fact(index).ok_or(InferError::MissingInput { index })? {
        Fact::Optional(inner) => inner.as_ref(),
        other => other,
    };
    match fact {
        Fact::Sequence(element) => Ok(element.as_ref().clone()),
        Fact::Unknown => Ok(Fact::Unknown),
        other => Err(InferError::WrongInput {
            index,
            expected: "a sequence",
            found: other.to_string(),
        }),
    }
}

/// What holds for both of two facts: the type, the dimensions that agree; never a value.
pub(super) fn common(a: &Fact, b: &Fact) -> Fact {
    match (a, b) {
        (Fact::Tensor(a), Fact::Tensor(b)) => {
            let dtype = if a.dtype == b.dtype { a.dtype } else { None };
            let shape = match (&a.shape, &b.shape) {
                (Some(a), Some(b)) if a.len() == b.len() => {
                    let pairs = a.iter().zip(b);
                    Some(
                        pairs
                            .map(|(a, b)| {
                                if a.is_same(b) {
                                    a.clone()
                                } else {
                                    Dim::Unknown
                                }
                            })
                            .collect(),
                    )
                }
                _ => None,
            };
            TensorFact::with_shape(dtype, shape).into()
        }
        (Fact::Sequence(a), Fact::Sequence(b)) => Fact::Sequence(Box::new(common(a, b))),
        (Fact::Optional(a), Fact::Optional(b)) => Fact::Optional(Box::new(common(a, b))),
        _ => Fact::Unknown,
    }
}
