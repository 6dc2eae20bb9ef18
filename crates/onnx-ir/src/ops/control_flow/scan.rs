//! `Scan`: runs `body` on the loop's state and one slice of each scanned input per iteration; outputs
//! beyond the state are stacked.
//! <https://onnx.ai/onnx/operators/onnx__Scan.html>. Opset 8 scans axis 1 for every element of batch
//! axis 0 on its own, with optional lengths as input 0; opset 9 drops the batch and adds the axes and
//! directions, 16 to 25 add element types. The state keeps its shape from iteration to iteration.

use super::join::without_value;
use super::stack::{self, Direction, Stack};
use crate::graph::Graph;
use crate::infer::refine;
use crate::operator::prelude::*;
use crate::ops::axis;
use std::sync::Arc;

/// The attributes of `Scan`.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Inputs: state, slices. Outputs: state, what is stacked.
    pub body: Arc<Graph>,
    /// The number of inputs that are scanned.
    pub scanned: usize,
    /// The number of state values.
    pub state: usize,
    /// The axis of each scanned input; empty for 0.
    pub input_axes: Vec<i64>,
    /// The direction of each scanned input; empty for forward.
    pub input_directions: Vec<Direction>,
    /// The axis of each stacked output; empty for 0.
    pub output_axes: Vec<i64>,
    /// The direction of each stacked output; empty for forward.
    pub output_directions: Vec<Direction>,
    /// Whether this is the batched form of opset 8.
    pub batched: bool,
}

const LENGTH_RULE: &str = "the scanned inputs must have the same length";
const STATE_RULE: &str = "the state must keep its type and shape";

fn directions(attrs: &mut Attrs<'_>, name: &'static str) -> Result<Vec<Direction>, AttrError> {
    let direction = |&d: &i64| match d {
        0 => Ok(Direction::Forward),
        1 => Ok(Direction::Reverse),
        _ => Err(AttrError::Invalid {
            name,
            found: d.to_string(),
            rule: "it must be 0 or 1",
        }),
    };
    attrs
        .ints_or(name, Vec::new())?
        .iter()
        .map(direction)
        .collect()
}

impl Operator for Scan {
    const SIGNATURE: Signature = Signature::onnx("Scan", &[8, 9, 11, 16, 19, 21, 23, 24, 25]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let body = attrs.graph("body")?;
        let batched = attrs.version() < 9;
        let scanned = attrs.size_or("num_scan_inputs", 0)?;
        let values = attrs.input_count().saturating_sub(batched.into());
        let state = values.checked_sub(scanned).unwrap_or(usize::MAX);
        let (inputs, outputs) = (body.inputs().len(), body.outputs().len());
        let fits =
            scanned > 0 && inputs == values && outputs >= state && attrs.output_count() <= outputs;
        if !fits {
            return Err(AttrError::Invalid {
                name: "body",
                found: format!("a graph of {inputs} inputs and {outputs} outputs"),
                rule: "its inputs must be the state and the slices, its outputs the state and what \
                       is collected",
            });
        }
        let scan = if batched {
            Self {
                body,
                scanned,
                state,
                input_axes: Vec::new(),
                input_directions: directions(attrs, "directions")?,
                output_axes: Vec::new(),
                output_directions: Vec::new(),
                batched,
            }
        } else {
            Self {
                body,
                scanned,
                state,
                input_axes: attrs.ints_or("scan_input_axes", Vec::new())?,
                input_directions: directions(attrs, "scan_input_directions")?,
                output_axes: attrs.ints_or("scan_output_axes", Vec::new())?,
                output_directions: directions(attrs, "scan_output_directions")?,
                batched,
            }
        };
        for (name, given, count) in [
            ("scan_input_axes", scan.input_axes.len(), scanned),
            (
                "scan_input_directions",
                scan.input_directions.len(),
                scanned,
            ),
            ("scan_output_axes", scan.output_axes.len(), outputs - state),
            (
                "scan_output_directions",
                scan.output_directions.len(),
                outputs - state,
            ),
        ] {
            if given != 0 && given != count {
                return Err(AttrError::Invalid {
                    name,
                    found: format!("{given} entries"),
                    rule: "there must be one per scanned input or collected output",
                });
            }
        }
        Ok(scan)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let first = usize::from(self.batched);
        let mut batch = Dim::Unknown;
        let mut initial = Vec::with_capacity(self.state);
        for i in 0..self.state {
            let fact = cx.fact(first + i).cloned().unwrap_or_default();
            initial.push(if self.batched {
                without_axis(&fact, 0, &mut batch)
            } else {
                fact
            });
        }
        let mut length = Dim::Unknown;
        let mut slices = Vec::with_capacity(self.scanned);
        for i in 0..self.scanned {
            let index = first + self.state + i;
            let mut fact = cx
                .fact(index)
                .cloned()
                .ok_or(InferError::MissingInput { index })?;
            if self.batched {
                fact = without_axis(&fact, 0, &mut batch);
            }
            let rank = fact.as_tensor().and_then(TensorFact::rank);
            let axis = match rank {
                None => 0,
                Some(rank) => axis::infer(self.input_axis(i), rank)?,
            };
            let mut along = Dim::Unknown;
            slices.push(without_axis(&fact, axis, &mut along));
            if along.contradicts(&length) {
                return Err(InferError::rule(
                    LENGTH_RULE,
                    format_args!("{length} and {along}"),
                ));
            }
            length = length.refine(&along);
        }
        let state: Vec<Fact> = initial.iter().map(without_value).collect();
        let outputs = cx.subgraph("body", &self.body, &[&state[..], &slices].concat())?;
        let add_batch = |fact: Fact| match self.batched {
            true => with_axis(&fact, 0, &batch),
            false => Ok(fact),
        };
        let mut facts: Vec<Fact> = Vec::with_capacity(outputs.len());
        for (before, after) in state.iter().zip(&outputs) {
            let both = refine(before, &without_value(after)).map_err(|c| {
                InferError::rule(STATE_RULE, format_args!("{before}, then {}", c.declared))
            })?;
            facts.push(add_batch(both)?);
        }
        for (i, fact) in outputs.iter().skip(self.state).enumerate() {
            let axis = self.output_axes.get(i).copied().unwrap_or(0);
            facts.push(add_batch(with_axis(fact, axis, &length)?)?);
        }
        Ok(facts)
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        if self.batched {
            return self.eval_batches(cx);
        }
        let values: Vec<Value> = (0..self.state + self.scanned)
            .map(|i| cx.required(i).cloned())
            .collect::<Result<_, _>>()?;
        self.run(cx, values, None)
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the graph it holds is not quantized")
    }
}

