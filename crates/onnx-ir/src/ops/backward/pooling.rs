//! The adjoints of pooling.
//!
//! * `AveragePoolGrad`: each window's adjoint, divided by the number of elements it counted, goes to all of them; inputs
//!   `dy`, `shape` (i64, of `x`);
//! * `MaxPoolGrad`: it goes to the first greatest element; inputs `dy`, `x`;
//! * `GlobalMaxPoolGrad`: as `MaxPoolGrad` of a window that is all of a plane; inputs `dy`, `x`; no attributes;
//! * `LpPoolGrad`: `dx += dy * sign(x) * (|x| / y)^(p - 1)`, 0 where `y` is 0; inputs `dy`, `x`, `y`.
//!
//! Output: `dx`. Attributes as of the forward operators.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};
use crate::ops::pooling::sliding::{Taps, axes_of, for_each_window};
use crate::ops::pooling::{AveragePool, LpPool, MaxPool};
use crate::ops::window::Window;

/// The attributes of `AveragePoolGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePoolGrad(pub AveragePool);

/// The attributes of `MaxPoolGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPoolGrad(pub MaxPool);

/// `GlobalMaxPoolGrad` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalMaxPoolGrad;

/// The attributes of `LpPoolGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct LpPoolGrad(pub LpPool);

/// Calls `spread` with each window's adjoint, number, plane and taps, and the sums of the input's adjoint.
fn spread(
    dy: &Tensor,
    window: &Window,
    shape: &[usize],
    mut spread: impl FnMut(f64, usize, usize, &Taps<'_>, &mut [f64]),
) -> Result<Vec<Value>, EvalError> {
    let (pooled, axes) = axes_of(window, shape)?;
    shaped::expect(dy, &pooled)?;
    let mut dx = vec![0.0; element_count(shape).unwrap_or(0)];
    let adjoints = floats(dy)?;
    if !adjoints.is_empty() {
        let mut number = 0;
        for_each_window(pooled[0] * pooled[1], &axes, |plane, taps| {
            spread(adjoints[number], number, plane, taps, &mut dx);
            number += 1;
        });
    }
    Ok(vec![rounded(dy.dtype(), shape, dx)?.into()])
}

impl Operator for AveragePoolGrad {
    const SIGNATURE: Signature = Signature::private("AveragePoolGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        AveragePool::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::infer(cx, 0, 1)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dy = cx.tensor(0)?;
        let shape = shaped::sizes(cx, 1, dy.dtype())?;
        spread(dy, &self.0.window, &shape, |dy, _, plane, taps, dx| {
            let mut count = 0usize;
            taps.for_each(|_| count += 1);
            if self.0.count_include_pad {
                count = taps.padded;
            }
            taps.for_each(|i| dx[plane + i] += dy / count as f64);
        })
    }
}

impl Operator for MaxPoolGrad {
    const SIGNATURE: Signature = Signature::private("MaxPoolGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        MaxPool::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::adjoint_of(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        let values = x.to_f64_vec()?;
        spread(dy, &self.0.window, x.shape(), |dy, _, plane, taps, dx| {
            let mut best: Option<(f64, usize)> = None;
            taps.for_each(|i| {
                let v = values[plane + i];
                if best.is_none_or(|(b, _)| v > b || b.is_nan()) {
                    best = Some((v, i));
                }
            });
            if let Some((_, i)) = best {
                dx[plane + i] += dy;
            }
        })
    }
}

impl Operator for GlobalMaxPoolGrad {
    const SIGNATURE: Signature = Signature::private("GlobalMaxPoolGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::adjoint_of(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        let mut pooled = x.shape().to_vec();
        pooled.iter_mut().skip(2).for_each(|size| *size = 1);
        shaped::expect(dy, &pooled)?;
        let (adjoints, values) = (floats(dy)?, floats(x)?);
        let mut dx = vec![0.0; values.len()];
        let plane = values.len().checked_div(adjoints.len()).unwrap_or(0);
        if plane > 0 {
            let planes = values.chunks(plane).zip(dx.chunks_mut(plane));
            for ((values, dx), dy) in planes.zip(adjoints) {
                let first = values.iter().enumerate().reduce(|best, next| {
                    if next.1 > best.1 || best.1.is_nan() {
                        next
                    } else {
                        best
                    }
                });
                if let Some((at, _)) = first {
                    dx[at] = dy;
                }
            }
        }
        Ok(vec![rounded(dy.dtype(), x.shape(), dx)?.into()])
    }
}

impl Operator for LpPoolGrad {
    const SIGNATURE: Signature = Signature::private("LpPoolGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self(LpPool {
            window: Window::parse_pooling(attrs)?,
            p: attrs.f32_or("p", 2.0)?.into(),
        }))
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::like(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x, y) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        shaped::same(dy, y)?;
        let (values, norms) = (floats(x)?, floats(y)?);
        spread(
            dy,
            &self.0.window,
            x.shape(),
            |dy, number, plane, taps, dx| {
                let norm = norms[number];
                if norm == 0.0 {
                    return;
                }
                taps.for_each(|i| {
                    let v = values[plane + i];
                    let slope = (v.abs() / norm).powf(self.0.p - 1.0);
                    dx[plane + i] += dy * slope * sign(v);
                });
            },
        )
    }
}

fn sign(v: f64) -> f64 {
    if v == 0.0 { 0.0 } else { v.signum() }
}
