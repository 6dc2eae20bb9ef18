//! `StringSplit`: splits each string at a delimiter (at runs of whitespace without one), at most
//! `maxsplit` times; shorter rows are filled with empty strings. The second output counts the parts.
//! <https://onnx.ai/onnx/operators/onnx__StringSplit.html>

use crate::operator::prelude::*;

/// The attributes of `StringSplit`.
#[derive(Clone, Debug, PartialEq)]
pub struct StringSplit {
    /// What stands between the parts; runs of whitespace where it is empty.
    pub delimiter: String,
    /// The greatest number of splits; any number where it is not given.
    pub max_splits: Option<usize>,
}

impl Operator for StringSplit {
    const SIGNATURE: Signature = Signature::onnx("StringSplit", &[20]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            delimiter: attrs.string_or("delimiter", String::new())?,
            max_splits: attrs
                .int_opt("maxsplit")?
                .and_then(|n| usize::try_from(n).ok()),
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = cx.tensor(0)?.shape;
        let longest = cx.fresh_symbol();
        let parts = shape
            .clone()
            .map(|dims| [dims.as_slice(), &[longest]].concat());
        Ok(vec![
            TensorFact::with_shape(Some(DType::String), parts).into(),
            TensorFact::with_shape(Some(DType::I64), shape).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let rows: Vec<Vec<&str>> = x.strings()?.iter().map(|s| self.split(s)).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let shape = [x.shape(), &[longest]].concat();
        let mut parts = Vec::with_capacity(cx.check_size(&shape, DType::String)?);
        for row in &rows {
            let filled = row
                .iter()
                .copied()
                .chain(std::iter::repeat(""))
                .take(longest);
            parts.extend(filled.map(str::to_owned));
        }
        let counts = rows.iter().map(|row| row.len() as i64).collect();
        Ok(vec![
            Tensor::from_strings(&shape, parts)?.into(),
            Tensor::from_vec(x.shape(), counts)?.into(),
        ])
    }
}

impl StringSplit {
    fn split<'s>(&self, text: &'s str) -> Vec<&'s str> {
        let limit = self.max_splits.map_or(usize::MAX, |n| n.saturating_add(1));
        if !self.delimiter.is_empty() {
            return text.splitn(limit, &self.delimiter).collect();
        }
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let end = rest
                .find(char::is_whitespace)
                .filter(|_| parts.len() + 1 < limit);
            let (part, tail) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(part);
            rest = tail.trim_start();
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(text: &'a str, delimiter: &str, max_splits: Option<usize>) -> Vec<&'a str> {
        StringSplit {
            delimiter: delimiter.into(),
            max_splits,
        }
        .split(text)
    }

    #[test]
    fn whitespace_is_grouped_and_delimiters_are_not() {
        assert_eq!(split("  a \t b c ", "", None), ["a", "b", "c"]);
        assert_eq!(split(" a  b c ", "", Some(1)), ["a", "b c"]);
        assert_eq!(split("a--b-", "-", None), ["a", "", "b", ""]);
        assert_eq!(split("a-b-c", "-", Some(1)), ["a", "b-c"]);
        assert_eq!(split("", "-", None), [""]);
    }
}
