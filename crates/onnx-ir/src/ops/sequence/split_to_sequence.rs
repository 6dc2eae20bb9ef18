//! `SplitToSequence`: cuts a tensor along `axis` into a sequence: by given sizes, into chunks of one
//! size, or (without sizes) into single slices whose axis may be dropped.
//! <https://onnx.ai/onnx/operators/onnx__SplitToSequence.html>

use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::layout::split_parts;

/// The attributes of `SplitToSequence`.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitToSequence {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether single slices keep the axis.
    pub keep_dims: bool,
}

const RULE: &str = "the sizes must be positive and add up to the axis";

impl Operator for SplitToSequence {
    const SIGNATURE: Signature = Signature::onnx("SplitToSequence", &[11, 24]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
            keep_dims: attrs.flag_or("keepdims", true)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let shape = match x.shape {
            None => None,
            Some(mut dims) => {
                let at = axis::infer(self.axis, dims.len())?;
                match cx.fact(1) {
                    Some(_) => dims[at] = common_size(&dims[at], cx.shape(1), cx.const_ints(1)),
                    None if self.keep_dims => dims[at] = Dim::Known(1),
                    None => drop(dims.remove(at)),
                }
                Some(dims)
            }
        };
        Ok(vec![Fact::Sequence(Box::new(
            TensorFact::with_shape(x.dtype, shape).into(),
        ))])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let size = x.shape()[axis];
        let split = cx.optional_tensor(1)?;
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, axis {axis}", x.shape()));
        let given = cx.ints(1)?.unwrap_or_else(|| vec![1]);
        let given: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
        let given = given.ok_or_else(wrong)?;
        let sizes = match (split.map(Tensor::rank), given.as_slice()) {
            (None | Some(0), &[chunk]) if chunk > 0 => {
                cx.check_size(&[size.div_ceil(chunk)], DType::I64)?;
                (0..size)
                    .step_by(chunk)
                    .map(|start| chunk.min(size - start))
                    .collect()
            }
            (Some(1), _) => given,
            _ => return Err(wrong()),
        };
        if sizes.iter().try_fold(0usize, |a, &n| a.checked_add(n)) != Some(size) {
            return Err(wrong());
        }
        let drop_axis = split.is_none() && !self.keep_dims;
        let part = |part: Result<Tensor, EvalError>| {
            let part = part?;
            if !drop_axis {
                return Ok(Value::Tensor(part));
            }
            let mut shape = part.shape().to_vec();
            shape.remove(axis);
            Ok(Value::Tensor(part.reshape(&shape)?))
        };
        let parts: Result<Vec<Value>, EvalError> = split_parts(x, axis, &sizes).map(part).collect();
        Ok(vec![Value::Sequence(parts?)])
    }
}

/// The size of all parts, where they are of one size: chunks that divide the axis, or equal sizes.
fn common_size(axis: &Dim, split: Option<&[Dim]>, sizes: Option<Vec<i64>>) -> Dim {
    let (Some(split), Some(sizes)) = (split, sizes) else {
        return Dim::Unknown;
    };
    let Some((&first, rest)) = sizes.split_first() else {
        return Dim::Unknown;
    };
    let is_chunk = split.is_empty();
    let divides = || {
        let remainder = axis.as_known().and_then(|size| size.checked_rem(first));
        remainder == Some(0)
    };
    if is_chunk && !divides() || rest.iter().any(|&size| size != first) {
        return Dim::Unknown;
    }
    Dim::Known(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_size_are_known() {
        let size = |axis: i64, split: &[Dim], sizes: &[i64]| {
            common_size(&Dim::Known(axis), Some(split), Some(sizes.to_vec())).as_known()
        };
        assert_eq!(size(6, &[], &[2]), Some(2));
        assert_eq!(size(7, &[], &[2]), None);
        assert_eq!(size(7, &[], &[0]), None);
        assert_eq!(size(6, &[Dim::Known(2)], &[3, 3]), Some(3));
        assert_eq!(size(7, &[Dim::Known(2)], &[3, 4]), None);
        assert!(common_size(&Dim::symbol("n"), Some(&[]), Some(vec![2])).is_unknown());
    }
}
