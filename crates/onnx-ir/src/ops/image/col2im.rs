//! `Col2Im`: adds the columns of `[n, c * block, positions]` back into the image that `im2col` took them
//! from: overlapping blocks are summed.
//! <https://onnx.ai/onnx/operators/onnx__Col2Im.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// The attributes of `Col2Im`.
#[derive(Clone, Debug, PartialEq)]
pub struct Col2Im {
    /// Dilation for each spatial axis; 1 where not given.
    pub dilations: Option<Vec<i64>>,
    /// Pads `[begins.., ends..]`; 0 where not given.
    pub pads: Option<Vec<i64>>,
    /// Stride for each spatial axis; 1 where not given.
    pub strides: Option<Vec<i64>>,
}

const RULE: &str = "columns, image, block, strides, dilations and pads must fit each other";

impl Operator for Col2Im {
    const SIGNATURE: Signature = Signature::onnx("Col2Im", &[18]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dilations: attrs.ints_opt("dilations")?,
            pads: attrs.ints_opt("pads")?,
            strides: attrs.ints_opt("strides")?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        cx.tensor(2)?;
        let lengths = [&self.dilations, &self.strides].map(|list| list.as_ref().map(Vec::len));
        let pads = self.pads.as_ref().map(|pads| pads.len() / 2);
        let axes = lengths.into_iter().flatten().chain(pads).next();
        let image = cx.elements(1).or(axes.map(|axes| vec![Dim::Unknown; axes]));
        let shape = match (&x.shape, image) {
            (Some(dims), Some(image)) => {
                let [n, channels, _] = dims.as_slice() else {
                    return Err(InferError::rule(RULE, &x));
                };
                let block = cx.elements(2).unwrap_or_else(|| vec![Dim::Unknown]);
                let block = block.into_iter().fold(Dim::Known(1), |a, d| a * d);
                Some([&[n.clone(), channels.floor_div(&block)], image.as_slice()].concat())
            }
            _ => None,
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let image = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let block = cx.ints(2)?.ok_or(EvalError::MissingInput { index: 2 })?;
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, {image:?}, {block:?}", x.shape()));
        let axes = self.axes(&image, &block).ok_or_else(wrong)?;
        let block_size = element_count(&Vec::from_iter(axes.iter().map(|a| a.block)));
        let positions = element_count(&Vec::from_iter(axes.iter().map(|a| a.positions)));
        let (Some(block_size), Some(positions)) = (block_size, positions) else {
            return Err(wrong());
        };
        let &[n, channels, columns] = x.shape() else {
            return Err(wrong());
        };
        if block_size == 0 || channels % block_size != 0 || columns != positions {
            return Err(wrong());
        }
        let c = channels / block_size;
        let shape = [vec![n, c], axes.iter().map(|a| a.image).collect()].concat();
        let count = cx.check_size(&shape, x.dtype())?;
        let y = dispatch!(x.dtype(), T in numbers => {
            let data = x.data::<T>()?;
            let mut out = vec![T::ZERO; count];
            let plane = count.checked_div(n * c).unwrap_or(0);
            for (row, values) in data.chunks_exact(columns.max(1)).enumerate() {
                let (image, offset) = (row / block_size * plane, row % block_size);
                for (position, &value) in values.iter().enumerate() {
                    if let Some(pixel) = pixel(&axes, offset, position) {
                        let sum = &mut out[image + pixel];
                        *sum = sum.plus(value);
                    }
                }
            }
            Ok::<Tensor, EvalError>(Tensor::from_vec(&shape, out)?)
        });
        Ok(vec![y?.into()])
    }
}

/// One spatial axis.
struct Axis {
    image: usize,
    block: usize,
    stride: i64,
    dilation: i64,
    begin: i64,
    /// Positions that the block takes along the axis.
    positions: usize,
}

impl Col2Im {
    fn axes(&self, image: &[i64], block: &[i64]) -> Option<Vec<Axis>> {
        let rank = image.len();
        let or = |given: &Option<Vec<i64>>, default: i64, len: usize| {
            let list = given.clone().unwrap_or_else(|| vec![default; len]);
            (list.len() == len).then_some(list)
        };
        let (strides, dilations) = (or(&self.strides, 1, rank)?, or(&self.dilations, 1, rank)?);
        let pads = or(&self.pads, 0, rank.checked_mul(2)?)?;
        if block.len() != rank {
            return None;
        }
        let axis = |i: usize| {
            let (stride, dilation) = (strides[i], dilations[i]);
            if stride <= 0 || dilation <= 0 || block[i] <= 0 || pads[i] < 0 || pads[rank + i] < 0 {
                return None;
            }
            let padded = image[i].checked_add(pads[i])?.checked_add(pads[rank + i])?;
            let extent = dilation.checked_mul(block[i] - 1)?.checked_add(1)?;
            let room = padded.checked_sub(extent).filter(|&r| r >= 0)?;
            Some(Axis {
                image: usize::try_from(image[i]).ok()?,
                block: usize::try_from(block[i]).ok()?,
                stride,
                dilation,
                begin: pads[i],
                positions: usize::try_from(room / stride + 1).ok()?,
            })
        };
        (0..rank).map(axis).collect()
    }
}

/// The pixel that an element of a block meets at a position; `None` in the padding.
fn pixel(axes: &[Axis], offset: usize, position: usize) -> Option<usize> {
    let (mut offset, mut position) = (offset, position);
    let (mut pixel, mut step) = (0, 1);
    for axis in axes.iter().rev() {
        let within = (offset % axis.block) as i64 * axis.dilation;
        let at = (position % axis.positions) as i64 * axis.stride + within - axis.begin;
        let at = usize::try_from(at).ok().filter(|&p| p < axis.image)?;
        pixel += at * step;
        step *= axis.image;
        offset /= axis.block;
        position /= axis.positions;
    }
    Some(pixel)
}
