//! Which axes a reduction reduces: an attribute in older opsets, an input in newer ones.

use crate::operator::prelude::*;
use crate::ops::axis;
use crate::rewrite::NewNode;

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

    /// A value of the reduced shape with the reduced axes put in again, as far as broadcasting needs them.
    pub(super) fn kept<'g>(&self, cx: &GradientContext<'g>, reduced: Var<'g>) -> Var<'g> {
        if self.keep_dims {
            return reduced;
        }
        let axes = match (&self.axes, cx.optional_input(1)) {
            (Some(axes), _) => Some(axes.clone()),
            (None, None) => Some(Vec::new()),
            (None, Some(axes)) => axes.const_ints(),
        };
        match axes {
            // A scalar, or nothing was reduced.
            Some(axes) if axes.is_empty() => reduced,
            Some(axes) => reduced.unsqueeze(&axes),
            None => {
                let node = NewNode::new("ReduceSum")
                    .with("keepdims", 1i64)
                    .with("noop_with_empty_axes", i64::from(self.noop_with_empty_axes));
                let inputs = [Some(cx.input(0)), cx.optional_input(1)];
                reduced.reshape_like(cx.apply(node, &inputs))
            }
        }
    }

    /// How many elements of `x` each element of `y` was reduced from, as a scalar that [`Var::over`] divides by.
    pub(super) fn each<'g>(&self, x: Var<'g>, y: Var<'g>) -> Var<'g> {
        let count = |v: Var<'_>| element_count(&v.fact().sizes()?);
        match (count(x), count(y)) {
            (Some(all), Some(left)) if left > 0 => x.count((all / left) as f64),
            _ => x.count_of(x.size()) / x.count_of(y.size()),
        }
    }

    /// Gives the adjoint to the elements that are equal to what they were reduced to, in equal parts where several are.
    pub(super) fn give_to_extremes(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
        let x = cx.input(0);
        let y = self.kept(cx, cx.output(0));
        let hits = x.equals(y).cast_like(x);
        let total = hits.reduce_to(y);
        cx.give(0, hits * (self.kept(cx, cx.dy()) / total));
        Ok(())
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
