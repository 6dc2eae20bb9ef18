//! `ArrayFeatureExtractor`: the elements at given positions of the last axis.
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_ArrayFeatureExtractor.html>

use crate::operator::prelude::*;
use crate::ops::index::position;
use crate::ops::select;

/// `ArrayFeatureExtractor` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayFeatureExtractor;

const RULE: &str = "the rank must be at least 1";

impl Operator for ArrayFeatureExtractor {
    const SIGNATURE: Signature = super::signature("ArrayFeatureExtractor", &[1]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let count = match indices.shape {
            Some(dims) => dims.into_iter().fold(Dim::Known(1), |a, d| a * d),
            None => Dim::Unknown,
        };
        let shape = match x.shape.as_deref() {
            None => None,
            Some([]) => return Err(InferError::rule(RULE, &x)),
            // A vector counts as one row.
            Some([_]) => Some(vec![Dim::Known(1), count]),
            Some([leading @ .., _]) => Some([leading, &[count]].concat()),
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let Some((&size, leading)) = x.shape().split_last() else {
            return Err(EvalError::rule(RULE, 0));
        };
        let places: Vec<usize> = cx
            .ints(1)?
            .ok_or(EvalError::MissingInput { index: 1 })?
            .into_iter()
            .map(|i| position::resolve(i, size))
            .collect::<Result<_, _>>()?;
        let leading = if leading.is_empty() { &[1] } else { leading };
        let shape = [leading, &[places.len()]].concat();
        cx.check_size(&shape, x.dtype())?;
        let rows = x.len().checked_div(size).unwrap_or(0);
        let sources = (0..rows).flat_map(|row| places.iter().map(move |p| row * size + p));
        Ok(vec![select::select(x, &shape, sources)?.into()])
    }
}
