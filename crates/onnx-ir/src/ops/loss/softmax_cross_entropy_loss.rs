//! `SoftmaxCrossEntropyLoss`: `-log_softmax(scores)[label] * weight[label]`, reduced; output 1 is the
//! logarithm of the softmax over axis 1.
//! <https://onnx.ai/onnx/operators/onnx__SoftmaxCrossEntropyLoss.html>

use super::likelihood::Likelihood;
use crate::operator::prelude::*;
use crate::ops::activation::log_softmax::log_softmax;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::rewrite::NewNode;

/// The attributes of `SoftmaxCrossEntropyLoss`.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropyLoss {
    /// Reduction and ignored label.
    pub likelihood: Likelihood,
}

impl Operator for SoftmaxCrossEntropyLoss {
    const SIGNATURE: Signature = Signature::onnx("SoftmaxCrossEntropyLoss", &[12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            likelihood: Likelihood::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let scores = cx.tensor(0)?;
        Ok(vec![
            self.likelihood.infer(cx)?.into(),
            TensorFact::with_shape(scores.dtype, scores.shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let scores = cx.tensor(0)?;
        if scores.rank() < 2 {
            let found = format!("{:?}", scores.shape());
            return Err(EvalError::rule("scores need a class axis", found));
        }
        let wide = Tensor::from_vec(scores.shape(), floats(scores)?)?;
        let log_prob = floats(&Lanes::new(scores.shape(), 1, 2).map(&wide, log_softmax)?)?;
        let loss = self.likelihood.eval(cx, scores, &log_prob)?;
        let log_prob = rounded(scores.dtype(), scores.shape(), log_prob)?;
        Ok(vec![loss.into(), log_prob.into()])
    }
}

fn gradient(_: &SoftmaxCrossEntropyLoss, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    if cx.wants(2) {
        return Err(Unsupported("class weights are not differentiated"));
    }
    let log_prob = cx.output(1);
    if let Some(dy) = cx.adjoint(0) {
        let node = cx.private_like("SoftmaxCrossEntropyLossGrad");
        let inputs = [
            Some(dy),
            Some(cx.input(1)),
            cx.optional_input(2),
            Some(log_prob),
        ];
        cx.give(0, cx.apply(node, &inputs));
    }
    if let Some(dy) = cx.adjoint(1) {
        let node = NewNode::private("LogSoftmaxGrad").with("axis", 1i64);
        cx.give(0, dy.apply(node, &[log_prob]));
    }
    Ok(())
}
