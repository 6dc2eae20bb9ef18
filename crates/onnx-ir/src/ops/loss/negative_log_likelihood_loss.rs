//! `NegativeLogLikelihoodLoss`: `-log_prob[target] * weight[target]`, reduced.
//! <https://onnx.ai/onnx/operators/onnx__NegativeLogLikelihoodLoss.html>

use super::likelihood::Likelihood;
use crate::operator::prelude::*;
use crate::ops::lanes::floats;

/// The attributes of `NegativeLogLikelihoodLoss`.
#[derive(Clone, Debug, PartialEq)]
pub struct NegativeLogLikelihoodLoss {
    /// Reduction and ignored target.
    pub likelihood: Likelihood,
}

impl Operator for NegativeLogLikelihoodLoss {
    const SIGNATURE: Signature = Signature::onnx("NegativeLogLikelihoodLoss", &[12, 13, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        if cx.wants(2) {
            return Err(Unsupported("class weights are not differentiated"));
        }
        let node = cx.private_like("NegativeLogLikelihoodLossGrad");
        let inputs = [
            Some(cx.dy()),
            Some(cx.input(1)),
            cx.optional_input(2),
            Some(cx.input(0).shape()),
        ];
        cx.give(0, cx.apply(node, &inputs));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            likelihood: Likelihood::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![self.likelihood.infer(cx)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        Ok(vec![self.likelihood.eval(cx, x, &floats(x)?)?.into()])
    }
}
