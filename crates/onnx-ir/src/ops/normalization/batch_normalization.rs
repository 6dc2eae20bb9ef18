//! `BatchNormalization`: per channel `y = (x - mean) / sqrt(var + epsilon) * scale + bias`.
//!
//! While training, mean and variance are those of the batch, and the running ones move towards them:
//! `running = running * momentum + current * (1 - momentum)`. Training is the attribute `training_mode`
//! since opset 14; before opset 14 it was told by the number of outputs, before opset 7 by `is_test`.
//! Until opset 8, `spatial = 0` meant statistics for every element of a sample.
//! <https://onnx.ai/onnx/operators/onnx__BatchNormalization.html>; Ioffe and Szegedy, arXiv:1502.03167.

use super::moments::{Moments, parameter};
use crate::operator::prelude::*;
use crate::ops::lanes::{Lanes, floats, rounded};
use crate::rewrite::NewNode;

/// The attributes of `BatchNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
    /// The weight of the running statistics.
    pub momentum: f32,
    /// Where mean and variance come from.
    pub statistics: BatchStatistics,
    /// What shares mean and variance.
    pub grouping: BatchGrouping,
}

/// Where `BatchNormalization` takes mean and variance from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchStatistics {
    /// From the inputs: inference.
    Given,
    /// From the batch: training.
    OfBatch,
}

/// Which elements of a sample share mean and variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchGrouping {
    /// Those of a channel.
    Channel,
    /// None: each has its own.
    Element,
}

impl Operator for BatchNormalization {
    const SIGNATURE: Signature = Signature::onnx("BatchNormalization", &[1, 6, 7, 9, 14, 15]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let training = match attrs.version() {
            ..7 => {
                attrs.ignore("consumed_inputs");
                !attrs.flag_or("is_test", false)?
            }
            7..14 => attrs.output_count() > 1,
            14.. => attrs.flag_or("training_mode", false)?,
        };
        let spatial = attrs.version() >= 9 || attrs.flag_or("spatial", true)?;
        Ok(Self {
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
            momentum: attrs.f32_or("momentum", 0.9)?,
            statistics: match training {
                true => BatchStatistics::OfBatch,
                false => BatchStatistics::Given,
            },
            grouping: match spatial {
                true => BatchGrouping::Channel,
                false => BatchGrouping::Element,
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        if x.rank() == Some(0) {
            return Err(InferError::rule(RANK_RULE, "a scalar"));
        }
        let (mean, variance) = (cx.tensor(3)?, cx.tensor(4)?);
        let is_training = matches!(self.statistics, BatchStatistics::OfBatch);
        if cx.version() >= 14 && cx.output_count() != if is_training { 3 } else { 1 } {
            let rule = "running statistics are outputs in training mode, and only there";
            return Err(InferError::rule(
                rule,
                format_args!("{} outputs", cx.output_count()),
            ));
        }
        let statistics = |fact: TensorFact| TensorFact::with_shape(fact.dtype, fact.shape).into();
        let mut facts = vec![TensorFact::with_shape(x.dtype, x.shape).into()];
        for i in 1..cx.output_count() {
            let fact = if i % 2 == 1 { &mean } else { &variance };
            facts.push(statistics(fact.clone()));
        }
        Ok(facts)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let lanes = self.lanes(x.shape())?;
        let groups = lanes.len;
        let vector = |i: usize| parameter(i, cx.tensor(i)?, groups);
        let (scale, bias, mean, variance) = (vector(1)?, vector(2)?, vector(3)?, vector(4)?);
        let mut values = floats(x)?;

        let given = (0..groups).map(|g| Moments {
            mean: mean[g],
            variance: variance[g],
        });
        let moments: Vec<Moments> = match self.statistics {
            BatchStatistics::Given => given.collect(),
            BatchStatistics::OfBatch => {
                let of_group = |g| Moments::of(members(lanes, g).map(|p| values[p]));
                (0..groups).map(of_group).collect()
            }
        };
        for (g, m) in moments.iter().enumerate() {
            let factor = m.inverse_deviation(self.epsilon) * scale[g];
            for p in members(lanes, g) {
                values[p] = (values[p] - m.mean) * factor + bias[g];
            }
        }
        let mut outputs = vec![rounded(x.dtype(), x.shape(), values)?.into()];
        let momentum = f64::from(self.momentum);
        for i in 1..cx.output_count() {
            let (input, old) = if i % 2 == 1 {
                (3, &mean)
            } else {
                (4, &variance)
            };
            let current = |m: &Moments| if i % 2 == 1 { m.mean } else { m.variance };
            // Outputs 1 and 2 are the running statistics, 3 and 4 those of the batch.
            let weight = if i <= 2 { momentum } else { 0.0 };
            let mixed = old.iter().zip(&moments);
            let mixed = mixed.map(|(old, m)| old * weight + current(m) * (1.0 - weight));
            outputs.push(rounded(cx.tensor(input)?.dtype(), &[groups], mixed.collect())?.into());
        }
        Ok(outputs)
    }
}

const RANK_RULE: &str = "the input must have an axis";

impl BatchNormalization {
    /// Lanes whose elements are of one group each.
    fn lanes(&self, shape: &[usize]) -> Result<Lanes, EvalError> {
        Ok(match (shape.len(), self.grouping) {
            (0, _) => return Err(EvalError::rule(RANK_RULE, "a scalar")),
            // One axis is the batch of a single channel.
            (1, _) => Lanes {
                outer: shape[0],
                len: 1,
                inner: 1,
            },
            (_, BatchGrouping::Channel) => Lanes::new(shape, 1, 2),
            (rank, BatchGrouping::Element) => Lanes::new(shape, 1, rank),
        })
    }
}

/// The positions of the elements of group `g`.
pub(in crate::ops) fn members(lanes: Lanes, g: usize) -> impl Iterator<Item = usize> + Clone {
    let Lanes { outer, len, inner } = lanes;
    (0..outer).flat_map(move |o| (0..inner).map(move |i| (o * len + g) * inner + i))
}

fn gradient(op: &BatchNormalization, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    if (1..cx.node().outputs().len()).any(|i| cx.adjoint(i).is_some()) {
        return Err(Unsupported("a loss depends on its running statistics"));
    }
    if op.grouping == BatchGrouping::Element {
        return Err(Unsupported("statistics per element are not differentiated"));
    }
    let training = op.statistics == BatchStatistics::OfBatch;
    let node = NewNode::private("BatchNormalizationGrad")
        .with("epsilon", op.epsilon)
        .with("training_mode", i64::from(training));
    let mut inputs = vec![Some(cx.dy()), Some(cx.input(0)), Some(cx.input(1))];
    if training {
        cx.give_outputs(node, &inputs, &[0, 1, 2]);
    } else {
        inputs.extend([Some(cx.input(3)), Some(cx.input(4))]);
        cx.give_outputs(node, &inputs, &[0, 1, 2, 3, 4]);
    }
    Ok(())
}
