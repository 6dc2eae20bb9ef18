//! `MaxUnpool`: puts pooled elements back where `MaxPool`'s indices say they came from; zero elsewhere.
//! Indices count within the tensor that was pooled, of spatial sizes `(n - 1) * s - pads + k`; a
//! larger `output_shape` holds that tensor at its beginning.
//! <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>. Opset 22 adds bfloat16.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::window::Window;

/// The attributes of `MaxUnpool`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxUnpool {
    /// Kernel, strides and padding of the pooling that is undone.
    pub window: Window,
}

const RULE: &str =
    "the input must have as many spatial axes as the kernel, after batch and channel";

impl MaxUnpool {
    /// The shape of the tensor that was pooled.
    fn pooled_from(&self, x: &[Dim]) -> Option<Vec<Dim>> {
        let kernel = self.window.pooling_kernel();
        let [n, c, spatial @ ..] = x else {
            return None;
        };
        let fits = |len: usize| len == 0 || len == spatial.len();
        let pads_fit = self.window.pads.is_empty() || self.window.pads.len() == 2 * spatial.len();
        if kernel.len() != spatial.len() || !fits(self.window.strides.len()) || !pads_fit {
            return None;
        }
        let mut shape = vec![n.clone(), c.clone()];
        for (i, (n, k)) in spatial.iter().zip(kernel).enumerate() {
            let (begin, end) = self.window.pads_of(i);
            let steps = (n.clone() - Dim::Known(1)) * self.window.stride(i).into();
            shape.push(steps - begin.into() - end.into() + k);
        }
        Some(shape)
    }

    fn run<T: Element>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (x, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let dims: Vec<Dim> = x.shape().iter().map(|&d| d.into()).collect();
        let inferred = self
            .pooled_from(&dims)
            .and_then(|s| s.iter().map(Dim::as_size).collect::<Option<Vec<_>>>())
            .ok_or_else(|| EvalError::rule(RULE, format_args!("{:?}", x.shape())))?;
        let shape = match cx.ints(2)? {
            None => inferred.clone(),
            Some(given) => {
                let given: Option<Vec<usize>> =
                    given.iter().map(|&d| usize::try_from(d).ok()).collect();
                given
                    .filter(|g| {
                        g.len() == inferred.len() && g.iter().zip(&inferred).all(|(g, i)| g >= i)
                    })
                    .ok_or_else(|| {
                        EvalError::rule(
                            "output_shape must not be smaller than what was pooled",
                            format_args!("{inferred:?} was pooled"),
                        )
                    })?
            }
        };
        if indices.shape() != x.shape() {
            return Err(EvalError::rule(
                "there must be one index per element",
                format_args!("{:?} and {:?}", indices.shape(), x.shape()),
            ));
        }
        let count = cx.check_size(&inferred, T::DTYPE)?;
        let mut y = vec![T::default(); cx.check_size(&shape, T::DTYPE)?];
        for (&v, &i) in x.data::<T>()?.iter().zip(indices.data::<i64>()?.iter()) {
            let mut rest = usize::try_from(i)
                .ok()
                .filter(|&i| i < count)
                .ok_or_else(|| EvalError::rule("indices must lie within what was pooled", i))?;
            let (mut at, mut step) = (0, 1);
            for (&size, &wide) in inferred.iter().zip(&shape).rev() {
                at += rest % size * step;
                rest /= size;
                step *= wide;
            }
            y[at] = v;
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }
}

impl Operator for MaxUnpool {
    const SIGNATURE: Signature = Signature::onnx("MaxUnpool", &[9, 11, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        if cx.optional_input(2).is_some() {
            return Err(Unsupported(
                "an output shape of its own is not differentiated",
            ));
        }
        cx.give(0, cx.dy().reshape_to(&[-1]).gather(cx.input(1), 0));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let window = Window::parse(attrs)?;
        if window.kernel_shape.is_none() {
            return Err(AttrError::Missing {
                name: "kernel_shape",
            });
        }
        Ok(Self { window })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let shape = match (cx.fact(2), &x.shape) {
            (Some(_), _) => cx.elements(2),
            (None, None) => None,
            (None, Some(x)) => {
                let shape = self.pooled_from(x);
                Some(shape.ok_or_else(|| InferError::rule(RULE, format_args!("{x:?}")))?)
            }
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in floats => self.run::<T>(cx))?.into(),
        ])
    }
}
