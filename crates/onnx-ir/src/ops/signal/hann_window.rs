//! `HannWindow`: `w[n] = 0.5 - 0.5 * cos(2 pi n / N) = sin^2(pi n / N)`.
//! <https://onnx.ai/onnx/operators/onnx__HannWindow.html>

use super::WindowAttributes;
use crate::operator::prelude::*;

/// The attributes of `HannWindow`.
#[derive(Clone, Debug, PartialEq)]
pub struct HannWindow {
    /// Element type and period.
    pub window: WindowAttributes,
}

impl Operator for HannWindow {
    const SIGNATURE: Signature = Signature::onnx("HannWindow", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let window = WindowAttributes::parse(attrs)?;
        Ok(Self { window })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.window.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.window.eval(cx, [0.5, 0.5, 0.0])
    }
}
