//! The axes of softmaxes. Since opset 13 they run along one axis; before, the tensor was taken as a matrix
//! and they ran along all axes from the given one on.

use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::elementwise::unary;
use crate::ops::lanes::Lanes;

/// The axes that a softmax runs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftmaxAxis {
    /// This one.
    Along(i64),
    /// This one and all after it, as one.
    From(i64),
}

impl SoftmaxAxis {
    /// Reads `axis` in the sense of the operator's version.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`].
    pub fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(if attrs.version() < 13 {
            Self::From(attrs.int_or("axis", 1)?)
        } else {
            Self::Along(attrs.int_or("axis", -1)?)
        })
    }

    /// The axis, of an operator of opset 13 or later, which is all that gradients are built for.
    ///
    /// # Errors
    /// [`Unsupported`] for several axes.
    pub fn single(self) -> Result<i64, Unsupported> {
        match self {
            Self::Along(axis) => Ok(axis),
            Self::From(_) => Err(Unsupported("it runs along several axes")),
        }
    }

    /// The output has the type and shape of the input.
    ///
    /// # Errors
    /// [`InferError::Rule`] for an axis outside of the rank.
    pub fn infer(self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        if let (Some(rank), Self::Along(axis)) = (cx.tensor(0)?.rank(), self) {
            axis::infer(axis, rank)?;
        }
        unary::infer(cx)
    }

    /// `f` applied to every lane of input 0, in f64.
    ///
    /// # Errors
    /// [`EvalError::Rule`] for an axis outside of the rank; [`EvalError::DType`] for what is no float.
    pub fn map(
        self,
        cx: &EvalContext<'_>,
        f: impl FnMut(&mut [f64]),
    ) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        Ok(vec![self.lanes(x.shape())?.map(x, f)?.into()])
    }

    fn lanes(self, shape: &[usize]) -> Result<Lanes, EvalError> {
        let rank = shape.len();
        Ok(match self {
            Self::Along(axis) => {
                let axis = axis::eval(axis, rank)?;
                Lanes::new(shape, axis, axis + 1)
            }
            // A tensor of one axis with the default axis 1 is a matrix of one column.
            Self::From(axis) if usize::try_from(axis) == Ok(rank) => Lanes::new(shape, rank, rank),
            Self::From(axis) => Lanes::new(shape, axis::eval(axis, rank)?, rank),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_softmaxes_run_over_all_axes_from_theirs_on() {
        let shape = [2, 3, 4];
        let len = |axis: SoftmaxAxis| axis.lanes(&shape).map(|l| (l.outer, l.len, l.inner));
        assert_eq!(len(SoftmaxAxis::From(1)), Ok((2, 12, 1)));
        assert_eq!(len(SoftmaxAxis::From(3)), Ok((24, 1, 1)));
        assert_eq!(len(SoftmaxAxis::Along(1)), Ok((2, 3, 4)));
        assert!(len(SoftmaxAxis::Along(3)).is_err());
    }
}
