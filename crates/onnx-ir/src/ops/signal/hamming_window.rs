//! `HammingWindow`: `w[n] = 25/46 - 21/46 * cos(2 pi n / N)`.
//! <https://onnx.ai/onnx/operators/onnx__HammingWindow.html>

use super::WindowAttributes;
use crate::operator::prelude::*;

/// The attributes of `HammingWindow`.
#[derive(Clone, Debug, PartialEq)]
pub struct HammingWindow {
    /// Element type and period.
    pub window: WindowAttributes,
}

impl Operator for HammingWindow {
    const SIGNATURE: Signature = Signature::onnx("HammingWindow", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let window = WindowAttributes::parse(attrs)?;
        Ok(Self { window })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.window.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.window.eval(cx, [25.0 / 46.0, 21.0 / 46.0, 0.0])
    }
}
