//! Matrix products: of two matrices, and of stacks of them with NumPy's rules for `matmul`.

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::broadcast;
use crate::rewrite::NewNode;

/// Adds `a * b` to `sums`, all row-major: `a` is `[m, k]`, `b` is `[k, n]`, `sums` is `[m, n]`.
/// The slices must have these sizes.
pub fn multiply_add<T: Accumulate>(a: &[T], b: &[T], n: usize, sums: &mut [T::Wide]) {
    if n == 0 {
        return;
    }
    let m = sums.len() / n;
    let k = a.len().checked_div(m).unwrap_or(0);
    for (row, sums) in sums.chunks_exact_mut(n).enumerate() {
        let a = &a[row * k..(row + 1) * k];
        for (a, b) in a.iter().zip(b.chunks_exact(n)) {
            let a = a.widen();
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b.widen();
            }
        }
    }
}

/// The shapes of a stacked product.
#[derive(Clone, Debug, PartialEq)]
pub struct Stacked<D> {
    /// Batch axes of the first operand.
    pub a_batch: Vec<D>,
    /// Batch axes of the second operand.
    pub b_batch: Vec<D>,
    /// Rows; `None` where the first operand is a vector.
    pub m: Option<D>,
    /// The two inner sizes.
    pub k: [D; 2],
    /// Columns; `None` where the second operand is a vector.
    pub n: Option<D>,
}

/// Reads the roles of the axes of both operands; `None` where one is a scalar.
pub fn stacked<D: Clone>(a: &[D], b: &[D]) -> Option<Stacked<D>> {
    let (a_batch, m, ka) = match a {
        [] => return None,
        [k] => (Vec::new(), None, k),
        [batch @ .., m, k] => (batch.to_vec(), Some(m.clone()), k),
    };
    let (b_batch, kb, n) = match b {
        [] => return None,
        [k] => (Vec::new(), k, None),
        [batch @ .., k, n] => (batch.to_vec(), k, Some(n.clone())),
    };
    Some(Stacked {
        a_batch,
        b_batch,
        m,
        k: [ka.clone(), kb.clone()],
        n,
    })
}

const SCALAR_RULE: &str = "operands must not be scalars";
const INNER_RULE: &str = "inner sizes must be equal";

/// The shape of a stacked product.
///
/// # Errors
/// [`InferError::Rule`] for scalars, unequal inner sizes and batches that do not broadcast.
pub fn infer(a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, InferError> {
    let s = stacked(a, b).ok_or_else(|| InferError::rule(SCALAR_RULE, "a scalar"))?;
    if s.k[0].contradicts(&s.k[1]) {
        return Err(InferError::rule(
            INNER_RULE,
            format_args!("{} and {}", s.k[0], s.k[1]),
        ));
    }
    let mut shape = broadcast::infer(&[&s.a_batch, &s.b_batch])?;
    shape.extend(s.m);
    shape.extend(s.n);
    Ok(shape)
}

/// The stacked product of two tensors.
///
/// # Errors
/// [`EvalError::Rule`] as for [`infer`]; [`EvalError::TooLarge`].
pub fn product<T: Accumulate>(
    cx: &EvalContext<'_>,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor, EvalError> {
    let s =
        stacked(a.shape(), b.shape()).ok_or_else(|| EvalError::rule(SCALAR_RULE, "a scalar"))?;
    let [k, kb] = s.k;
    if k != kb {
        return Err(EvalError::rule(INNER_RULE, format_args!("{k} and {kb}")));
    }
    let batch = broadcast::shape(&[&s.a_batch, &s.b_batch])?;
    let (m, n) = (s.m.unwrap_or(1), s.n.unwrap_or(1));
    let mut shape = batch.clone();
    shape.extend(s.m);
    shape.extend(s.n);
    let count = cx.check_size(&shape, T::DTYPE)?;
    let mut y = Vec::with_capacity(count);
    if count == 0 {
        return Ok(Tensor::from_vec(&shape, y)?);
    }
    let (a, b) = (a.data::<T>()?, b.data::<T>()?);
    let a_strides = broadcast::strides(&s.a_batch, &batch);
    let b_strides = broadcast::strides(&s.b_batch, &batch);
    let mut sums = vec![T::Wide::default(); m * n];
    broadcast::for_each(&batch, [&a_strides, &b_strides], |[i, j]| {
        sums.fill(T::Wide::default());
        let a = &a[i * m * k..(i + 1) * m * k];
        multiply_add(a, &b[j * k * n..(j + 1) * k * n], n, &mut sums);
        y.extend(sums.iter().map(|&s| T::narrow(s)));
    });
    Ok(Tensor::from_vec(&shape, y)?)
}

/// Gives inputs 0 and 1 the adjoints of the operands `a` and `b` of a stacked product whose adjoint is `dy`, each by way of
/// what led from the input to the operand, backwards: `da = dy * b^T`, `db = a^T * dy`.
///
/// # Errors
/// [`Unsupported`] where a rank is not known.
pub fn give_product<'g>(
    cx: &GradientContext<'g>,
    a: Var<'g>,
    b: Var<'g>,
    dy: Var<'g>,
    back_a: impl Fn(Var<'g>) -> Var<'g>,
    back_b: impl Fn(Var<'g>) -> Var<'g>,
) -> Result<(), Unsupported> {
    let (Some(rank_a), Some(rank_b)) = (a.rank(), b.rank()) else {
        return Err(Unsupported("the ranks of its operands are not known"));
    };
    // A vector is a row or a column whose axis the product does not have.
    let row = if rank_a == 1 { a.unsqueeze(&[0]) } else { a };
    let column = if rank_b == 1 { b.unsqueeze(&[1]) } else { b };
    let dy = if rank_b == 1 { dy.unsqueeze(&[-1]) } else { dy };
    let dy = if rank_a == 1 { dy.unsqueeze(&[-2]) } else { dy };
    if cx.wants(0) {
        let da = match column.rank() == Some(2) && row.rank() == Some(2) {
            true => dy.apply(NewNode::new("Gemm").with("transB", 1i64), &[column]),
            false => dy.matmul(column.swap_last()).reduce_to(row),
        };
        let da = if rank_a == 1 { da.squeeze(&[0]) } else { da };
        cx.give(0, back_a(da));
    }
    if cx.wants(1) {
        let db = stacked_weight(row, column, dy)
            .unwrap_or_else(|| row.swap_last().matmul(dy).reduce_to(column));
        let db = if rank_b == 1 { db.squeeze(&[1]) } else { db };
        cx.give(1, back_b(db));
    }
    Ok(())
}

/// `a^T * dy` for one matrix `b` that a whole stack is multiplied with: the rows of all as those of one matrix.
fn stacked_weight<'g>(a: Var<'g>, b: Var<'g>, dy: Var<'g>) -> Option<Var<'g>> {
    let dims = b.dims()?;
    let [k, n] = dims.as_slice() else { return None };
    let node = NewNode::new("Gemm").with("transA", 1i64);
    if a.rank() == Some(2) {
        return Some(a.apply(node, &[dy]));
    }
    let (k, n) = (
        k.as_known().filter(|&k| k > 0)?,
        n.as_known().filter(|&n| n > 0)?,
    );
    let (rows, columns) = (a.reshape_to(&[-1, k]), dy.reshape_to(&[-1, n]));
    Some(rows.apply(node, &[columns]))
}
