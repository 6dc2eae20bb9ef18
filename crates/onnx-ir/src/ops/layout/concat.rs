//! `Concat`: joins tensors along `axis`; all other dimensions are equal.
//! <https://onnx.ai/onnx/operators/onnx__Concat.html>
//!
//! Before opset 4 the axis was optional and 1.

use crate::fact::MAX_TRACKED_ELEMENTS;
use crate::operator::prelude::*;
use crate::ops::{axis, partial, select};
use crate::rewrite::NewNode;

const RULE: &str = "all dimensions but those along the axis must be equal";

/// The attributes of `Concat`.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl Operator for Concat {
    const SIGNATURE: Signature = Signature::onnx("Concat", &[1, 4, 11, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let axis = if attrs.version() < 4 {
            attrs.int_or("axis", 1)?
        } else {
            attrs.int("axis")?
        };
        Ok(Self { axis })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let inputs: Vec<TensorFact> = (0..cx.input_count().max(1))
            .map(|i| cx.tensor(i))
            .collect::<Result<_, _>>()?;
        let dtype = inputs.iter().find_map(|x| x.dtype);
        let Some(rank) = inputs.iter().find_map(TensorFact::rank) else {
            return Ok(vec![TensorFact::of_dtype(dtype).into()]);
        };
        let axis = axis::infer(self.axis, rank)?;
        let mut dims = vec![Dim::Unknown; rank];
        let mut along = Dim::Known(0);
        for shape in inputs.iter().map(|x| x.shape.as_ref()) {
            let Some(shape) = shape else {
                along = Dim::Unknown;
                continue;
            };
            if shape.len() != rank {
                return Err(InferError::rule(
                    RULE,
                    format_args!("ranks {rank} and {}", shape.len()),
                ));
            }
            along = along + shape[axis].clone();
            for (d, other) in dims.iter_mut().zip(shape) {
                *d = d.refine(other);
            }
            for (i, (d, other)) in dims.iter().zip(shape).enumerate() {
                if i != axis && d.contradicts(other) {
                    return Err(InferError::rule(
                        RULE,
                        format_args!("{d} and {other} at axis {i}"),
                    ));
                }
            }
        }
        dims[axis] = along;
        let output = TensorFact::with_shape(dtype, Some(dims));
        Ok(vec![partial::with_elements(output, joined(&inputs)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let inputs: Vec<&Tensor> = (0..cx.input_count().max(1))
            .map(|i| cx.tensor(i))
            .collect::<Result<_, _>>()?;
        let shape = shape(&inputs, self.axis)?;
        let dtype = inputs[0].dtype();
        cx.check_size(&shape, dtype)?;
        Ok(vec![
            join(&inputs, &shape, axis::eval(self.axis, shape.len())?)?.into(),
        ])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: None }
    }
}

/// The shape of tensors (at least one) joined along an axis.
///
/// # Errors
/// [`EvalError::Rule`].
pub(in crate::ops) fn shape(inputs: &[&Tensor], axis: i64) -> Result<Vec<usize>, EvalError> {
    let Some(first) = inputs.first() else {
        return Err(EvalError::MissingInput { index: 0 });
    };
    let mut shape = first.shape().to_vec();
    let axis = axis::eval(axis, shape.len())?;
    let mut along = 0usize;
    for x in inputs {
        let fits = x.rank() == shape.len()
            && (0..shape.len()).all(|i| i == axis || x.shape()[i] == shape[i]);
        let sum = if fits {
            along.checked_add(x.shape()[axis])
        } else {
            None
        };
        along = sum.ok_or_else(|| {
            EvalError::rule(
                RULE,
                format_args!("{:?} and {:?}", first.shape(), x.shape()),
            )
        })?;
    }
    shape[axis] = along;
    Ok(shape)
}

/// Tensors joined along an axis; `shape` as [`shape`] gives it, within the limits.
///
/// # Errors
/// [`EvalError::Rule`] for tensors of different types.
pub(in crate::ops) fn join(
    inputs: &[&Tensor],
    shape: &[usize],
    axis: usize,
) -> Result<Tensor, EvalError> {
    let (outer, _, inner) = axis::split(shape, axis);
    let outer = if inner == 0 { 0 } else { outer };
    let runs = (0..outer).flat_map(|o| {
        inputs.iter().map(move |x| {
            let len = x.shape()[axis] * inner;
            (*x, o * len, len)
        })
    });
    let dtype = inputs
        .first()
        .ok_or(EvalError::MissingInput { index: 0 })?
        .dtype();
    select::assemble(dtype, shape, runs)
}

/// The elements of joined vectors.
fn joined(inputs: &[TensorFact]) -> Option<Vec<Dim>> {
    let mut all = Vec::new();
    for x in inputs {
        all.extend(x.elements()?);
        if all.len() > MAX_TRACKED_ELEMENTS {
            return None;
        }
    }
    Some(all)
}

fn gradient(op: &Concat, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let count = cx.node().inputs().len();
    let axis = match (op.axis, cx.dy().rank()) {
        (axis, _) if axis >= 0 => axis,
        (axis, Some(rank)) => axis + rank as i64,
        _ => return Err(Unsupported("the rank of its result is not known")),
    };
    let sizes: Vec<Var<'_>> = (0..count)
        .map(|i| cx.input(i).shape().gather(cx.ints(&[axis]), 0))
        .collect();
    let Some((first, rest)) = sizes.split_first() else {
        return Ok(());
    };
    let sizes = match rest {
        [] => *first,
        rest => first.concat(rest, 0),
    };
    let node = NewNode::new("Split").with("axis", axis);
    let parts = cx.nodes(node, &[Some(cx.dy()), Some(sizes)], &vec![true; count]);
    for (i, part) in parts.into_iter().enumerate() {
        if let Some(part) = part {
            cx.give(i, part);
        }
    }
    Ok(())
}
