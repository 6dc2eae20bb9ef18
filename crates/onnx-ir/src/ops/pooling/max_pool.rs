//! `MaxPool`: the greatest element of each window, and where it stands in the flattened input.
//! Padding never wins; of equal elements the first does.
//! <https://onnx.ai/onnx/operators/onnx__MaxPool.html>. Opset 8 adds `Indices` and `storage_order`, 10
//! `dilations` and `ceil_mode`, 12 8-bit integers, 22 bfloat16.

use super::sliding;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::window::{Window, WindowAxis};

/// The attributes of `MaxPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    /// Kernel, strides, dilations, padding and rounding.
    pub window: Window,
    /// Order in which indices count the positions of a plane.
    pub storage_order: StorageOrder,
}

/// Order in which indices count the positions of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageOrder {
    /// The last axis runs fastest.
    RowMajor,
    /// The first spatial axis runs fastest.
    ColumnMajor,
}

impl Operator for MaxPool {
    const SIGNATURE: Signature = Signature::onnx("MaxPool", &[1, 8, 10, 11, 12, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let node = cx.private_like("MaxPoolGrad");
        cx.give(0, cx.dy().apply(node, &[cx.input(0)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
            storage_order: if attrs.flag_or("storage_order", false)? {
                StorageOrder::ColumnMajor
            } else {
                StorageOrder::RowMajor
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let y = sliding::infer(&self.window, cx)?;
        let indices = TensorFact::with_shape(Some(DType::I64), y.shape.clone());
        Ok(vec![y.into(), indices.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let [y, indices] = dispatch!(dtype, T in numbers => self.run::<T>(cx))?;
        Ok(vec![y.into(), indices.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: None }
    }
}

impl MaxPool {
    fn run<T: Number>(&self, cx: &EvalContext<'_>) -> Result<[Tensor; 2], EvalError> {
        let x = cx.tensor(0)?;
        let (shape, axes) = sliding::axes(&self.window, x)?;
        let count = cx.check_size(&shape, DType::I64)?;
        let mut y: Vec<T> = Vec::with_capacity(count);
        let mut indices: Vec<i64> = Vec::with_capacity(count);
        if count > 0 {
            let x = x.data::<T>()?;
            sliding::for_each_window(shape[0] * shape[1], &axes, |plane, taps| {
                let mut best: Option<(T, usize)> = None;
                taps.for_each(|i| {
                    let v = x[plane + i];
                    if best.is_none_or(|(b, _)| v > b || b.is_not_a_number()) {
                        best = Some((v, i));
                    }
                });
                // Of no elements, in a window of padding alone, the greatest is the neutral one.
                let (v, i) = best.unwrap_or((T::LOWEST, 0));
                y.push(v);
                indices.push((plane + self.number(&axes, i)) as i64);
            });
        }
        Ok([
            Tensor::from_vec(&shape, y)?,
            Tensor::from_vec(&shape, indices)?,
        ])
    }

    /// The number of a position within its plane.
    fn number(&self, axes: &[WindowAxis], position: usize) -> usize {
        if self.storage_order == StorageOrder::RowMajor {
            return position;
        }
        let (mut rest, mut number) = (position, 0);
        for (i, axis) in axes.iter().enumerate().rev() {
            let before: usize = axes[..i].iter().map(|a| a.input).product();
            number += rest % axis.input * before;
            rest /= axis.input;
        }
        number
    }
}
