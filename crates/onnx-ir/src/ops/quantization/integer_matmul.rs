//! Products of 8-bit matrices, exact in i32: `(A - a_zero) · (B - b_zero)` with NumPy's batching.

use super::rounding::integers;
use super::spread::operand_strides;
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::linear::matrix;

/// The exact product, before any scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The shape, as NumPy's `matmul` gives it.
    pub shape: Vec<usize>,
    /// The accumulators in C order.
    pub data: Vec<i32>,
    /// Which axis of `shape` the rows of A went to.
    pub row_axis: Option<usize>,
    /// Which axis of `shape` the columns of B went to.
    pub column_axis: Option<usize>,
}

/// The product of two tensors with their zero points, which are one for all, one per row of A or per
/// column of B, or broadcast.
///
/// # Errors
/// [`EvalError::Rule`] where shapes do not fit; [`EvalError::DType`] for other than small integers.
pub fn product(
    cx: &EvalContext<'_>,
    (a, a_zero): (&Tensor, Option<&Tensor>),
    (b, b_zero): (&Tensor, Option<&Tensor>),
) -> Result<Product, EvalError> {
    let rows = a.rank().checked_sub(2);
    let columns = b.rank().checked_sub(1).filter(|_| b.rank() >= 2);
    let centred_a = Tensor::from_vec(a.shape(), centred(a, a_zero, rows)?)?;
    let centred_b = Tensor::from_vec(b.shape(), centred(b, b_zero, columns)?)?;
    let exact = matrix::product::<i32>(cx, &centred_a, &centred_b)?;
    let shape = exact.shape().to_vec();
    let column_axis = columns.and_then(|_| shape.len().checked_sub(1));
    Ok(Product {
        row_axis: rows.and_then(|_| shape.len().checked_sub(1 + usize::from(columns.is_some()))),
        column_axis,
        shape,
        data: exact.into_vec()?,
    })
}

/// The elements of `x` less their zero points; a vector of zero points goes along axis `along`.
///
/// # Errors
/// [`EvalError::Rule`] where the zero points do not fit; [`EvalError::DType`] for other than integers.
pub fn centred(
    x: &Tensor,
    zero_point: Option<&Tensor>,
    along: Option<usize>,
) -> Result<Vec<i32>, EvalError> {
    let mut values = integers(x)?;
    if let Some(zero_point) = zero_point {
        let strides = operand_strides(x.shape(), zero_point.shape(), along)?;
        let zeros = integers(zero_point)?;
        let mut elements = values.iter_mut();
        broadcast::for_each(x.shape(), [&strides], |[z]| {
            if let Some(v) = elements.next() {
                *v = v.wrapping_sub(zeros[z]);
            }
        });
    }
    Ok(values)
}

/// The shape of the product of two facts; unknown where a rank is.
///
/// # Errors
/// [`InferError::Rule`] where the shapes cannot be multiplied.
pub fn infer_shape(a: &TensorFact, b: &TensorFact) -> Result<Option<Vec<Dim>>, InferError> {
    match (&a.shape, &b.shape) {
        (Some(a), Some(b)) => matrix::infer(a, b).map(Some),
        _ => Ok(None),
    }
}
