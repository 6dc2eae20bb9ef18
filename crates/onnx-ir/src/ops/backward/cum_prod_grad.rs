//! `CumProdGrad`: the adjoint of a running product, `dx_k = sum over j of dy_j * (product of the x_i that y_j holds, without x_k)`.
//!
//! Along the axis this is what comes before times what comes behind, `dx_k = p_k * s_k` with `p_k = x_0 ... x_(k-1)` and
//! `s_k = dy_k + x_(k+1) * s_(k+1)`, without a division: it is right where elements are 0.
//!
//! Inputs: `dy`, `x`, `axis`. Output: `dx`. Attributes: `exclusive`, `reverse`, as of `CumProd`.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::cumulative::{CumProd, Running};
use crate::ops::lanes::{Lanes, floats, rounded};

/// The attributes of `CumProdGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct CumProdGrad(pub CumProd);

impl Operator for CumProdGrad {
    const SIGNATURE: Signature = Signature::private("CumProdGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        CumProd::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![shaped::like(cx, 1)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        shaped::same(dy, x)?;
        let axis = Running::axis(cx, 2, x.rank())?;
        let (adjoints, values) = (floats(dy)?, floats(x)?);
        let mut dx = vec![0.0; values.len()];
        for positions in Lanes::new(x.shape(), axis, axis + 1).iter() {
            let mut lane: Vec<usize> = positions.collect();
            if self.0.0.reverse {
                lane.reverse();
            }
            let mut before = 1.0;
            for &p in &lane {
                dx[p] = before;
                before *= values[p];
            }
            let mut behind = 0.0;
            for &p in lane.iter().rev() {
                if self.0.0.exclusive {
                    dx[p] *= behind;
                    behind = adjoints[p] + values[p] * behind;
                } else {
                    let own = adjoints[p] + behind;
                    dx[p] *= own;
                    behind = values[p] * own;
                }
            }
        }
        Ok(vec![rounded(x.dtype(), x.shape(), dx)?.into()])
    }
}
