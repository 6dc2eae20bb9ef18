//! `RegexFullMatch`: whether each string matches a pattern in whole.
//! <https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html>
//!
//! The pattern is RE2 syntax, which the `regex` crate shares in all but rare escapes; both match in
//! linear time, so a hostile pattern cannot stall.

use crate::operator::prelude::*;
use regex::{Regex, RegexBuilder};

/// The attributes of `RegexFullMatch`.
#[derive(Clone, Debug)]
pub struct RegexFullMatch {
    /// The pattern, anchored at both ends.
    pub pattern: Regex,
}

/// Bytes that a compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 20;

impl Operator for RegexFullMatch {
    const SIGNATURE: Signature = Signature::onnx("RegexFullMatch", &[20]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let pattern = attrs.string_or("pattern", String::new())?;
        let anchored = format!(r"\A(?:{pattern})\z");
        match RegexBuilder::new(&anchored)
            .size_limit(MAX_PATTERN_BYTES)
            .build()
        {
            Ok(pattern) => Ok(Self { pattern }),
            Err(_) => Err(AttrError::Invalid {
                name: "pattern",
                found: pattern,
                rule: "it must be a regular expression in RE2 syntax, of moderate size",
            }),
        }
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        Ok(vec![
            TensorFact::with_shape(Some(DType::Bool), x.shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let matches = x
            .strings()?
            .iter()
            .map(|s| self.pattern.is_match(s))
            .collect();
        Ok(vec![Tensor::from_vec::<bool>(x.shape(), matches)?.into()])
    }
}