fn shape(value: &Value) -> Option<Vec<usize>> {
    value.as_tensor().map(|tensor| tensor.shape().to_vec())
}

impl Scan {
    fn input_axis(&self, i: usize) -> i64 {
        self.input_axes.get(i).copied().unwrap_or(0)
    }

    /// One scan over state and scanned inputs; of the first `steps` slices, where that is given.
    fn run(
        &self,
        cx: &mut EvalContext<'_>,
        mut values: Vec<Value>,
        steps: Option<usize>,
    ) -> Result<Vec<Value>, EvalError> {
        let scanned = values.split_off(self.state.min(values.len()));
        let mut length = None;
        let mut inputs = Vec::with_capacity(scanned.len());
        for (i, value) in scanned.into_iter().enumerate() {
            let found = value.kind().to_owned();
            let tensor = value.into_tensor().ok_or(EvalError::WrongInput {
                index: self.state + i,
                expected: "a tensor",
                found,
            })?;
            let axis = axis::eval(self.input_axis(i), tensor.rank())?;
            let size = tensor.shape()[axis];
            if length.is_some_and(|l| l != size) {
                return Err(EvalError::rule(LENGTH_RULE, size));
            }
            length = Some(size);
            inputs.push((tensor, axis));
        }
        let length = length.unwrap_or(0);
        let steps = steps.unwrap_or(length).min(length);
        if steps as u64 > cx.limits().max_steps {
            let limit = cx.limits().max_steps;
            return Err(EvalError::StepLimit { limit });
        }
        let collected = self.body.outputs().get(self.state..).unwrap_or(&[]);
        let output_axis = |i: usize| self.output_axes.get(i).copied().unwrap_or(0);
        let mut stacks: Vec<Stack> = (0..collected.len())
            .map(|i| Stack::new(output_axis(i)))
            .collect();
        let mut state = values;
        for step in 0..steps {
            for (i, (tensor, axis)) in inputs.iter().enumerate() {
                let index = match self.input_directions.get(i) {
                    Some(Direction::Reverse) => length - 1 - step,
                    _ => step,
                };
                state.push(stack::at(tensor, *axis, index)?.into());
            }
            let shapes: Vec<Option<Vec<usize>>> =
                state.iter().take(self.state).map(shape).collect();
            let mut outputs = cx.subgraph("body", &self.body, state)?.into_iter();
            state = outputs.by_ref().take(self.state).collect();
            if let Some((before, after)) = shapes.iter().zip(&state).find(|(s, v)| **s != shape(v))
            {
                return Err(EvalError::rule(
                    STATE_RULE,
                    format_args!("{before:?}, then {:?}", shape(after)),
                ));
            }
            for (stack, value) in stacks.iter_mut().zip(outputs) {
                stack.push(cx, value)?;
            }
        }
        for (i, (stack, &output)) in stacks.into_iter().zip(collected).enumerate() {
            let order = self.output_directions.get(i).copied().unwrap_or_default();
            let declared = &self.body.value(output).fact;
            state.push(stack.finish(declared, order)?.into());
        }
        Ok(state)
    }

