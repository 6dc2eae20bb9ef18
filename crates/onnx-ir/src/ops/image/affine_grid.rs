//! `AffineGrid`: sampling coordinates of an affine map: `theta [n, d, d + 1]` applied to the normalised
//! coordinates of each pixel of a `[n, c, spatial..]` image, for `d` = 2 or 3.
//! <https://onnx.ai/onnx/operators/onnx__AffineGrid.html>; Jaderberg et al., arXiv:1506.02025.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// The attributes of `AffineGrid`.
#[derive(Clone, Debug, PartialEq)]
pub struct AffineGrid {
    /// Whether -1 and 1 are the centres of the corner pixels, else their outer edges.
    pub align_corners: bool,
}

const RULE: &str = "theta must be [n, d, d + 1], size [n, c, ..] with d sizes more, d 2 or 3";

impl Operator for AffineGrid {
    const SIGNATURE: Signature = Signature::onnx("AffineGrid", &[20]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let theta = cx.input(0);
        let sizes = cx.input(1).dims();
        let axes = sizes.and_then(|d| d.first()?.as_size()?.checked_sub(2));
        let axes = axes.filter(|axes| (2..=3).contains(axes));
        let axes = axes.ok_or(Unsupported("the number of spatial axes is not known"))?;
        // The grid of the identity is that of the positions themselves.
        let mut identity = vec![0.0; axes * (axes + 1)];
        for axis in 0..axes {
            identity[axis * (axes + 1) + axis] = 1.0;
        }
        let identity = Tensor::from_vec(&[1, axes, axes + 1], identity);
        let identity = identity.map_err(|_| Unsupported("it has too many spatial axes"))?;
        let identity = cx.tensor(identity).cast_like(theta).expand(theta.shape());
        let columns = axes as i64;
        let places = cx
            .again(&[Some(identity), Some(cx.input(1))])
            .reshape_to(&[0, -1, columns]);
        let adjoint = cx.dy().reshape_to(&[0, -1, columns]);
        let linear = adjoint.swap_last().matmul(places);
        let shift = adjoint.sum(&[1], false).unsqueeze(&[2]);
        cx.give(0, linear.concat(&[shift], 2));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            align_corners: attrs.flag_or("align_corners", false)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let theta = cx.tensor(0)?;
        cx.tensor(1)?;
        let shape = match cx.elements(1) {
            None => None,
            Some(size) if matches!(size.len(), 4 | 5) => {
                let spatial = size.len() - 2;
                Some([&size[..1], &size[2..], &[spatial.into()]].concat())
            }
            Some(size) => return Err(InferError::rule(RULE, size.len())),
        };
        Ok(vec![TensorFact::with_shape(theta.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let theta = cx.tensor(0)?;
        let size = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, {size:?}", theta.shape()));
        let sizes: Option<Vec<usize>> = size.iter().map(|&s| usize::try_from(s).ok()).collect();
        let sizes = sizes
            .filter(|s| matches!(s.len(), 4 | 5))
            .ok_or_else(wrong)?;
        let (batch, spatial) = (sizes[0], &sizes[2..]);
        let d = spatial.len();
        if theta.shape() != [batch, d, d + 1] {
            return Err(wrong());
        }
        let shape = [&[batch], spatial, &[d]].concat();
        let count = cx.check_size(&shape, theta.dtype())?;
        let grid = dispatch!(theta.dtype(), T in floats => {
            let data = theta.data::<T>()?;
            let mut out = Vec::with_capacity(count);
            let pixels: usize = spatial.iter().product();
            for n in 0..batch {
                let matrix = &data[n * d * (d + 1)..(n + 1) * d * (d + 1)];
                for pixel in 0..pixels {
                    let point = self.point(spatial, pixel);
                    out.extend(matrix.chunks_exact(d + 1).map(|row| {
                        let terms = row.iter().zip(point.iter().chain(&[1.0]));
                        T::from_f64(terms.map(|(w, x)| w.to_f64() * x).sum())
                    }));
                }
            }
            Ok::<Tensor, EvalError>(Tensor::from_vec(&shape, out)?)
        })?;
        Ok(vec![grid.into()])
    }
}

impl AffineGrid {
    /// The normalised coordinates of a pixel, innermost axis first.
    fn point(&self, spatial: &[usize], pixel: usize) -> Vec<f64> {
        let mut rest = pixel;
        let coordinate = |&size: &usize| {
            let i = (rest % size) as f64;
            rest /= size;
            match (self.align_corners, size) {
                (true, 1) => -1.0,
                (true, _) => -1.0 + 2.0 * i / (size as f64 - 1.0),
                (false, _) => -1.0 + (2.0 * i + 1.0) / size as f64,
            }
        };
        spatial.iter().rev().map(coordinate).collect()
    }
}
