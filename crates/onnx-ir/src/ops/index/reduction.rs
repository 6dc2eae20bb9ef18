//! How scattered updates combine with what is there: `none`, `add`, `mul`, `max`, `min`.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::select;
use crate::rewrite::NewNode;

/// How an update combines with the element that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// It takes its place; of several the last one.
    Replace,
    /// The sum.
    Add,
    /// The product.
    Mul,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Reduction {
    /// The attribute `reduction`.
    pub(super) fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let name = attrs.string_or("reduction", "none".into())?;
        Ok(match name.as_str() {
            "none" => Reduction::Replace,
            "add" => Reduction::Add,
            "mul" => Reduction::Mul,
            "max" => Reduction::Max,
            "min" => Reduction::Min,
            _ => {
                return Err(AttrError::Invalid {
                    name: "reduction",
                    found: name,
                    rule: "it must be none, add, mul, max or min",
                });
            }
        })
    }

    /// The adjoints of the data (input 0) and the updates (input 2), which `gather` reads at the indices (input 1).
    ///
    /// # Errors
    /// [`Unsupported`] for `max` and `min`.
    pub(super) fn gradient(
        self,
        cx: &GradientContext<'_>,
        gather: NewNode,
    ) -> Result<(), Unsupported> {
        let (indices, updates, dy) = (cx.input(1), cx.input(2), cx.dy());
        match self {
            Reduction::Replace => {
                let zeros = updates.zeros(updates.shape());
                cx.give(0, cx.again(&[Some(dy), Some(indices), Some(zeros)]));
                cx.give(2, dy.apply(gather, &[indices]));
            }
            Reduction::Add => {
                cx.give(0, dy);
                cx.give(2, dy.apply(gather, &[indices]));
            }
            Reduction::Mul => {
                cx.give(0, cx.again(&[Some(dy), Some(indices), Some(updates)]));
                if cx.wants(2) {
                    cx.give(2, of_factors(cx, gather));
                }
            }
            Reduction::Max | Reduction::Min => {
                return Err(Unsupported(
                    "the reductions max and min are not differentiated",
                ));
            }
        }
        Ok(())
    }

    /// `data` with blocks of `updates` combined in: block `i` (of `block` elements) meets the block at
    /// offset `targets[i]`.
    ///
    /// # Errors
    /// [`EvalError::Rule`] for a block outside, [`EvalError::DType`] for a type without the arithmetic.
    pub(super) fn scatter(
        self,
        data: &Tensor,
        targets: &[usize],
        block: usize,
        updates: &Tensor,
    ) -> Result<Tensor, EvalError> {
        let inside = targets
            .iter()
            .all(|t| t.checked_add(block).is_some_and(|e| e <= data.len()));
        if !inside || targets.len().checked_mul(block) != Some(updates.len()) {
            return Err(EvalError::rule(
                "there must be one update for each index, within the data",
                format_args!("{:?} into {:?}", updates.shape(), data.shape()),
            ));
        }
        if self == Reduction::Replace {
            return replace(data, targets, block, updates);
        }
        dispatch!(data.dtype(), T in elements => self.combine::<T>(data, targets, block, updates))
    }

    fn combine<T: Combine>(
        self,
        data: &Tensor,
        targets: &[usize],
        block: usize,
        updates: &Tensor,
    ) -> Result<Tensor, EvalError> {
        let mut out = data.data::<T>()?.into_owned();
        let updates = updates.data::<T>()?;
        for (i, &target) in targets.iter().enumerate() {
            let update = &updates[i * block..(i + 1) * block];
            for (old, &new) in out[target..target + block].iter_mut().zip(update) {
                *old = old.combine(self, new);
            }
        }
        Ok(Tensor::from_vec(data.shape(), out)?)
    }
}

/// The adjoint of updates that are multiplied in: that of the element that they meet, times its other factors. Zeros are left out
/// of the product and counted, so that it is right where an update is 0.
fn of_factors<'g>(cx: &GradientContext<'g>, gather: NewNode) -> Var<'g> {
    let (data, indices, updates) = (cx.input(0), cx.input(1), cx.input(2));
    let is_zero = updates.equals(0.0);
    let nonzero = is_zero.choose(1.0, updates);
    let product = cx.again(&[Some(data), Some(indices), Some(nonzero)]);
    let zeros = is_zero.cast_like(updates);
    let add = NewNode::like(cx.node()).named("").with("reduction", "add");
    let counts = data
        .zeros(data.shape())
        .apply(add, &[indices, zeros])
        .apply(gather.clone(), &[indices]);
    let factors = (cx.dy() * product).apply(gather, &[indices]) / nonzero;
    (counts - zeros).greater(0.0).choose(0.0, factors)
}

/// Elements that updates can combine with; booleans by `or` and `and`.
trait Combine: Element {
    fn combine(self, reduction: Reduction, update: Self) -> Self;
}

impl Combine for bool {
    fn combine(self, reduction: Reduction, update: Self) -> Self {
        match reduction {
            Reduction::Replace => update,
            Reduction::Add | Reduction::Max => self | update,
            Reduction::Mul | Reduction::Min => self & update,
        }
    }
}

macro_rules! combine_numbers {
    ($($T:ty),+) => {$(
        impl Combine for $T {
            fn combine(self, reduction: Reduction, update: Self) -> Self {
                match reduction {
                    Reduction::Replace => update,
                    Reduction::Add => self.plus(update),
                    Reduction::Mul => self.times(update),
                    Reduction::Max => self.larger(update),
                    Reduction::Min => self.smaller(update),
                }
            }
        }
    )+};
}
combine_numbers!(
    f32,
    f64,
    half::f16,
    half::bf16,
    i8,
    i16,
    i32,
    i64,
    u8,
    u16,
    u32,
    u64
);

fn replace(
    data: &Tensor,
    targets: &[usize],
    block: usize,
    updates: &Tensor,
) -> Result<Tensor, EvalError> {
    if block == 0 {
        return Ok(data.clone());
    }
    // Blocks may overlap only as a whole: targets are multiples of the block.
    let mut latest: Vec<(usize, usize)> = targets.iter().copied().zip(0..).collect();
    latest.sort_unstable();
    let mut runs: Vec<select::Run<'_>> = Vec::new();
    let mut at = 0;
    for (i, &(target, update)) in latest.iter().enumerate() {
        if latest.get(i + 1).is_some_and(|&(next, _)| next == target) {
            continue;
        }
        runs.push((data, at, target.saturating_sub(at)));
        runs.push((updates, update * block, block));
        at = target + block;
    }
    runs.push((data, at, data.len().saturating_sub(at)));
    select::assemble(data.dtype(), data.shape(), runs.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_replacements_stays() {
        let data = Tensor::vector(vec![1i32, 2, 3, 4]);
        let updates = Tensor::vector(vec![7i32, 8, 9]);
        let y = Reduction::Replace
            .scatter(&data, &[2, 0, 2], 1, &updates)
            .unwrap();
        assert_eq!(*y.data::<i32>().unwrap(), [8, 2, 9, 4]);
        let y = Reduction::Add
            .scatter(&data, &[2, 0, 2], 1, &updates)
            .unwrap();
        assert_eq!(*y.data::<i32>().unwrap(), [9, 2, 19, 4]);
        assert!(
            Reduction::Add
                .scatter(&data, &[4, 0, 2], 1, &updates)
                .is_err()
        );
    }
}
