//! `NonMaxSuppression`: per batch and class, takes boxes by falling score and leaves out those whose
//! intersection over union with one taken before is above `iou_threshold`. The result lists
//! `[batch, class, box]`.
//! <https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html>

use crate::operator::prelude::*;

/// The attributes of `NonMaxSuppression`.
#[derive(Clone, Debug, PartialEq)]
pub struct NonMaxSuppression {
    /// What the four numbers of a box are.
    pub format: BoxFormat,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxFormat {
    /// `[y1, x1, y2, x2]` of any two opposite corners.
    Corners,
    /// `[x_center, y_center, width, height]`.
    Center,
}

impl Operator for NonMaxSuppression {
    const SIGNATURE: Signature = Signature::onnx("NonMaxSuppression", &[10, 11]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            format: if attrs.flag_or("center_point_box", false)? {
                BoxFormat::Center
            } else {
                BoxFormat::Corners
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let selected = cx.fresh_symbol();
        let shape = vec![selected, 3i64.into()];
        Ok(vec![
            TensorFact::with_shape(Some(DType::I64), Some(shape)).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (boxes, scores) = (cx.tensor(0)?, cx.tensor(1)?);
        let (&[batch, count, 4], &[score_batch, classes, score_count]) =
            (boxes.shape(), scores.shape())
        else {
            return Err(shape_error(boxes, scores));
        };
        if batch != score_batch || count != score_count {
            return Err(shape_error(boxes, scores));
        }
        let most = cx.ints(2)?.and_then(|m| m.first().copied()).unwrap_or(0);
        let most = usize::try_from(most).unwrap_or(0);
        let iou_threshold = scalar(cx, 3)?.unwrap_or(0.0);
        let score_threshold = scalar(cx, 4)?;
        let (boxes, scores) = (boxes.data::<f32>()?, scores.data::<f32>()?);
        let mut selected: Vec<i64> = Vec::new();
        let pairs = if scores.is_empty() {
            0
        } else {
            batch * classes
        };
        for pair in 0..pairs {
            let (b, class) = (pair / classes, pair % classes);
            let boxes = &boxes[b * count * 4..(b + 1) * count * 4];
            let area = |i: usize| self.area(&boxes[i * 4..i * 4 + 4]);
            let scores = &scores[pair * count..(pair + 1) * count];
            let mut order: Vec<usize> = (0..count)
                .filter(|&i| score_threshold.is_none_or(|t| scores[i] > t))
                .collect();
            // The sort is stable: of equal scores the lower index comes first.
            order.sort_by(|&i, &j| scores[j].total_cmp(&scores[i]));
            let mut taken: Vec<Area> = Vec::new();
            for i in order {
                if taken.len() >= most {
                    break;
                }
                let candidate = area(i);
                if taken.iter().all(|t| candidate.overlap(t) <= iou_threshold) {
                    taken.push(candidate);
                    selected.extend([b as i64, class as i64, i as i64]);
                }
            }
        }
        Ok(vec![
            Tensor::from_vec(&[selected.len() / 3, 3], selected)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("box coordinates need more than 8 bits")
    }
}

fn shape_error(boxes: &Tensor, scores: &Tensor) -> EvalError {
    EvalError::rule(
        "boxes must be [batch, n, 4], scores [batch, classes, n]",
        format_args!("{:?} and {:?}", boxes.shape(), scores.shape()),
    )
}

fn scalar(cx: &EvalContext<'_>, index: usize) -> Result<Option<f32>, EvalError> {
    match cx.optional_tensor(index)? {
        None => Ok(None),
        Some(tensor) => Ok(tensor.data::<f32>()?.first().copied()),
    }
}

/// A box by its least and greatest coordinates.
#[derive(Clone, Copy)]
struct Area {
    x: [f32; 2],
    y: [f32; 2],
}

impl Area {
    fn size(&self) -> f32 {
        (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])
    }

    /// The intersection over the union; 0 where either is empty.
    fn overlap(&self, other: &Area) -> f32 {
        let common = |a: [f32; 2], b: [f32; 2]| a[1].min(b[1]) - a[0].max(b[0]);
        let (width, height) = (common(self.x, other.x), common(self.y, other.y));
        if !(width > 0.0 && height > 0.0) {
            return 0.0;
        }
        let intersection = width * height;
        let (a, b) = (self.size(), other.size());
        let union = a + b - intersection;
        if !(intersection > 0.0 && a > 0.0 && b > 0.0 && union > 0.0) {
            return 0.0;
        }
        intersection / union
    }
}

impl NonMaxSuppression {
    fn area(&self, numbers: &[f32]) -> Area {
        let &[a, b, c, d] = numbers else {
            return Area {
                x: [0.0; 2],
                y: [0.0; 2],
            };
        };
        match self.format {
            BoxFormat::Corners => Area {
                x: [b.min(d), b.max(d)],
                y: [a.min(c), a.max(c)],
            },
            BoxFormat::Center => Area {
                x: [a - c / 2.0, a + c / 2.0],
                y: [b - d / 2.0, b + d / 2.0],
            },
        }
    }
}
