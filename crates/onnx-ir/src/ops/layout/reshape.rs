//! `Reshape`: the same elements in another shape. In the shape, `-1` is the size that is left over, and
//! `0` copies the input's dimension unless `allowzero` is set.
//! <https://onnx.ai/onnx/operators/onnx__Reshape.html>
//!
//! Opset 5 made the shape an input; opset 14 added `allowzero`.

use crate::operator::prelude::*;
use crate::ops::partial;

/// The attributes of `Reshape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// Whether a 0 in the shape is a size of 0.
    pub allow_zero: bool,
    /// The shape, where it is an attribute (before opset 5).
    pub shape: Option<Vec<i64>>,
}

impl Operator for Reshape {
    const SIGNATURE: Signature = Signature::onnx("Reshape", &[1, 5, 13, 14, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().reshape_like(cx.input(0)));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() < 5 {
            attrs.ignore("consumed_inputs");
            return Ok(Self {
                allow_zero: false,
                shape: Some(attrs.ints("shape")?),
            });
        }
        Ok(Self {
            allow_zero: attrs.flag_or("allowzero", false)?,
            shape: None,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let target = match &self.shape {
            Some(shape) => Some(shape.iter().map(|&d| d.into()).collect()),
            None => {
                cx.tensor(1)?;
                cx.elements(1)
            }
        };
        let shape = match target {
            Some(target) => Some(self.symbolic_shape(x.shape.as_deref(), target)?),
            None => None,
        };
        let output = TensorFact::with_shape(x.dtype, shape);
        Ok(vec![partial::same_elements(output, &x).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let target = match &self.shape {
            Some(shape) => shape.clone(),
            None => cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?,
        };
        let shape = self.concrete_shape(x.shape(), &target).ok_or_else(|| {
            EvalError::rule(
                "the new shape must have as many elements",
                format_args!("{:?} to {target:?}", x.shape()),
            )
        })?;
        Ok(vec![x.reshape(&shape)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

impl Reshape {
    fn concrete_shape(&self, input: &[usize], target: &[i64]) -> Option<Vec<usize>> {
        // With `allowzero` a size of 0 is meant, and says nothing of the one that is left open: ONNX forbids both.
        if self.allow_zero && target.contains(&0) && target.contains(&-1) {
            return None;
        }
        let mut shape = Vec::with_capacity(target.len());
        let mut rest = None;
        for (i, &d) in target.iter().enumerate() {
            shape.push(match d {
                0 if !self.allow_zero => *input.get(i)?,
                -1 if rest.replace(i).is_none() => 1,
                d => usize::try_from(d).ok()?,
            });
        }
        let total = element_count(input)?;
        if let Some(i) = rest {
            let known = element_count(&shape)?;
            // Nothing is left over of a size of 0: any size would do, 0 is what runtimes take.
            shape[i] = total.checked_div(known).unwrap_or(0);
        }
        (element_count(&shape)? == total).then_some(shape)
    }

    fn symbolic_shape(
        &self,
        input: Option<&[Dim]>,
        target: Vec<Dim>,
    ) -> Result<Vec<Dim>, InferError> {
        let mut shape = target;
        let mut rest = None;
        let mut copied = Vec::new();
        for (i, d) in shape.iter_mut().enumerate() {
            match d.as_known() {
                Some(0) if !self.allow_zero => {
                    copied.push(i);
                    *d = match input.map(|dims| dims.get(i)) {
                        None => Dim::Unknown,
                        Some(Some(dim)) => dim.clone(),
                        Some(None) => {
                            return Err(InferError::rule(
                                "a 0 in the shape must copy a dimension that is there",
                                format_args!("axis {i}"),
                            ));
                        }
                    };
                }
                Some(-1) if rest.is_none() => rest = Some(i),
                Some(n) if n < 0 => {
                    return Err(InferError::rule("a shape may hold one -1, else sizes", n));
                }
                _ => {}
            }
        }
        // One element of which nothing is known is what is left over, too.
        let unknown = |i: &usize| shape[*i].is_unknown() && !copied.contains(i);
        let rest = match (
            rest,
            (0..shape.len())
                .filter(unknown)
                .collect::<Vec<_>>()
                .as_slice(),
        ) {
            (Some(rest), []) => Some(rest),
            (None, &[only]) => Some(only),
            (Some(rest), _) => {
                shape[rest] = Dim::Unknown;
                None
            }
            _ => None,
        };
        let Some(input) = input else {
            rest.into_iter().for_each(|i| shape[i] = Dim::Unknown);
            return Ok(shape);
        };
        let all_known = |dims: &[Dim]| dims.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>();
        match rest {
            Some(rest) => shape[rest] = left_over(input, &shape, rest, &copied),
            None => {
                // A product too large to be counted is `None`, and differs from every other.
                let product = |dims: Vec<i64>| {
                    let is_empty = dims.contains(&0);
                    let mut dims = dims
                        .iter()
                        .map(|&d| if is_empty { 0 } else { i128::from(d) });
                    dims.try_fold(1i128, |n, d| n.checked_mul(d))
                };
                if let (Some(a), Some(b)) = (all_known(input), all_known(&shape))
                    && product(a) != product(b)
                {
                    return Err(InferError::rule(
                        "the new shape must have as many elements",
                        format_args!("{} to {}", list(input), list(&shape)),
                    ));
                }
            }
        }
        Ok(shape)
    }
}

/// The product of `input` divided by that of `shape` without `rest`; dimensions that stand in both
/// (those that were copied first of all) cancel even where they are unknown.
fn left_over(input: &[Dim], shape: &[Dim], rest: usize, copied: &[usize]) -> Dim {
    let numerator = input.iter().enumerate();
    let mut numerator: Vec<Dim> = numerator
        .filter(|(i, _)| !copied.contains(i))
        .map(|(_, d)| d.clone())
        .collect();
    let mut denominator = Dim::Known(1);
    for (i, d) in shape.iter().enumerate() {
        if i == rest || copied.contains(&i) {
            continue;
        }
        match numerator.iter().position(|n| n.is_same(d)) {
            Some(at) => drop(numerator.remove(at)),
            None => denominator = denominator * d.clone(),
        }
    }
    let product = numerator.into_iter().fold(Dim::Known(1), |a, d| a * d);
    match (product.as_known(), denominator.as_known()) {
        (Some(0), _) | (_, Some(0)) => Dim::Known(0),
        _ => product.floor_div(&denominator),
    }
}

fn list(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESHAPE: Reshape = Reshape {
        allow_zero: false,
        shape: None,
    };

    fn infer(input: &[Dim], target: &[Dim]) -> String {
        list(
            &RESHAPE
                .symbolic_shape(Some(input), target.to_vec())
                .unwrap(),
        )
    }

    #[test]
    fn minus_one_cancels_symbols() {
        let (b, s) = (Dim::symbol("b"), Dim::symbol("s"));
        let x = [b.clone(), s.clone(), 384i64.into()];
        assert_eq!(
            infer(&x, &[b.clone(), (-1i64).into(), 12i64.into(), 32i64.into()]),
            "[b, s, 12, 32]"
        );
        assert_eq!(infer(&x, &[(-1i64).into(), 384i64.into()]), "[b*s, 384]");
        assert_eq!(
            infer(&x, &[0i64.into(), 0i64.into(), (-1i64).into()]),
            "[b, s, 384]"
        );
    }

    #[test]
    fn unknown_dimensions_cancel_where_they_are_copied() {
        let x = [Dim::Unknown, 6i64.into()];
        assert_eq!(
            infer(&x, &[0i64.into(), (-1i64).into(), 2i64.into()]),
            "[?, 3, 2]"
        );
        assert_eq!(infer(&x, &[(-1i64).into(), 2i64.into()]), "[?, 2]");
    }

    #[test]
    fn zero_is_a_size_only_where_allowed() {
        assert_eq!(RESHAPE.concrete_shape(&[2, 3], &[0, -1]), Some(vec![2, 3]));
        assert_eq!(RESHAPE.concrete_shape(&[0, 3], &[3, 0]), None);
        let zero = Reshape {
            allow_zero: true,
            shape: None,
        };
        assert_eq!(zero.concrete_shape(&[0, 3], &[3, 0]), Some(vec![3, 0]));
        assert_eq!(RESHAPE.concrete_shape(&[2, 3], &[4, -1]), None);
        assert_eq!(RESHAPE.concrete_shape(&[2, 3], &[-1, -1]), None);
    }
}
