//! `Transpose`: axis `i` of the output is axis `perm[i]` of the input; the axes are reversed where no
//! `perm` is given.
//! <https://onnx.ai/onnx/operators/onnx__Transpose.html>

use crate::operator::prelude::*;
use crate::ops::{partial, select};

/// The attributes of `Transpose`.
#[derive(Clone, Debug, PartialEq)]
pub struct Transpose {
    /// The input axis that each output axis is.
    pub perm: Option<Vec<i64>>,
}

const RULE: &str = "perm must name each axis of the input once";

impl Transpose {
    /// The permutation for an input of this rank; `None` where it is not one.
    pub fn permutation(&self, rank: usize) -> Option<Vec<usize>> {
        let Some(perm) = &self.perm else {
            return Some((0..rank).rev().collect());
        };
        let mut seen = vec![false; rank];
        let mut axes = Vec::with_capacity(rank);
        for &p in perm {
            let axis = crate::ops::axis::resolve(p, rank)?;
            if std::mem::replace(&mut seen[axis], true) {
                return None;
            }
            axes.push(axis);
        }
        (axes.len() == rank).then_some(axes)
    }
}

impl Operator for Transpose {
    const SIGNATURE: Signature = Signature::onnx("Transpose", &[1, 13, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            perm: attrs.ints_opt("perm")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let shape = match &x.shape {
            None => self
                .perm
                .as_ref()
                .map(|perm| vec![Dim::Unknown; perm.len()]),
            Some(dims) => {
                let axes = self.permutation(dims.len()).ok_or_else(|| {
                    InferError::rule(RULE, format_args!("{:?}, rank {}", self.perm, dims.len()))
                })?;
                Some(axes.into_iter().map(|a| dims[a].clone()).collect())
            }
        };
        let output = TensorFact::with_shape(x.dtype, shape);
        // A vector or scalar stays as it is.
        Ok(vec![partial::same_elements(output, &x).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axes = self.permutation(x.rank()).ok_or_else(|| {
            EvalError::rule(RULE, format_args!("{:?}, rank {}", self.perm, x.rank()))
        })?;
        let strides = select::c_strides(x.shape());
        let shape: Vec<usize> = axes.iter().map(|&a| x.shape()[a]).collect();
        let strides: Vec<isize> = axes.iter().map(|&a| strides[a]).collect();
        Ok(vec![select::strided(x, &shape, 0, &strides)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

fn gradient(op: &Transpose, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let given = op.perm.as_ref().map(Vec::len);
    let rank = given.or(cx.input(0).rank());
    let axes = rank.and_then(|rank| op.permutation(rank));
    let axes = axes.ok_or(Unsupported("the rank of its input is not known"))?;
    let mut inverse = vec![0; axes.len()];
    for (i, &axis) in axes.iter().enumerate() {
        inverse[axis] = i;
    }
    cx.give(0, cx.dy().transpose(&inverse));
    Ok(())
}
