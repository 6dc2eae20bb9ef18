//! `FusedConv`: `y = activation(conv(x, w) + b + z)`; `NhwcFusedConv` and `NhwcConv` are the same with the
//! channels of `x`, `z` and `y` last.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedConv>

use super::activation::FusedActivation;
use crate::operator::prelude::*;
use crate::ops::convolution::Conv;
use crate::ops::permute::{channels_first, channels_last};

/// The attributes of `FusedConv`.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedConv {
    /// The geometry.
    pub conv: Conv,
    /// What follows the sum.
    pub activation: FusedActivation,
}

/// The attributes of `NhwcFusedConv`.
#[derive(Clone, Debug, PartialEq)]
pub struct NhwcFusedConv(pub FusedConv);

/// The attributes of `NhwcConv`.
#[derive(Clone, Debug, PartialEq)]
pub struct NhwcConv(pub FusedConv);

const QUANTIZATION: QuantRule = QuantRule::FloatOnly("quantize convolutions before they are fused");

impl Operator for FusedConv {
    const SIGNATURE: Signature = Signature::microsoft("FusedConv");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let name = attrs.string_or("activation", String::new())?;
        let parameters: Vec<Option<f32>> = attrs
            .floats_or("activation_params", Vec::new())?
            .into_iter()
            .map(Some)
            .collect();
        Ok(Self {
            conv: Conv::parse(attrs)?,
            activation: FusedActivation::new(&name, &parameters)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = self.conv.output_dims(&x, &w)?;
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let y = self.fused(cx, cx.tensor(0)?, cx.optional_tensor(3)?)?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QUANTIZATION
    }
}

impl FusedConv {
    fn fused(
        &self,
        cx: &EvalContext<'_>,
        x: &Tensor,
        z: Option<&Tensor>,
    ) -> Result<Tensor, EvalError> {
        let y = self
            .conv
            .convolve(cx, x, cx.tensor(1)?, cx.optional_tensor(2)?)?;
        let Some(z) = z else {
            return self.activation.apply_to(y);
        };
        if z.shape() != y.shape() {
            return Err(EvalError::rule(
                "the summand must have the shape of the result",
                format_args!("{:?} and {:?}", z.shape(), y.shape()),
            ));
        }
        let sum = y.to_f64_vec()?.into_iter().zip(z.to_f64_vec()?);
        let sum = sum.map(|(y, z)| self.activation.apply(y + z)).collect();
        crate::ops::transformer::heads::real_tensor(y.dtype(), y.shape(), sum)
    }

    fn fused_nhwc(&self, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = channels_first(cx.tensor(0)?)?;
        let z = cx.optional_tensor(3)?.map(channels_first).transpose()?;
        Ok(vec![
            channels_last(&self.fused(cx, &x, z.as_ref())?)?.into(),
        ])
    }

    fn infer_nhwc(&self, cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mut x = cx.tensor(0)?;
        if let Some(shape) = x.shape.as_mut().filter(|s| s.len() >= 2) {
            shape[1..].rotate_right(1);
        }
        let mut shape = self.conv.output_dims(&x, &cx.tensor(1)?)?;
        if let Some(shape) = &mut shape {
            shape[1..].rotate_left(1);
        }
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }
}

impl Operator for NhwcFusedConv {
    const SIGNATURE: Signature = Signature::microsoft("NhwcFusedConv");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        FusedConv::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer_nhwc(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.fused_nhwc(cx)
    }
    fn quantization(&self) -> QuantRule {
        QUANTIZATION
    }
}

impl Operator for NhwcConv {
    const SIGNATURE: Signature = Signature::microsoft("NhwcConv");
    const GRADIENT: Gradient<Self> =
        Gradient::Undefined("it is fused for inference: differentiate the model before fusions");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self(FusedConv {
            conv: Conv::parse(attrs)?,
            activation: FusedActivation::Identity,
        }))
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer_nhwc(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.fused_nhwc(cx)
    }
    fn quantization(&self) -> QuantRule {
        QUANTIZATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::NoSubgraphs;
    use crate::operator::Limits;

    #[test]
    fn channels_last_gives_the_same_numbers_in_another_order() {
        let op = FusedConv {
            conv: Conv {
                window: Default::default(),
                group: 1,
            },
            activation: FusedActivation::Relu,
        };
        let x = Tensor::from_vec(&[1, 2, 1, 2], vec![1f32, 2., 3., 4.]).unwrap();
        let w = Tensor::from_vec(&[2, 2, 1, 1], vec![1f32, 1., 1., -1.]).unwrap();
        let run = |x: &Tensor, nhwc: bool| {
            let inputs = [Value::from(x.clone()), w.clone().into()];
            let inputs = inputs.each_ref().map(Some);
            let mut none = NoSubgraphs;
            let mut cx = EvalContext::new(&inputs, 1, 1, 1, Limits::default(), &mut none);
            let y = if nhwc {
                NhwcFusedConv(op.clone()).eval(&mut cx)
            } else {
                Operator::eval(&op, &mut cx)
            };
            y.unwrap().remove(0).into_tensor().unwrap()
        };
        let y = run(&x, false);
        assert_eq!(y.as_slice::<f32>().unwrap(), [4., 6., 0., 0.]);
        let nhwc = run(&channels_last(&x).unwrap(), true);
        assert_eq!(nhwc.shape(), [1, 1, 2, 2]);
        assert_eq!(nhwc.as_slice::<f32>().unwrap(), [4., 0., 6., 0.]);
    }
}
