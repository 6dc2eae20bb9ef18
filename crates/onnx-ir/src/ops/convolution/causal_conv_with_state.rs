//! `CausalConvWithState`: depthwise convolution along the last axis that sees only what came before:
//! with `s = [past_state, x]` (length `k - 1 + L`), `y[n, c, t] = act(b[c] + sum over j of
//! w[c, 0, j] * s[n, c, t + j])`, and `present_state` the last `k - 1` of `s`.
//! <https://onnx.ai/onnx/operators/onnx__CausalConvWithState.html>

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `CausalConvWithState`.
#[derive(Clone, Debug, PartialEq)]
pub struct CausalConvWithState {
    /// Whether SiLU, `v * sigmoid(v)`, follows.
    pub silu: bool,
}

impl Operator for CausalConvWithState {
    const SIGNATURE: Signature = Signature::onnx("CausalConvWithState", &[27]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let activation = attrs.string_or("activation", "none".to_owned())?;
        Ok(Self {
            silu: match activation.as_str() {
                "none" => false,
                "silu" | "swish" => true,
                _ => {
                    return Err(AttrError::Invalid {
                        name: "activation",
                        found: activation,
                        rule: "it must be none, silu or swish",
                    });
                }
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let past = cx.optional_tensor(3)?.and_then(|p| p.shape);
        let state = match (&x.shape, &w.shape) {
            _ if past.is_some() => past,
            (Some(x), Some(w)) => match (x.as_slice(), w.as_slice()) {
                ([n, c, _], [_, _, k]) => {
                    Some(vec![n.clone(), c.clone(), k.clone() - Dim::Known(1)])
                }
                _ => return Err(InferError::rule(RANK_RULE, format_args!("{x:?}, {w:?}"))),
            },
            _ => None,
        };
        Ok(vec![
            TensorFact::with_shape(x.dtype, x.shape).into(),
            TensorFact::with_shape(x.dtype, state).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let [y, state] = dispatch!(dtype, T in floats => self.run::<T>(cx))?;
        Ok(vec![y.into(), state.into()])
    }
}

const RANK_RULE: &str = "input and weight must have three axes";

impl CausalConvWithState {
    fn run<T: Accumulate>(&self, cx: &EvalContext<'_>) -> Result<[Tensor; 2], EvalError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let (b, past) = (cx.optional_tensor(2)?, cx.optional_tensor(3)?);
        let (&[n, c, length], &[wc, 1, k]) = (x.shape(), w.shape()) else {
            let found = format_args!("{:?}, {:?}", x.shape(), w.shape()).to_string();
            return Err(EvalError::rule(RANK_RULE, found));
        };
        let state = k.saturating_sub(1);
        let fits = wc == c
            && k > 0
            && b.is_none_or(|b| b.shape() == [c])
            && past.is_none_or(|p| p.shape() == [n, c, state]);
        if !fits {
            return Err(EvalError::rule(
                "weight, bias and past state must fit the input's channels",
                format_args!("input {:?}, weight {:?}", x.shape(), w.shape()),
            ));
        }
        let count = cx.check_size(x.shape(), T::DTYPE)?;
        let state_count = cx.check_size(&[n, c, state], T::DTYPE)?;
        let mut y = Vec::with_capacity(count);
        let mut present = Vec::with_capacity(state_count);
        let rows = if count.max(state_count) == 0 {
            0
        } else {
            n * c
        };
        let (x, w) = (x.data::<T>()?, w.data::<T>()?);
        let b = b.map(Tensor::data::<T>).transpose()?;
        let past = past.map(Tensor::data::<T>).transpose()?;
        let mut series = Vec::with_capacity(state.saturating_add(length));
        for row in 0..rows {
            let channel = row % c;
            series.clear();
            match &past {
                Some(past) => series.extend_from_slice(&past[row * state..(row + 1) * state]),
                None => series.resize(state, T::default()),
            }
            series.extend_from_slice(&x[row * length..(row + 1) * length]);
            let taps = &w[channel * k..(channel + 1) * k];
            for window in series.windows(k) {
                let mut sum = b
                    .as_ref()
                    .map_or(T::Wide::default(), |b| b[channel].widen());
                for (&w, &v) in taps.iter().zip(window) {
                    sum += w.widen() * v.widen();
                }
                y.push(self.activate::<T>(sum));
            }
            present.extend_from_slice(&series[length..]);
        }
        Ok([
            Tensor::from_vec(&[n, c, length], y)?,
            Tensor::from_vec(&[n, c, state], present)?,
        ])
    }

    fn activate<T: Accumulate>(&self, sum: T::Wide) -> T {
        if !self.silu {
            return T::narrow(sum);
        }
        let v = T::to_real(sum);
        T::narrow(T::from_real(v / (1.0 + (-v).exp())))
    }
}
