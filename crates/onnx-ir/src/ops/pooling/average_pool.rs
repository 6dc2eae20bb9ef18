//! `AveragePool`: the mean of each window. Padding counts as zeros with `count_include_pad`, else not
//! at all; windows that reach beyond the padding (`ceil_mode`) count only what lies within it.
//! <https://onnx.ai/onnx/operators/onnx__AveragePool.html>. Opset 7 adds `count_include_pad`, 10
//! `ceil_mode`, 19 `dilations`, 22 bfloat16.

use super::sliding;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::Window;

/// The attributes of `AveragePool`.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    /// Kernel, strides, dilations, padding and rounding.
    pub window: Window,
    /// Whether padding counts.
    pub count_include_pad: bool,
}

impl Operator for AveragePool {
    const SIGNATURE: Signature = Signature::onnx("AveragePool", &[1, 7, 10, 11, 19, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let node = cx.private_like("AveragePoolGrad");
        cx.give(0, cx.dy().apply(node, &[cx.input(0).shape()]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
            count_include_pad: attrs.flag_or("count_include_pad", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![sliding::infer(&self.window, cx)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in floats => self.run::<T>(cx))?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}

impl AveragePool {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        sliding::pool(cx, &self.window, |x: &[T], taps| {
            let (mut sum, mut count) = (0.0, 0usize);
            taps.for_each(|i| {
                sum += x[i].widen();
                count += 1;
            });
            if self.count_include_pad {
                count = taps.padded;
            }
            // The mean of no values, in a window of padding alone, is NaN.
            T::narrow(sum / count as f64)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::Evaluator;
    use crate::{Fact, Graph, Model, Node, Value};
    use compress_tensor::{DType, Tensor};

    #[test]
    fn a_window_of_padding_alone_has_no_mean() {
        let mut g = Graph::new("padding");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, [1usize, 1, 1]))
            .unwrap();
        let y = g.add_value("y", Fact::Unknown).unwrap();
        let pool = Node::new("AveragePool", [x], [y])
            .with("kernel_shape", vec![1i64])
            .with("pads", vec![1i64, 0]);
        g.add_node(pool).unwrap();
        g.add_input(x);
        g.add_output(y);
        let image = Tensor::from_vec(&[1, 1, 1], vec![3.0f32]).unwrap();
        let model = Model::new(g, 17);
        let run = Evaluator::new(&model).unwrap();
        let outputs = run.run([("x".to_owned(), Value::Tensor(image))]).unwrap();
        let found = outputs[0].as_tensor().unwrap().as_slice::<f32>().unwrap();
        assert!(found[0].is_nan() && found[1] == 3.0, "{found:?}");
    }
}
