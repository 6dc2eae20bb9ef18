//! `com.microsoft.Gelu`: `y = x * Phi(x)` with the normal distribution by the error function.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.Gelu>

use crate::operator::prelude::*;
use crate::ops::activation::GeluForm;
use crate::ops::elementwise::unary;
use crate::rewrite::NewNode;

/// `com.microsoft.Gelu` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftGelu;

impl Operator for MicrosoftGelu {
    const SIGNATURE: Signature = Signature::microsoft("Gelu");
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(
            0,
            cx.dy().apply(NewNode::private("GeluGrad"), &[cx.input(0)]),
        );
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, |x| GeluForm::Exact.apply(x))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
