//! `Unique`: the different elements (or slices along `axis`), with where each stands first, which of
//! them each input element is, and how often each occurs.
//! <https://onnx.ai/onnx/operators/onnx__Unique.html>

use super::order::{Visit, compare, with_elements};
use crate::operator::prelude::*;
use crate::ops::{axis, select};
use std::cmp::Ordering;

/// The attributes of `Unique`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unique {
    /// The axis whose slices are compared; the elements where it is not given.
    pub axis: Option<i64>,
    /// Whether the result is sorted; else it is in the order of first occurrence.
    pub sorted: bool,
}

impl Operator for Unique {
    const SIGNATURE: Signature = Signature::onnx("Unique", &[11, 28]);
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("how many elements are unique depends on the data");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_opt("axis")?,
            sorted: attrs.flag_or("sorted", true)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let count = cx.fresh_symbol();
        let all = |dims: &[Dim]| dims.iter().cloned().fold(Dim::Known(1), |a, d| a * d);
        let (shape, total) = match (self.axis, x.shape) {
            (None, dims) => (
                Some(vec![count.clone()]),
                dims.map_or(Dim::Unknown, |d| all(&d)),
            ),
            (Some(_), None) => (None, Dim::Unknown),
            (Some(axis), Some(mut dims)) => {
                let at = axis::infer(axis, dims.len())?;
                let total = std::mem::replace(&mut dims[at], count.clone());
                (Some(dims), total)
            }
        };
        let index = |dim: Dim| TensorFact::with_shape(Some(DType::I64), Some(vec![dim])).into();
        Ok(vec![
            TensorFact::with_shape(x.dtype, shape).into(),
            index(count.clone()),
            index(total),
            index(count),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (mut shape, axis) = match self.axis {
            None => (vec![x.len()], 0),
            Some(axis) => (x.shape().to_vec(), axis::eval(axis, x.rank())?),
        };
        let (outer, size, inner) = axis::split(&shape, axis);
        // Equal slices, grouped; within a group by position.
        let groups = with_elements(x, Groups { outer, size, inner })?;
        let mut groups: Vec<&[usize]> = groups.iter().map(Vec::as_slice).collect();
        if !self.sorted {
            groups.sort_by_key(|group| group.first().copied());
        }
        let mut inverse = vec![0i64; size];
        for (g, group) in groups.iter().enumerate() {
            group.iter().for_each(|&i| inverse[i] = g as i64);
        }
        let firsts: Vec<usize> = groups.iter().filter_map(|g| g.first().copied()).collect();
        shape[axis] = firsts.len();
        let outer = if x.is_empty() { 0 } else { outer };
        let runs = (0..outer).flat_map(|o| {
            firsts
                .iter()
                .map(move |&k| (x, (o * size + k) * inner, inner))
        });
        Ok(vec![
            select::assemble(x.dtype(), &shape, runs)?.into(),
            Tensor::vector(firsts.iter().map(|&i| i as i64).collect()).into(),
            Tensor::vector(inverse).into(),
            Tensor::vector(groups.iter().map(|g| g.len() as i64).collect()).into(),
        ])
    }
}

/// The slices of a tensor `[outer, size, inner]` along its middle axis, grouped by equality.
struct Groups {
    outer: usize,
    size: usize,
    inner: usize,
}

impl Visit for Groups {
    type Output = Vec<Vec<usize>>;

    fn visit<T: PartialOrd>(self, data: &[T]) -> Result<Vec<Vec<usize>>, EvalError> {
        let Groups { outer, size, inner } = self;
        let slice = |i: usize| {
            (0..outer).flat_map(move |o| &data[(o * size + i) * inner..(o * size + i + 1) * inner])
        };
        let order = |a: usize, b: usize| {
            let pairs = slice(a).zip(slice(b));
            pairs
                .map(|(a, b)| compare(a, b))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..size).collect();
        sorted.sort_by(|&a, &b| order(a, b));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for i in sorted {
            match groups.last_mut() {
                Some(group) if order(group[0], i).is_eq() => group.push(i),
                _ => groups.push(vec![i]),
            }
        }
        Ok(groups)
    }
}
