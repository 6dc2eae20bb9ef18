//! `Split`: cuts a tensor along `axis` into parts of given sizes, or into equal parts.
//! <https://onnx.ai/onnx/operators/onnx__Split.html>
//!
//! The sizes are an input before opset 2 and since opset 13, else an attribute. Opset 18 added
//! `num_outputs`, with which the last part may be smaller.

use crate::operator::prelude::*;
use crate::ops::{axis, partial, select};

/// The attributes of `Split`.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The sizes, where they are an attribute.
    pub sizes: Option<Vec<i64>>,
    /// The number of equal parts; the number of the node's outputs where it is not given.
    pub parts: Option<usize>,
}

const RULE: &str = "the sizes of the parts must add up to the axis";
const COUNT: &str = "there must be as many parts as outputs";

impl Operator for Split {
    const SIGNATURE: Signature = Signature::onnx("Split", &[1, 2, 11, 13, 18]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let parts: Vec<Var<'_>> = (0..cx.node().outputs().len())
            .map(|i| cx.adjoint_or_zeros(i))
            .collect();
        if let Some((first, rest)) = parts.split_first() {
            cx.give(0, first.concat(rest, op.axis));
        }
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let version = attrs.version();
        let parts = match attrs.version() {
            18.. => attrs.int_opt("num_outputs")?,
            _ => None,
        };
        let parts = parts
            .map(|n| match usize::try_from(n) {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(AttrError::Invalid {
                    name: "num_outputs",
                    found: n.to_string(),
                    rule: "it must be positive",
                }),
            })
            .transpose()?;
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
            sizes: if version < 13 {
                attrs.ints_opt("split")?
            } else {
                None
            },
            parts,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let count = self.parts.unwrap_or(cx.output_count());
        let Some(dims) = &x.shape else {
            return Ok(vec![
                TensorFact::of_dtype(x.dtype).into();
                cx.output_count()
            ]);
        };
        let axis = axis::infer(self.axis, dims.len())?;
        let sizes: Vec<Dim> = match (&self.sizes, cx.fact(1)) {
            (Some(sizes), _) => sizes.iter().map(|&n| n.into()).collect(),
            (None, Some(_)) => cx
                .elements(1)
                .unwrap_or_else(|| vec![Dim::Unknown; cx.output_count()]),
            (None, None) if cx.version() >= 18 && self.parts.is_none() => {
                let rule = "the sizes of the parts or their number must be given";
                return Err(InferError::rule(rule, "neither"));
            }
            (None, None) => equal_parts(&dims[axis], count, cx.version())?,
        };
        if sizes.len() != cx.output_count() {
            let found = format_args!("{} parts, {} outputs", sizes.len(), cx.output_count());
            return Err(InferError::rule(COUNT, found));
        }
        let sum = sizes.iter().cloned().fold(Dim::Known(0), |a, n| a + n);
        if sum.contradicts(&dims[axis]) {
            return Err(InferError::rule(
                RULE,
                format_args!("{sum} and {}", dims[axis]),
            ));
        }
        let elements = x.elements().filter(|_| dims.len() == 1);
        let mut start = Some(0usize);
        let part = |size: &Dim| {
            let mut dims = dims.clone();
            dims[axis] = size.clone();
            let output = TensorFact::with_shape(x.dtype, Some(dims));
            let range = start
                .zip(size.as_size())
                .map(|(s, n)| s..s.saturating_add(n));
            start = range.as_ref().map(|r| r.end);
            let own = elements.as_ref().zip(range);
            let own = own
                .and_then(|(all, range)| all.get(range))
                .map(<[Dim]>::to_vec);
            partial::with_elements(output, own).into()
        };
        Ok(sizes.iter().map(part).collect())
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let axis = axis::eval(self.axis, x.rank())?;
        let size = x.shape()[axis];
        let sizes = match cx.ints(1)?.or_else(|| self.sizes.clone()) {
            Some(sizes) => sizes.iter().map(|&n| usize::try_from(n).ok()).collect(),
            None => {
                let count = self.parts.unwrap_or(cx.output_count());
                let even = cx.version() >= 18 || (count > 0 && size % count == 0);
                even.then(|| chunk_sizes(size, count)).flatten()
            }
        };
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, axis {axis}", x.shape()));
        let sizes = sizes.ok_or_else(wrong)?;
        if sizes.len() != cx.output_count() {
            let found = format_args!("{} parts, {} outputs", sizes.len(), cx.output_count());
            return Err(EvalError::rule(COUNT, found));
        }
        let sum = sizes.iter().try_fold(0usize, |a, &n| a.checked_add(n));
        if sum != Some(size) {
            return Err(wrong());
        }
        parts(x, axis, &sizes)
            .map(|part| Ok(Value::Tensor(part?)))
            .collect()
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

/// The parts of a tensor along an axis; the sizes must add up to the axis.
pub(in crate::ops) fn parts<'a>(
    x: &'a Tensor,
    axis: usize,
    sizes: &'a [usize],
) -> impl Iterator<Item = Result<Tensor, EvalError>> + 'a {
    let strides = select::c_strides(x.shape());
    let mut start = 0usize;
    sizes.iter().map(move |&n| {
        let mut shape = x.shape().to_vec();
        shape[axis] = n;
        let part = select::strided(x, &shape, start as isize * strides[axis], &strides);
        start += n;
        part
    })
}

/// `count` parts of the same size, of which the last may be smaller; `None` for no parts.
fn chunk_sizes(size: usize, count: usize) -> Option<Vec<usize>> {
    if count == 0 || count > MAX_PARTS {
        return None;
    }
    let chunk = size.div_ceil(count);
    let sizes = (0..count).map(|i| chunk.min(size.saturating_sub(chunk.saturating_mul(i))));
    Some(sizes.collect())
}

/// Parts beyond which a count in a file is not believed.
const MAX_PARTS: usize = 1 << 20;

fn equal_parts(size: &Dim, count: usize, version: u32) -> Result<Vec<Dim>, InferError> {
    let rule = "the axis must divide into equal parts";
    let wrong = || InferError::rule(rule, format_args!("{size} into {count}"));
    if let Some(size) = size.as_size() {
        let sizes = chunk_sizes(size, count).ok_or_else(wrong)?;
        if version < 18 && size % count != 0 {
            return Err(wrong());
        }
        return Ok(sizes.into_iter().map(Dim::from).collect());
    }
    if count == 0 || count > MAX_PARTS {
        return Err(wrong());
    }
    let parts = Dim::from(count);
    let exact = size.floor_div(&parts);
    if version < 18 || (exact.clone() * parts.clone()).is_same(size) {
        return Ok(vec![exact; count]);
    }
    let chunk = size.ceil_div(&parts);
    let mut sizes = vec![chunk.clone(); count];
    sizes[count - 1] = size.clone() - chunk * Dim::from(count - 1);
    Ok(sizes)
}
