//! Elementwise arithmetic on partially known values: shape vectors whose elements are symbolic.
//!
//! A shape computed by a graph (`Shape -> Gather -> Mul -> Concat -> Reshape`) flows as a tensor of rank
//! 0 or 1 whose elements are [`Dim`]s. These functions carry the elements through an operator; a value
//! that is known in whole is computed by the reference evaluation instead.

use crate::fact::{MAX_TRACKED_ELEMENTS, TensorFact};
use crate::symbolic::Dim;
use compress_tensor::DType;

/// `output` with the elements `f(inputs)`, broadcast; without a value where the output is not a small
/// tensor of rank 0 or 1, or where nothing is known of the inputs.
///
/// `output` is the inferred fact: element type and shape. Booleans count as 0 and 1.
pub fn elementwise<const N: usize>(
    output: TensorFact,
    inputs: [&TensorFact; N],
    f: impl Fn([&Dim; N]) -> Dim,
) -> TensorFact {
    let Some(parts) = all_elements(inputs) else {
        return output;
    };
    let elements = (0..len_of(&output).unwrap_or(0)).map(|i| {
        let at = parts
            .each_ref()
            .map(|p| if p.len() == 1 { p.first() } else { p.get(i) }.unwrap_or(&Dim::Unknown));
        f(at)
    });
    let elements = elements.collect();
    with_elements(output, Some(elements))
}

/// `output` with the elements of `input`, for operators that change the shape and not the order.
pub fn same_elements(output: TensorFact, input: &TensorFact) -> TensorFact {
    let elements = input.elements();
    with_elements(output, elements)
}

/// `output` with these elements, where it is a tensor of rank 0 or 1 with as many elements.
pub fn with_elements(output: TensorFact, elements: Option<Vec<Dim>>) -> TensorFact {
    let len = len_of(&output);
    match (output.dtype, output.shape.clone(), elements) {
        (Some(dtype), Some(shape), Some(elements)) if len == Some(elements.len()) => {
            TensorFact::ints(dtype, shape, elements)
        }
        _ => output,
    }
}

/// The elements of a small integer or boolean tensor of rank 0 or 1, as far as they are known.
pub fn elements(fact: &TensorFact) -> Option<Vec<Dim>> {
    match fact.as_const() {
        Some(tensor) if tensor.dtype() == DType::Bool && tensor.len() <= MAX_TRACKED_ELEMENTS => {
            let flags = tensor.data::<bool>().ok()?;
            Some(flags.iter().map(|&b| Dim::Known(b.into())).collect())
        }
        _ => fact.elements(),
    }
}

/// Whether two elements are equal, as a boolean element; unknown where it depends on a binding.
pub fn equal(a: &Dim, b: &Dim) -> Dim {
    if a.is_same(b) {
        return Dim::Known(1);
    }
    // A symbolic size is never negative, so it differs from a marker such as -1.
    let negative = |d: &Dim| d.as_known().is_some_and(|n| n < 0);
    if a.contradicts(b)
        || (negative(a) && b.is_non_negative())
        || (negative(b) && a.is_non_negative())
    {
        return Dim::Known(0);
    }
    Dim::Unknown
}

fn all_elements<const N: usize>(inputs: [&TensorFact; N]) -> Option<[Vec<Dim>; N]> {
    let parts: Option<Vec<Vec<Dim>>> = inputs
        .iter()
        .map(|fact| elements(fact).filter(|_| fact.rank().is_some_and(|r| r <= 1)))
        .collect();
    parts?.try_into().ok()
}

/// The element count of a small tensor of rank 0 or 1.
fn len_of(fact: &TensorFact) -> Option<usize> {
    match fact.sizes()?.as_slice() {
        [] => Some(1),
        &[n] if n <= MAX_TRACKED_ELEMENTS => Some(n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_broadcasts_over_a_shape_vector() {
        let shape = TensorFact::int_vector(vec![Dim::symbol("batch"), 6i64.into()]);
        let two = TensorFact::int_scalar(2i64.into());
        let output = TensorFact::new(DType::I64, [2i64]);
        let product = elementwise(output, [&shape, &two], |[a, b]| a.clone() * b.clone());
        let text: Vec<String> = product
            .elements()
            .unwrap()
            .iter()
            .map(Dim::to_string)
            .collect();
        assert_eq!(text, ["2*batch", "12"]);
    }

    #[test]
    fn a_symbol_is_never_minus_one_but_may_be_one() {
        let n = Dim::symbol("n");
        assert_eq!(equal(&n, &Dim::Known(-1)).as_known(), Some(0));
        assert_eq!(equal(&n, &n).as_known(), Some(1));
        assert!(equal(&n, &Dim::Known(1)).is_unknown());
    }

    #[test]
    fn a_matrix_carries_no_elements() {
        let shape = TensorFact::int_vector(vec![Dim::symbol("n")]);
        let output = TensorFact::new(DType::I64, [1i64, 1]);
        assert!(same_elements(output, &shape).value.is_none());
    }
}
