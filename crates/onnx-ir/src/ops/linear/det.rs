//! `Det`: the determinant of the innermost square matrices, by elimination with partial pivoting.
//! <https://onnx.ai/onnx/operators/onnx__Det.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// `Det` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Det;

const RULE: &str = "the innermost two axes must be a square matrix";

impl Operator for Det {
    const SIGNATURE: Signature = Signature::onnx("Det", &[11, 22]);
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("its gradient needs an inverse, for which there is no operator");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let shape = match x.shape.as_deref() {
            None => None,
            Some([leading @ .., rows, columns]) if !rows.contradicts(columns) => {
                Some(leading.to_vec())
            }
            Some(_) => return Err(InferError::rule(RULE, &x)),
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let wrong = || EvalError::rule(RULE, format_args!("{:?}", x.shape()));
        let &[ref leading @ .., n, m] = x.shape() else {
            return Err(wrong());
        };
        if n != m {
            return Err(wrong());
        }
        let count = cx.check_size(leading, x.dtype())?;
        let y = dispatch!(x.dtype(), T in floats => {
            let data: Vec<f64> = x.data::<T>()?.iter().map(|v| v.to_f64()).collect();
            let matrix = |i: usize| data[i * n * n..(i + 1) * n * n].to_vec();
            let dets = (0..count).map(|i| T::from_f64(determinant(matrix(i), n))).collect();
            Ok::<Tensor, EvalError>(Tensor::from_vec(leading, dets)?)
        });
        Ok(vec![y?.into()])
    }
}

/// The determinant of an `n x n` matrix; 1 for an empty one.
fn determinant(mut a: Vec<f64>, n: usize) -> f64 {
    let mut det = 1.0;
    for k in 0..n {
        let larger = |&i: &usize, &j: &usize| a[i * n + k].abs().total_cmp(&a[j * n + k].abs());
        let pivot = (k..n).max_by(larger).unwrap_or(k);
        if a[pivot * n + k] == 0.0 {
            return 0.0;
        }
        if pivot != k {
            (0..n).for_each(|j| a.swap(pivot * n + j, k * n + j));
            det = -det;
        }
        det *= a[k * n + k];
        for i in k + 1..n {
            let factor = a[i * n + k] / a[k * n + k];
            for j in k..n {
                a[i * n + j] -= factor * a[k * n + j];
            }
        }
    }
    det
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn determinants_of_small_matrices() {
        assert_eq!(determinant(vec![0.0, 1.0, 1.0, 0.0], 2), -1.0);
        assert_eq!(determinant(vec![2.0, 1.0, 4.0, 2.0], 2), 0.0);
        assert_eq!(determinant(Vec::new(), 0), 1.0);
        let a = vec![2.0, 0.0, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 1.0];
        assert!((determinant(a, 3) - 0.0).abs() < 1e-12);
    }
}
