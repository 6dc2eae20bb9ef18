//! `TopK`: the `k` largest (or smallest) elements along `axis` and their positions; of equal elements
//! the one at the lower position comes first.
//! <https://onnx.ai/onnx/operators/onnx__TopK.html>
//!
//! Opset 10 made `k` an input, opset 11 added `largest` and `sorted`.

use super::order::{Visit, compare, with_elements};
use crate::operator::prelude::*;
use crate::ops::{axis, select};
use crate::rewrite::NewNode;

/// The attributes of `TopK`.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the largest are taken, else the smallest.
    pub largest: bool,
    /// `k`, where it is an attribute (before opset 10).
    pub k: Option<i64>,
}

const RULE: &str = "k must be one number within the axis";

impl Operator for TopK {
    const SIGNATURE: Signature = Signature::onnx("TopK", &[1, 10, 11, 24]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let x = cx.input(0);
        let node = NewNode::new("ScatterElements").with("axis", op.axis);
        let zeros = x.zeros(x.shape());
        cx.give(0, zeros.apply(node, &[cx.output(1), cx.dy()]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // The order of an unsorted result is free: it is sorted all the same.
        attrs.ignore("sorted");
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            largest: attrs.flag_or("largest", true)?,
            k: if attrs.version() < 10 {
                Some(attrs.int("k")?)
            } else {
                None
            },
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let k = match self.k {
            Some(k) => Dim::Known(k),
            None => {
                cx.tensor(1)?;
                let elements = cx.elements(1).filter(|e| e.len() == 1);
                elements.and_then(|mut e| e.pop()).unwrap_or(Dim::Unknown)
            }
        };
        let shape = match x.shape {
            None => None,
            Some(mut dims) => {
                let at = axis::infer(self.axis, dims.len())?;
                if let (Some(k), Some(size)) = (k.as_known(), dims[at].as_known())
                    && !(0..=size).contains(&k)
                {
                    return Err(InferError::rule(RULE, format_args!("{k} of {size}")));
                }
                dims[at] = k;
                Some(dims)
            }
        };
        Ok(vec![
            TensorFact::with_shape(x.dtype, shape.clone()).into(),
            TensorFact::with_shape(Some(DType::I64), shape).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let k = match self.k {
            Some(k) => vec![k],
            None => cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?,
        };
        let wrong = || EvalError::rule(RULE, format_args!("{k:?}, {:?}", x.shape()));
        let &[count] = k.as_slice() else {
            return Err(wrong());
        };
        let count = usize::try_from(count)
            .ok()
            .filter(|&k| k <= x.shape()[axis])
            .ok_or_else(wrong)?;
        let (outer, size, inner) = axis::split(x.shape(), axis);
        let mut shape = x.shape().to_vec();
        shape[axis] = count;
        let positions = with_elements(
            x,
            Largest {
                outer,
                size,
                inner,
                count,
                largest: self.largest,
            },
        )?;
        let sources = positions.iter().enumerate().map(|(n, &p)| {
            let (o, i) = (n / (count * inner), n % inner);
            (o * size + p as usize) * inner + i
        });
        let values = select::select(x, &shape, sources)?;
        Ok(vec![
            values.into(),
            Tensor::from_vec(&shape, positions)?.into(),
        ])
    }
}

/// Positions along the middle axis of `[outer, size, inner]` of the `count` largest or smallest
/// elements, in the order of the result `[outer, count, inner]`.
struct Largest {
    outer: usize,
    size: usize,
    inner: usize,
    count: usize,
    largest: bool,
}

impl Visit for Largest {
    type Output = Vec<i64>;

    fn visit<T: PartialOrd>(self, data: &[T]) -> Result<Vec<i64>, EvalError> {
        let Largest {
            outer,
            size,
            inner,
            count,
            largest,
        } = self;
        let mut out = vec![0; outer * count * inner];
        if out.is_empty() {
            return Ok(out);
        }
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let at = |p: usize| &data[(o * size + p) * inner + i];
            let mut sorted: Vec<usize> = (0..size).collect();
            sorted.sort_by(|&a, &b| {
                let order = compare(at(a), at(b));
                if largest { order.reverse() } else { order }
            });
            for (n, &p) in sorted.iter().take(count).enumerate() {
                out[(o * count + n) * inner + i] = p as i64;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_elements_come_in_order_of_position_both_ways() {
        let positions = |largest| {
            let work = Largest {
                outer: 1,
                size: 4,
                inner: 1,
                count: 3,
                largest,
            };
            work.visit(&[2.0, 1.0, 2.0, 1.0]).unwrap()
        };
        assert_eq!(positions(true), [0, 2, 1]);
        assert_eq!(positions(false), [1, 3, 0]);
    }
}
