//! `Gather`: `y[.., i.., ..] = x[.., indices[i..], ..]` along `axis`.
//! <https://onnx.ai/onnx/operators/onnx__Gather.html>
//!
//! Opset 11 allowed negative indices.

use super::position;
use crate::operator::prelude::*;
use crate::ops::{axis, partial, select};
use crate::rewrite::NewNode;

/// The attributes of `Gather`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gather {
    /// The axis that the indices walk; negative counts from the end.
    pub axis: i64,
}

impl Operator for Gather {
    const SIGNATURE: Signature = Signature::onnx("Gather", &[1, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let node = NewNode::private("GatherGrad").with("axis", op.axis);
        cx.give(0, cx.dy().apply(node, &[cx.input(1), cx.input(0).shape()]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let (Some(dims), Some(places)) = (&x.shape, &indices.shape) else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let axis = axis::infer(self.axis, dims.len())?;
        let shape = [&dims[..axis], places, &dims[axis + 1..]].concat();
        let output = TensorFact::with_shape(x.dtype, Some(shape));
        let picked = x
            .elements()
            .filter(|_| dims.len() == 1)
            .zip(indices.elements());
        let picked = picked.map(|(from, at)| at.iter().map(|i| pick(&from, i)).collect());
        Ok(vec![partial::with_elements(output, picked).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let axis = axis::eval(self.axis, x.rank())?;
        let (outer, size, inner) = axis::split(x.shape(), axis);
        let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
        let count = cx.check_size(&shape, x.dtype())?;
        let places = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let places: Vec<usize> = places
            .iter()
            .map(|&i| position::resolve(i, size))
            .collect::<Result<_, _>>()?;
        let outer = if count == 0 { 0 } else { outer };
        let runs = (0..outer).flat_map(|o| {
            places
                .iter()
                .map(move |&p| (x, (o * size + p) * inner, inner))
        });
        Ok(vec![select::assemble(x.dtype(), &shape, runs)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// The element at a partially known index.
fn pick(from: &[Dim], index: &Dim) -> Dim {
    let at = index
        .as_known()
        .and_then(|i| position::resolve(i, from.len()).ok());
    at.and_then(|at| from.get(at))
        .cloned()
        .unwrap_or(Dim::Unknown)
}
