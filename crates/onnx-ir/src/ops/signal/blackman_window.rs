//! `BlackmanWindow`: `w[n] = 0.42 - 0.5 * cos(2 pi n / N) + 0.08 * cos(4 pi n / N)`.
//! <https://onnx.ai/onnx/operators/onnx__BlackmanWindow.html>

use super::WindowAttributes;
use crate::operator::prelude::*;

/// The attributes of `BlackmanWindow`.
#[derive(Clone, Debug, PartialEq)]
pub struct BlackmanWindow {
    /// Element type and period.
    pub window: WindowAttributes,
}

impl Operator for BlackmanWindow {
    const SIGNATURE: Signature = Signature::onnx("BlackmanWindow", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let window = WindowAttributes::parse(attrs)?;
        Ok(Self { window })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.window.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.window.eval(cx, [0.42, 0.5, 0.08])
    }
}
