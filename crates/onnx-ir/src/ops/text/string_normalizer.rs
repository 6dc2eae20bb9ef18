//! `StringNormalizer`: takes stop words out and changes the case of the rest.
//! <https://onnx.ai/onnx/operators/onnx__StringNormalizer.html>
//!
//! Case follows Unicode; the locale has no effect.

use crate::operator::prelude::*;

/// What is done to the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseChange {
    /// Nothing.
    Keep,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
}

/// The attributes of `StringNormalizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct StringNormalizer {
    /// What is done to the case of what stays.
    pub case: CaseChange,
    /// Whether stop words match in their own case only.
    pub case_sensitive: bool,
    /// Strings to take out.
    pub stop_words: Vec<String>,
}

const RULE: &str = "the input must be [n] or [1, n]";

impl Operator for StringNormalizer {
    const SIGNATURE: Signature = Signature::onnx("StringNormalizer", &[10]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("locale");
        let case = attrs.string_or("case_change_action", "NONE".into())?;
        Ok(Self {
            case: match case.as_str() {
                "NONE" => CaseChange::Keep,
                "LOWER" => CaseChange::Lower,
                "UPPER" => CaseChange::Upper,
                _ => {
                    return Err(AttrError::Invalid {
                        name: "case_change_action",
                        found: case,
                        rule: "it must be NONE, LOWER or UPPER",
                    });
                }
            },
            case_sensitive: attrs.flag_or("is_case_sensitive", false)?,
            stop_words: attrs.strings_or("stopwords", Vec::new())?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let count = cx.fresh_symbol();
        let shape = match x.rank() {
            None => None,
            Some(1) => Some(vec![count]),
            Some(2) => Some(vec![Dim::Known(1), count]),
            Some(_) => return Err(InferError::rule(RULE, x)),
        };
        Ok(vec![
            TensorFact::with_shape(Some(DType::String), shape).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        if !matches!(x.shape(), [_] | [1, _]) {
            return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape())));
        }
        let fold = |s: &str| {
            if self.case_sensitive {
                s.to_owned()
            } else {
                s.to_lowercase()
            }
        };
        let stop: Vec<String> = self.stop_words.iter().map(|s| fold(s)).collect();
        let kept = x.strings()?.iter().filter(|s| !stop.contains(&fold(s)));
        let mut out: Vec<String> = kept
            .map(|s| match self.case {
                CaseChange::Keep => s.clone(),
                CaseChange::Lower => s.to_lowercase(),
                CaseChange::Upper => s.to_uppercase(),
            })
            .collect();
        if out.is_empty() {
            out.push(String::new());
        }
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out.len();
        }
        Ok(vec![Tensor::from_strings(&shape, out)?.into()])
    }
}
