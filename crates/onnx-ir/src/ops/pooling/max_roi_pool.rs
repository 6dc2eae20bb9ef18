//! `MaxRoiPool`: the greatest element of each bin of each region; regions are rounded to whole
//! positions and divided into `pooled_shape` bins. An empty bin gives 0.
//! <https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html>; Girshick, arXiv:1504.08083. Opset 22 adds
//! bfloat16.

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `MaxRoiPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxRoiPool {
    /// Bins per region: rows and columns.
    pub pooled_shape: [usize; 2],
    /// From the coordinates of the regions to those of the input.
    pub spatial_scale: f32,
}

const RULE: &str = "the input must be [N, C, H, W], the regions [R, 5]";

impl Operator for MaxRoiPool {
    const SIGNATURE: Signature = Signature::onnx("MaxRoiPool", &[1, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let pooled = attrs.ints("pooled_shape")?;
        let sizes: Option<Vec<usize>> = pooled
            .iter()
            .map(|&n| usize::try_from(n).ok().filter(|&n| n > 0))
            .collect();
        let Some(&[rows, columns]) = sizes.as_deref() else {
            return Err(AttrError::Invalid {
                name: "pooled_shape",
                found: format!("{pooled:?}"),
                rule: "it must be two positive sizes",
            });
        };
        Ok(Self {
            pooled_shape: [rows, columns],
            spatial_scale: attrs.f32_or("spatial_scale", 1.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, rois) = (cx.tensor(0)?, cx.tensor(1)?);
        let regions = match rois.shape.as_deref() {
            None => Dim::Unknown,
            Some([r, _]) => r.clone(),
            Some(other) => return Err(InferError::rule(RULE, format_args!("{other:?}"))),
        };
        let channels = match x.shape.as_deref() {
            None => Dim::Unknown,
            Some([_, c, _, _]) => c.clone(),
            Some(other) => return Err(InferError::rule(RULE, format_args!("{other:?}"))),
        };
        let [rows, columns] = self.pooled_shape;
        let shape = vec![regions, channels, rows.into(), columns.into()];
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in floats => self.run::<T>(cx))?.into(),
        ])
    }
}

impl MaxRoiPool {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (x, rois) = (cx.tensor(0)?, cx.tensor(1)?);
        let (&[n, c, height, width], &[regions, 5]) = (x.shape(), rois.shape()) else {
            let found = format!("{:?}, {:?}", x.shape(), rois.shape());
            return Err(EvalError::rule(RULE, found));
        };
        let [rows, columns] = self.pooled_shape;
        let shape = [regions, c, rows, columns];
        let mut y = Vec::with_capacity(cx.check_size(&shape, T::DTYPE)?);
        let (x, rois) = (x.data::<T>()?, rois.data::<T>()?);
        for roi in rois.chunks_exact(5) {
            let image = roi[0].widen();
            if !(image >= 0.0 && image < n as f64) {
                return Err(EvalError::rule(
                    "a region's image must be in the batch",
                    image,
                ));
            }
            let image = image as usize;
            let corner = |i: usize| (roi[i].widen() * f64::from(self.spatial_scale)).round();
            let across = bins(corner(1), corner(3), columns, width);
            let down = bins(corner(2), corner(4), rows, height);
            for channel in 0..c {
                let plane = &x[(image * c + channel) * height * width..][..height * width];
                for rows in &down {
                    for columns in &across {
                        let bin = rows
                            .clone()
                            .flat_map(|r| &plane[r * width..][columns.clone()]);
                        let best = bin.map(|v| v.widen()).reduce(f64::max);
                        y.push(T::narrow(best.unwrap_or(0.0)));
                    }
                }
            }
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }
}

/// The positions of each bin along one axis, between two rounded corners.
fn bins(start: f64, end: f64, count: usize, size: usize) -> Vec<std::ops::Range<usize>> {
    let step = (end - start + 1.0).max(1.0) / count as f64;
    // Conversion saturates: positions before the input become 0.
    let place = |v: f64| ((v + start) as usize).min(size);
    (0..count)
        .map(|i| {
            let begin = place((i as f64 * step).floor());
            begin..place(((i + 1) as f64 * step).ceil()).max(begin)
        })
        .collect()
}
