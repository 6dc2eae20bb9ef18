//! `Trilu`: the upper or lower triangle of the innermost matrices, zero elsewhere: elements with
//! `j - i >= k` or `j - i <= k`.
//! <https://onnx.ai/onnx/operators/onnx__Trilu.html>

use crate::operator::prelude::*;
use crate::ops::{elementwise::unary, select};

/// The attributes of `Trilu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Trilu {
    /// Whether the upper triangle is kept.
    pub upper: bool,
}

impl Operator for Trilu {
    const SIGNATURE: Signature = Signature::onnx("Trilu", &[14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.again(&[Some(cx.dy()), cx.optional_input(1)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            upper: attrs.flag_or("upper", true)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let &[.., rows, columns] = x.shape() else {
            return Err(EvalError::rule("the rank must be at least 2", x.rank()));
        };
        let k = cx.ints(1)?.and_then(|k| k.first().copied()).unwrap_or(0);
        let zeros = select::zeros(x.dtype(), &[columns])?;
        // Positions of a row before `i + k` (with the diagonal itself for the lower triangle).
        let split = |row: usize| {
            let at = (row as i64)
                .saturating_add(k)
                .saturating_add(i64::from(!self.upper));
            usize::try_from(at).unwrap_or(0).min(columns)
        };
        let lines = x.len().checked_div(columns).unwrap_or(0);
        let runs = (0..lines).flat_map(|line| {
            let (first, at) = (line * columns, split(line % rows));
            let (kept, cleared) = if self.upper {
                ((x, first + at, columns - at), (&zeros, 0, at))
            } else {
                ((x, first, at), (&zeros, 0, columns - at))
            };
            if self.upper {
                [cleared, kept]
            } else {
                [kept, cleared]
            }
        });
        Ok(vec![select::assemble(x.dtype(), x.shape(), runs)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
