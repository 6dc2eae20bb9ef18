//! `CumProd`: the running product along an axis.
//! <https://onnx.ai/onnx/operators/onnx__CumProd.html>

use super::running::{Running, Total};
use crate::operator::prelude::*;

/// The attributes of `CumProd`.
#[derive(Clone, Debug, PartialEq)]
pub struct CumProd(pub Running);

impl Operator for CumProd {
    const SIGNATURE: Signature = Signature::onnx("CumProd", &[26]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let node = cx.private_like("CumProdGrad");
        cx.give(0, cx.dy().apply(node, &[cx.input(0), cx.input(1)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Running::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.eval(cx, Total::Product)
    }
}
