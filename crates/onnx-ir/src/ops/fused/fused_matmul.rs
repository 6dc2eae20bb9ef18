//! `FusedMatMul`: `y = alpha * a' · b'` with NumPy's batching, operands transposed on demand.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul>
//!
//! `transBatchA` moves the first axis of A to the place before its last, `transA` then exchanges the last two.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::linear::matrix;
use crate::ops::permute::permute;

/// The attributes of `FusedMatMul`.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedMatMul {
    /// Factor of the product.
    pub alpha: f32,
    /// How A is transposed.
    pub a: Orientation,
    /// How B is transposed.
    pub b: Orientation,
}

/// How an operand is transposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Whether the first axis is that of the rows, before the matrices are transposed.
    pub batch: bool,
    /// Whether the matrices are transposed.
    pub matrix: bool,
}

impl Orientation {
    /// The axes of the operand in the order of the product.
    fn order(self, rank: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            if self.batch {
                order[..rank - 1].rotate_left(1);
            }
            if self.matrix {
                order.swap(rank - 2, rank - 1);
            }
        }
        order
    }

    fn dims(self, dims: &[Dim]) -> Vec<Dim> {
        let order = self.order(dims.len());
        order.into_iter().map(|i| dims[i].clone()).collect()
    }
}

impl Operator for FusedMatMul {
    const SIGNATURE: Signature = Signature::microsoft("FusedMatMul");
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
            a: Orientation {
                batch: attrs.flag_or("transBatchA", false)?,
                matrix: attrs.flag_or("transA", false)?,
            },
            b: Orientation {
                batch: attrs.flag_or("transBatchB", false)?,
                matrix: attrs.flag_or("transB", false)?,
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => Some(matrix::infer(&self.a.dims(a), &self.b.dims(b))?),
            _ => None,
        };
        Ok(vec![
            TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let a = permute(a, &self.a.order(a.rank()))?;
        let b = permute(b, &self.b.order(b.rank()))?;
        let y = dispatch!(a.dtype(), T in floats => matrix::product::<T>(cx, &a, &b))?;
        if self.alpha == 1.0 {
            return Ok(vec![y.into()]);
        }
        let alpha = f64::from(self.alpha);
        Ok(vec![unary::map_float(&y, |v| alpha * v)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("quantize products before they are fused")
    }
}

fn gradient(op: &FusedMatMul, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let (a, b) = (cx.input(0), cx.input(1));
    let (Some(rank_a), Some(rank_b)) = (a.rank(), b.rank()) else {
        return Err(Unsupported("the ranks of its operands are not known"));
    };
    let (order_a, order_b) = (op.a.order(rank_a), op.b.order(rank_b));
    let dy = match op.alpha {
        1.0 => cx.dy(),
        alpha => cx.dy() * f64::from(alpha),
    };
    let (a, b) = (a.transpose(&order_a), b.transpose(&order_b));
    let (back_a, back_b) = (inverse(&order_a), inverse(&order_b));
    matrix::give_product(
        cx,
        a,
        b,
        dy,
        |da| da.transpose(&back_a),
        |db| db.transpose(&back_b),
    )
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (i, &axis) in order.iter().enumerate() {
        inverse[axis] = i;
    }
    inverse
}
