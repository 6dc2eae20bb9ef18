//! `Einsum`: the product of the operands, summed over every index that the result does not have:
//! `ij,jk->ik` is a matrix product, `ii->i` a diagonal, `...ij->...ji` a transposition.
//! <https://onnx.ai/onnx/operators/onnx__Einsum.html>. Opset 28 adds bfloat16.

use super::equation::{Equation, EquationError, Index, Resolved};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::select::c_strides;
use crate::rewrite::NewNode;

/// Combinations of indices beyond which an equation is refused.
const MAX_COMBINATIONS: usize = 1 << 36;

/// The attributes of `Einsum`.
#[derive(Clone, Debug, PartialEq)]
pub struct Einsum {
    /// The equation.
    pub equation: Equation,
}

const SIZE_RULE: &str = "axes of the same index must have the same size, or 1";

impl Operator for Einsum {
    const SIGNATURE: Signature = Signature::onnx("Einsum", &[12, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let text = attrs.string("equation")?;
        match Equation::parse(&text) {
            Ok(equation) => Ok(Self { equation }),
            Err(EquationError(rule)) => Err(AttrError::Invalid {
                name: "equation",
                found: text,
                rule,
            }),
        }
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let operands: Vec<TensorFact> = (0..cx.input_count())
            .map(|i| cx.tensor(i))
            .collect::<Result<_, _>>()?;
        let dtype = operands.iter().find_map(|x| x.dtype);
        let shapes: Option<Vec<&Vec<Dim>>> = operands.iter().map(|x| x.shape.as_ref()).collect();
        let Some(shapes) = shapes else {
            return Ok(vec![TensorFact::of_dtype(dtype).into()]);
        };
        let ranks: Vec<usize> = shapes.iter().map(|s| s.len()).collect();
        let resolved = self
            .equation
            .resolve(&ranks)
            .map_err(|EquationError(rule)| {
                InferError::rule(rule, format_args!("operands of ranks {ranks:?}"))
            })?;
        let size = |index: &Index| {
            let mut size = Dim::Known(1);
            for (indices, shape) in resolved.operands.iter().zip(&shapes) {
                for (_, d) in indices.iter().zip(*shape).filter(|(i, _)| *i == index) {
                    size = match (&size, d) {
                        (Dim::Known(1), d) => d.clone(),
                        (size, Dim::Known(1)) => size.clone(),
                        (size, d) if size.contradicts(d) => {
                            return Err(InferError::rule(
                                SIZE_RULE,
                                format_args!("{size} and {d}"),
                            ));
                        }
                        (Dim::Known(n), _) | (_, Dim::Known(n)) => Dim::Known(*n),
                        (size, d) if size.is_same(d) => d.clone(),
                        _ => Dim::Unknown,
                    };
                }
            }
            Ok(size)
        };
        for summed in &resolved.summed() {
            size(summed)?;
        }
        let shape: Vec<Dim> = resolved.output.iter().map(size).collect::<Result<_, _>>()?;
        Ok(vec![TensorFact::with_shape(dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in numbers => self.run::<T>(cx))?;
        Ok(vec![y.into()])
    }
}

impl Einsum {
    fn run<T: Accumulate>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let operands: Vec<&Tensor> = (0..cx.input_count())
            .map(|i| cx.tensor(i))
            .collect::<Result<_, _>>()?;
        let ranks: Vec<usize> = operands.iter().map(|x| x.rank()).collect();
        let resolved = self
            .equation
            .resolve(&ranks)
            .map_err(|EquationError(rule)| {
                EvalError::rule(rule, format_args!("operands of ranks {ranks:?}"))
            })?;
        // The result's indices first, then those that are summed over.
        let indices = [resolved.output.clone(), resolved.summed()].concat();
        let mut walk = Walk {
            operands: operands.len(),
            sizes: vec![1; indices.len()],
            strides: vec![vec![0; operands.len()]; indices.len()],
        };
        for (o, (axes, operand)) in resolved.operands.iter().zip(&operands).enumerate() {
            let strides = c_strides(operand.shape());
            for ((index, &size), stride) in axes.iter().zip(operand.shape()).zip(strides) {
                let Some(at) = indices.iter().position(|i| i == index) else {
                    continue;
                };
                if size == 1 {
                    continue;
                }
                if walk.sizes[at] != 1 && walk.sizes[at] != size {
                    let found = format_args!("{} and {size}", walk.sizes[at]).to_string();
                    return Err(EvalError::rule(SIZE_RULE, found));
                }
                walk.sizes[at] = size;
                // An index that an operand repeats walks along its diagonal.
                walk.strides[at][o] += stride.unsigned_abs();
            }
        }
        let shape = walk.sizes[..resolved.output.len()].to_vec();
        let count = cx.check_size(&shape, T::DTYPE)?;
        let combinations = element_count(&walk.sizes).filter(|&n| n <= MAX_COMBINATIONS);
        let combinations = combinations.ok_or_else(|| {
            EvalError::rule(
                "an equation must not have more than 2^36 combinations of its indices",
                format_args!("sizes {:?}", walk.sizes),
            )
        })?;
        let mut sums = vec![T::Wide::default(); count];
        if let Some(summed) = combinations.checked_div(count).filter(|&n| n > 0) {
            let data: Vec<_> = operands
                .iter()
                .map(|x| x.data::<T>())
                .collect::<Result<_, _>>()?;
            let mut at = 0;
            walk.for_each(|offsets| {
                let factors = data.iter().zip(offsets).map(|(x, &i)| x[i].widen());
                if let Some(product) = factors.reduce(|a, b| a * b) {
                    sums[at / summed] += product;
                }
                at += 1;
            });
        }
        let y = sums.into_iter().map(T::narrow).collect();
        Ok(Tensor::from_vec(&shape, y)?)
    }
}

/// A walk over all combinations of indices, with the place in each operand.
struct Walk {
    operands: usize,
    sizes: Vec<usize>,
    /// By index, then by operand.
    strides: Vec<Vec<usize>>,
}

impl Walk {
    /// Every size must be positive.
    fn for_each(&self, mut visit: impl FnMut(&[usize])) {
        let mut index = vec![0usize; self.sizes.len()];
        let mut offsets = vec![0usize; self.operands];
        loop {
            visit(&offsets);
            let mut at = self.sizes.len();
            loop {
                if at == 0 {
                    return;
                }
                at -= 1;
                index[at] += 1;
                if index[at] < self.sizes[at] {
                    for (offset, stride) in offsets.iter_mut().zip(&self.strides[at]) {
                        *offset += stride;
                    }
                    break;
                }
                for (offset, stride) in offsets.iter_mut().zip(&self.strides[at]) {
                    *offset -= stride * (self.sizes[at] - 1);
                }
                index[at] = 0;
            }
        }
    }
}

/// The product of the adjoint and the other operands, summed to the operand's indices; an index that only the operand has
/// is one that the adjoint is broadcast along.
fn gradient(op: &Einsum, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let count = cx.node().inputs().len();
    let operands: Vec<Var<'_>> = (0..count).map(|i| cx.input(i)).collect();
    let ranks: Option<Vec<usize>> = operands.iter().map(|x| x.rank()).collect();
    let ranks = ranks.ok_or(Unsupported("the ranks of its operands are not known"))?;
    let resolved = op.equation.resolve(&ranks);
    let resolved = resolved.map_err(|EquationError(rule)| Unsupported(rule))?;
    for i in (0..count).filter(|&i| cx.wants(i)) {
        let indices = &resolved.operands[i];
        if indices
            .iter()
            .enumerate()
            .any(|(at, index)| indices[..at].contains(index))
        {
            return Err(Unsupported("an operand repeats an index"));
        }
        let mut terms = vec![cx.dy()];
        let mut labels = vec![letters(&resolved, &resolved.output)?];
        let mut there = resolved.output.clone();
        for j in (0..count).filter(|&j| j != i) {
            terms.push(operands[j]);
            labels.push(letters(&resolved, &resolved.operands[j])?);
            there.extend(&resolved.operands[j]);
        }
        let kept: Vec<Index> = indices
            .iter()
            .copied()
            .filter(|i| there.contains(i))
            .collect();
        let equation = format!("{}->{}", labels.join(","), letters(&resolved, &kept)?);
        let node = NewNode::new("Einsum").with("equation", equation.as_str());
        let product = terms[0].apply(node, &terms[1..]);
        let missing = indices
            .iter()
            .enumerate()
            .filter(|(_, index)| !there.contains(index));
        let missing: Vec<i64> = missing.map(|(axis, _)| axis as i64).collect();
        let product = product.unsqueeze(&missing);
        let spread = match missing.is_empty() {
            true => product,
            // Every element that was summed gets the sum's adjoint.
            false => product + operands[i].zeros(operands[i].shape()),
        };
        cx.give_broadcast(i, spread);
    }
    Ok(())
}

/// A letter for each index, the ellipsis' axes too.
fn letters(resolved: &Resolved, indices: &[Index]) -> Result<String, Unsupported> {
    let mut all: Vec<Index> = resolved.operands.concat();
    all.sort_unstable();
    all.dedup();
    let letter = |index: &Index| {
        let at = all.iter().position(|i| i == index).unwrap_or(0);
        let letter = ('a'..='z').chain('A'..='Z').nth(at);
        letter.ok_or(Unsupported("it has more than 52 indices"))
    };
    indices.iter().map(letter).collect()
}
