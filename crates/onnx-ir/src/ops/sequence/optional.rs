//! `Optional`: an optional value: of the input, or empty where there is none.
//! <https://onnx.ai/onnx/operators/onnx__Optional.html>

use crate::operator::prelude::*;

/// The attributes of `Optional`.
#[derive(Clone, Debug)]
pub struct Optional {
    /// The kind of value that an empty optional could hold.
    pub kind: Option<Fact>,
}

impl Operator for Optional {
    const SIGNATURE: Signature = Signature::onnx("Optional", &[15, 28]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            kind: attrs.type_opt("type")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let held = cx
            .fact(0)
            .or(self.kind.as_ref())
            .cloned()
            .unwrap_or_default();
        Ok(vec![Fact::Optional(Box::new(held))])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![Value::Optional(cx.value(0).cloned().map(Box::new))])
    }
}
