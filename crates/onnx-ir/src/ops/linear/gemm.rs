//! `Gemm`: `y = alpha * a' * b' + beta * c`, with `a'` and `b'` transposed on demand and `c` broadcast.
//! <https://onnx.ai/onnx/operators/onnx__Gemm.html>. Opset 7 drops `broadcast` (always on here), 9 adds
//! integers, 11 makes `c` optional, 13 adds bfloat16.

use super::matrix;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::broadcast;
use crate::ops::dispatch::dispatch;
use crate::rewrite::NewNode;
use std::borrow::Cow;

/// The attributes of `Gemm`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// Multiplies the product.
    pub alpha: f32,
    /// Multiplies `c`.
    pub beta: f32,
    /// Whether `a` is transposed.
    pub trans_a: bool,
    /// Whether `b` is transposed.
    pub trans_b: bool,
}

const RANK_RULE: &str = "a and b must be matrices";
const INNER_RULE: &str = "inner sizes must be equal";
const C_RULE: &str = "c must broadcast to the product";

impl Operator for Gemm {
    const SIGNATURE: Signature = Signature::onnx("Gemm", &[1, 6, 7, 9, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() < 7 {
            attrs.ignore("broadcast");
        }
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
            beta: attrs.f32_or("beta", 1.0)?,
            trans_a: attrs.flag_or("transA", false)?,
            trans_b: attrs.flag_or("transB", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let [m, ka] = matrix_dims(&a, self.trans_a)?;
        let [kb, n] = matrix_dims(&b, self.trans_b)?;
        if ka.contradicts(&kb) {
            return Err(InferError::rule(INNER_RULE, format_args!("{ka} and {kb}")));
        }
        let shape = Some(vec![m, n]);
        Ok(vec![
            TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in numbers => self.run::<T>(cx))?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::Weighted {
            weight: 1,
            channel_axis: if self.trans_b { 0 } else { 1 },
            bias: Some(2),
        }
    }
}

impl Gemm {
    fn run<T: Accumulate>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (a, b, c) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        let ((a, [m, ka]), (b, [kb, n])) = (
            oriented::<T>(a, self.trans_a)?,
            oriented::<T>(b, self.trans_b)?,
        );
        if ka != kb {
            return Err(EvalError::rule(INNER_RULE, format_args!("{ka} and {kb}")));
        }
        let count = cx.check_size(&[m, n], T::DTYPE)?;
        let mut sums = vec![T::Wide::default(); count];
        matrix::multiply_add(&a, &b, n, &mut sums);
        if self.alpha != 1.0 {
            for sum in &mut sums {
                *sum = scale::<T>(*sum, self.alpha);
            }
        }
        if let Some(c) = c {
            let shape = [m, n];
            if broadcast::shape(&[c.shape(), &shape])? != shape {
                return Err(EvalError::rule(C_RULE, format_args!("{:?}", c.shape())));
            }
            let (strides, c) = (broadcast::strides(c.shape(), &shape), c.data::<T>()?);
            let mut sums = sums.iter_mut();
            broadcast::for_each(&shape, [&strides], |[i]| {
                if let Some(sum) = sums.next() {
                    *sum += scale::<T>(c[i].widen(), self.beta);
                }
            });
        }
        let y = sums.into_iter().map(T::narrow).collect();
        Ok(Tensor::from_vec(&[m, n], y)?)
    }
}

fn scale<T: Accumulate>(value: T::Wide, factor: f32) -> T::Wide {
    if factor == 1.0 {
        return value;
    }
    T::from_real(T::to_real(value) * f64::from(factor))
}

/// Rows and columns once transposed.
fn matrix_dims(fact: &TensorFact, transposed: bool) -> Result<[Dim; 2], InferError> {
    match fact.shape.as_deref() {
        None => Ok([Dim::Unknown, Dim::Unknown]),
        Some([r, c]) if transposed => Ok([c.clone(), r.clone()]),
        Some([r, c]) => Ok([r.clone(), c.clone()]),
        Some(other) => Err(InferError::rule(
            RANK_RULE,
            format_args!("rank {}", other.len()),
        )),
    }
}

/// The elements row by row once transposed, and rows and columns.
fn oriented<T: Element>(
    tensor: &Tensor,
    transposed: bool,
) -> Result<(Cow<'_, [T]>, [usize; 2]), EvalError> {
    let &[rows, columns] = tensor.shape() else {
        return Err(EvalError::rule(
            RANK_RULE,
            format_args!("{:?}", tensor.shape()),
        ));
    };
    let data = tensor.data::<T>()?;
    if !transposed {
        return Ok((data, [rows, columns]));
    }
    if data.is_empty() {
        return Ok((data, [columns, rows]));
    }
    let column = |c: usize| data[c..].iter().step_by(columns).copied();
    let swapped: Vec<T> = (0..columns).flat_map(column).collect();
    Ok((Cow::Owned(swapped), [columns, rows]))
}

/// With `p = alpha * dy`: `da' = p * b'^T`, `db' = a'^T * p`, transposed back where the operand was; `dc = beta * dy`.
fn gradient(op: &Gemm, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let (a, b, dy) = (cx.input(0), cx.input(1), cx.dy());
    if cx.wants(0) {
        cx.give(
            0,
            match op.trans_a {
                false => op.scaled_product(dy, b, false, !op.trans_b),
                true => op.scaled_product(b, dy, op.trans_b, true),
            },
        );
    }
    if cx.wants(1) {
        cx.give(
            1,
            match op.trans_b {
                false => op.scaled_product(a, dy, !op.trans_a, false),
                true => op.scaled_product(dy, a, true, op.trans_a),
            },
        );
    }
    if cx.wants(2) {
        let scaled = if op.beta == 1.0 {
            dy
        } else {
            dy * f64::from(op.beta)
        };
        cx.give_broadcast(2, scaled);
    }
    Ok(())
}

impl Gemm {
    fn scaled_product<'g>(&self, a: Var<'g>, b: Var<'g>, trans_a: bool, trans_b: bool) -> Var<'g> {
        let node = NewNode::new("Gemm")
            .with("alpha", self.alpha)
            .with("transA", i64::from(trans_a))
            .with("transB", i64::from(trans_b));
        a.apply(node, &[b])
    }
}
