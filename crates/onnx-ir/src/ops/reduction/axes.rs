//! Which axes a reduction reduces: an attribute in older opsets, an input in newer ones.

use crate::operator::prelude::*;
use crate::ops::axis;

/// The attributes that all reductions share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReduceAxes {
    /// The axes, where they are an attribute.
    pub axes: Option<Vec<i64>>,
    /// Whether reduced axes stay, with size 1.
    pub keep_dims: bool,
    /// Whether no axes means that nothing is reduced, rather than everything.
    pub noop_with_empty_axes: bool,
}

impl ReduceAxes {
    /// Reads `axes` (an input instead from version `axes_input_since` of the operator on),
    /// `keepdims` and `noop_with_empty_axes`.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`].
    pub fn parse(attrs: &mut Attrs<'_>, axes_input_since: u32) -> Result<Self, AttrError> {
        let input = attrs.version() >= axes_input_since;
        Ok(Self {
            axes: if input { None } else { attrs.ints_opt("axes")? },
            keep_dims: attrs.flag_or("keepdims", true)?,
            noop_with_empty_axes: input && attrs.flag_or("noop_with_empty_axes", false)?,
        })
    }

    /// The fact of the reduced tensor, without its value.
    pub(super) fn infer(&self, cx: &InferContext<'_>) -> Result<TensorFact, InferError> {
        let x = cx.tensor(0)?;
        let Some(dims) = &x.shape else {
            return Ok(TensorFact::of_dtype(x.dtype));
        };
        let axes = match (&self.axes, cx.fact(1)) {
            (Some(axes), _) => Some(axes.clone()),
            (None, None) => Some(Vec::new()),
            (None, Some(_)) => cx.const_ints(1),
        };
        let Some(axes) = axes else {
            return Ok(TensorFact::with_shape(x.dtype, self.unknown_axes(cx, dims)));
        };
        let reduced = self.mask(&axes, dims.len(), axis::infer)?;
        let dims = dims.iter().zip(reduced);
        let shape = dims.filter_map(|(d, reduced)| match (reduced, self.keep_dims) {
            (false, _) => Some(d.clone()),
            (true, true) => Some(1i64.into()),
            (true, false) => None,
        });
        Ok(TensorFact::with_shape(x.dtype, Some(shape.collect())))
    }

    /// The shape where the axes are not known: the rank at least, if they stay or their number is
    /// known.
    fn unknown_axes(&self, cx: &InferContext<'_>, dims: &[Dim]) -> Option<Vec<Dim>> {
        if self.keep_dims {
            return Some(vec![Dim::Unknown; dims.len()]);
        }
        let count = cx.elements(1)?.len();
        if count == 0 {
            return None;
        }
        Some(vec![Dim::Unknown; dims.len().checked_sub(count)?])
    }

    /// For every axis of the input of an evaluation, whether it is reduced.
    pub(super) fn reduced(&self, cx: &EvalContext<'_>) -> Result<Vec<bool>, EvalError> {
        let axes = match &self.axes {
            Some(axes) => axes.clone(),
            None => cx.ints(1)?.unwrap_or_default(),
        };
        self.mask(&axes, cx.tensor(0)?.rank(), axis::eval)
    }

    fn mask<E>(
        &self,
        axes: &[i64],
        rank: usize,
        resolve: fn(i64, usize) -> Result<usize, E>,
    ) -> Result<Vec<bool>, E> {
        let all = axes.is_empty() && !self.noop_with_empty_axes;
        let mut mask = vec![all; rank];
        for &axis in axes {
            mask[resolve(axis, rank)?] = true;
        }
        Ok(mask)
    }
}
