//! `ReverseSequence`: reverses the first `sequence_lens[i]` steps of each sequence `i` of a batch.
//! <https://onnx.ai/onnx/operators/onnx__ReverseSequence.html>

use crate::operator::prelude::*;
use crate::ops::{elementwise::unary, select};

/// The attributes of `ReverseSequence`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReverseSequence {
    /// Whether axis 0 is the time and axis 1 the batch, else the other way round.
    pub time_first: bool,
}

impl Operator for ReverseSequence {
    const SIGNATURE: Signature = Signature::onnx("ReverseSequence", &[10, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.again(&[Some(cx.dy()), Some(cx.input(1))]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let (time, batch) = (
            attrs.int_or("time_axis", 0)?,
            attrs.int_or("batch_axis", 1)?,
        );
        match (time, batch) {
            (0, 1) => Ok(Self { time_first: true }),
            (1, 0) => Ok(Self { time_first: false }),
            _ => Err(AttrError::Invalid {
                name: "time_axis",
                found: format!("{time}, batch_axis {batch}"),
                rule: "one of the two must be 0, the other 1",
            }),
        }
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let rank = cx.optional_tensor(1)?.and_then(|lens| lens.rank());
        if let Some(rank) = rank.filter(|&rank| rank != 1) {
            return Err(InferError::rule(
                "the lengths must be a vector",
                format_args!("rank {rank}"),
            ));
        }
        unary::infer(cx)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let lens = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let &[outer, inner, ref rest @ ..] = x.shape() else {
            return Err(EvalError::rule("the rank must be at least 2", x.rank()));
        };
        let (steps, batch) = if self.time_first {
            (outer, inner)
        } else {
            (inner, outer)
        };
        let lens: Option<Vec<usize>> = lens
            .iter()
            .map(|&n| usize::try_from(n).ok().filter(|&n| n <= steps))
            .collect();
        let lens = lens.filter(|l| l.len() == batch).ok_or_else(|| {
            let rule = "there must be one length, within the time axis, for each sequence";
            EvalError::rule(rule, format_args!("{:?}", x.shape()))
        })?;
        let block = element_count(rest).unwrap_or(0);
        let runs = (0..outer)
            .flat_map(|i| (0..inner).map(move |j| (i, j)))
            .map(|(i, j)| {
                let (t, b) = if self.time_first { (i, j) } else { (j, i) };
                let t = if t < lens[b] { lens[b] - 1 - t } else { t };
                let (i, j) = if self.time_first { (t, b) } else { (b, t) };
                (x, (i * inner + j) * block, block)
            });
        let runs = runs.take(if x.is_empty() { 0 } else { usize::MAX });
        Ok(vec![select::assemble(x.dtype(), x.shape(), runs)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