    /// One scan per element of the batch. Results of a sequence that is shorter than the longest are
    /// followed by copies of its last one: the specification leaves them open.
    fn eval_batches(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let tensors: Vec<&Tensor> = (0..self.state + self.scanned)
            .map(|i| cx.tensor(i + 1))
            .collect::<Result<_, _>>()?;
        let lengths = cx.ints(0)?;
        let batch = tensors.first().and_then(|t| t.shape().first().copied());
        let same = |t: &&Tensor| t.shape().first().copied() == batch;
        let batch = batch
            .filter(|b| tensors.iter().all(same) && lengths.as_ref().is_none_or(|l| l.len() == *b));
        let batch = batch.ok_or_else(|| {
            EvalError::rule(
                "all inputs must have the same batch size",
                format_args!("{tensors:?}"),
            )
        })?;
        let mut stacks: Vec<Stack> = self.body.outputs().iter().map(|_| Stack::new(0)).collect();
        for b in 0..batch {
            let values = tensors.iter().map(|t| Ok(stack::at(t, 0, b)?.into()));
            let values: Vec<Value> = values.collect::<Result<_, EvalError>>()?;
            let longest = tensors[self.state].shape().get(1).copied().unwrap_or(0);
            let steps = match &lengths {
                None => longest,
                Some(lengths) => usize::try_from(lengths[b]).unwrap_or(0).min(longest),
            };
            let outputs = self.run(cx, values, Some(steps))?;
            for (i, (stack, value)) in stacks.iter_mut().zip(outputs).enumerate() {
                let value = match value {
                    Value::Tensor(t) if i >= self.state => padded(&t, longest)?.into(),
                    other => other,
                };
                stack.push(cx, value)?;
            }
        }
        let outputs = stacks.into_iter().zip(self.body.outputs());
        let finish = |(stack, &output): (Stack, _)| {
            let declared = &self.body.value(output).fact;
            Ok(stack.finish(declared, Direction::Forward)?.into())
        };
        outputs.map(finish).collect()
    }
}

/// `x` with its last part along axis 0 repeated up to `length`; as it is, where it has none.
fn padded(x: &Tensor, length: usize) -> Result<Tensor, EvalError> {
    let mut shape = x.shape().to_vec();
    let size = shape.first().copied().unwrap_or(0);
    if size == 0 || size >= length {
        return Ok(x.clone());
    }
    let part = x.len() / size;
    shape[0] = length;
    let runs = (0..length).map(|i| (x, i.min(size - 1) * part, part));
    crate::ops::select::assemble(x.dtype(), &shape, runs)
}

/// The fact without one axis, whose size refines `along`.
fn without_axis(fact: &Fact, axis: usize, along: &mut Dim) -> Fact {
    match fact {
        Fact::Tensor(t) => {
            let mut shape = t.shape.clone();
            if let Some(dims) = &mut shape
                && axis < dims.len()
            {
                *along = along.refine(&dims.remove(axis));
            }
            TensorFact::with_shape(t.dtype, shape).into()
        }
        other => other.clone(),
    }
}

/// The fact with one axis more.
fn with_axis(fact: &Fact, axis: i64, size: &Dim) -> Result<Fact, InferError> {
    let Fact::Tensor(t) = fact else {
        return Ok(fact.clone());
    };
    let shape = match &t.shape {
        None => None,
        Some(dims) => {
            let mut dims = dims.clone();
            dims.insert(axis::infer(axis, dims.len() + 1)?, size.clone());
            Some(dims)
        }
    };
    Ok(TensorFact::with_shape(t.dtype, shape).into())
}
