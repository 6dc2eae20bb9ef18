//! `Loop`: runs `body` on the iteration number, the condition and the loop's state, until the trip
//! count is reached or the body's condition is false; outputs beyond the state are stacked along a
//! new axis 0.
//! <https://onnx.ai/onnx/operators/onnx__Loop.html>. Opset 11 lets the shape of the state change, 13
//! adds sequences, 16 optionals, 19 to 25 element types.

use super::if_::single_bool;
use super::join::without_value;
use super::stack::{Direction, Stack};
use super::state;
use crate::graph::Graph;
use crate::operator::prelude::*;
use std::sync::Arc;

/// The attributes of `Loop`.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Inputs: iteration number, condition, state. Outputs: condition, state, what is stacked.
    pub body: Arc<Graph>,
    /// The number of state values.
    pub state: usize,
}

impl Operator for Loop {
    const SIGNATURE: Signature = Signature::onnx("Loop", &[1, 11, 13, 16, 19, 21, 23, 24, 25]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let body = attrs.graph("body")?;
        let state = attrs.input_count().saturating_sub(2);
        let (inputs, outputs) = (body.inputs().len(), body.outputs().len());
        if inputs != state + 2 || outputs < state + 1 || attrs.output_count() > outputs - 1 {
            return Err(AttrError::Invalid {
                name: "body",
                found: format!("a graph of {inputs} inputs and {outputs} outputs"),
                rule: "its inputs must be the iteration, the condition and the state, its outputs \
                       the condition, the state and what is collected",
            });
        }
        Ok(Self { body, state })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let fact = |cx: &InferContext<'_>, i: usize| cx.fact(i).cloned().unwrap_or_default();
        let initial: Vec<Fact> = (0..self.state).map(|i| fact(cx, i + 2)).collect();
        let starts = match cx.fact(1) {
            None => Some(true),
            Some(_) => cx.constant(1).and_then(|c| single_bool(c).ok()),
        };
        let condition = match starts {
            // Where the body hands a true condition on, it stays true.
            Some(true) => TensorFact::constant(self.scalar(1, true)).into(),
            _ => Fact::tensor(DType::Bool, self.scalar(1, true).shape().to_vec()),
        };
        let iteration = Fact::tensor(DType::I64, self.scalar(0, 0i64).shape().to_vec());
        let (state, outputs) = state::fixed_point(&initial, 1..1 + self.state, |state| {
            let inputs = [&[iteration.clone(), condition.clone()], state].concat();
            cx.subgraph("body", &self.body, &inputs)
        })?;
        let goes_on = outputs.first().and_then(Fact::as_tensor);
        let goes_on = goes_on
            .and_then(TensorFact::as_const)
            .and_then(|c| single_bool(c).ok());
        let runs = starts == Some(true)
            && (cx.fact(0).is_none() || cx.const_ints(0).is_some_and(|m| m.first() >= Some(&1)));
        let state = match outputs.get(1..1 + self.state) {
            // After an iteration it is what the body made of it.
            Some(made) if runs => made.iter().map(without_value).collect(),
            _ => state,
        };
        let trips = match (starts, goes_on) {
            (Some(true), Some(true)) => cx.const_ints(0).and_then(|m| m.first().copied()),
            (Some(false), _) => Some(0),
            _ => None,
        };
        let trips = trips.map(|t| Dim::Known(t.max(0)));
        let stacked = outputs.get(1 + self.state..).unwrap_or(&[]);
        let trips = match trips {
            Some(trips) => trips,
            None if stacked.is_empty() => Dim::Unknown,
            None => cx.fresh_symbol(),
        };
        let stacked = stacked.iter().map(|fact| {
            let fact = fact.as_tensor();
            let mut shape = vec![trips.clone()];
            let element = fact.and_then(|f| f.shape.clone());
            let shape = element.map(|element| {
                shape.extend(element);
                shape
            });
            // Without iterations the sizes are those that the body declares, or 0.
            let shape = shape.map(|s| {
                if trips.as_known() == Some(0) {
                    unknown_but_first(s)
                } else {
                    s
                }
            });
            TensorFact::with_shape(fact.and_then(|f| f.dtype), shape).into()
        });
        Ok(state.into_iter().chain(stacked).collect())
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let limit = match cx.ints(0)?.as_deref() {
            None => u64::MAX,
            Some([trips]) => match u64::try_from(*trips).unwrap_or(0) {
                // More than a run may take ends nothing: exporters write the largest number for a loop that only its
                // condition ends.
                trips if trips > cx.limits().max_steps => u64::MAX,
                trips => trips,
            },
            Some(other) => {
                return Err(EvalError::rule(
                    "the trip count must be one element",
                    format_args!("{} elements", other.len()),
                ));
            }
        };
        let mut condition = match cx.optional_tensor(1)? {
            None => true,
            Some(condition) => single_bool(condition)?,
        };
        let mut state: Vec<Value> = (0..self.state)
            .map(|i| cx.required(i + 2).cloned())
            .collect::<Result<_, _>>()?;
        let collected = self.body.outputs().get(1 + self.state..).unwrap_or(&[]);
        let mut stacks: Vec<Stack> = collected.iter().map(|_| Stack::new(0)).collect();
        let mut iteration = 0u64;
        while condition && iteration < limit {
            let limits = cx.limits();
            // The limit on steps bounds the others.
            if limit == u64::MAX && iteration >= limits.max_iterations {
                let limit = limits.max_iterations;
                return Err(EvalError::IterationLimit { limit });
            }
            if iteration >= limits.max_steps {
                let limit = limits.max_steps;
                return Err(EvalError::StepLimit { limit });
            }
            let number = i64::try_from(iteration).unwrap_or(i64::MAX);
            let mut inputs = vec![self.scalar(0, number).into(), self.scalar(1, true).into()];
            inputs.append(&mut state);
            let mut outputs = cx.subgraph("body", &self.body, inputs)?.into_iter();
            let next = outputs.next().and_then(Value::into_tensor);
            condition = match next {
                Some(next) => single_bool(&next)?,
                None => return Err(EvalError::rule("the condition must be a tensor", "none")),
            };
            state = outputs.by_ref().take(self.state).collect();
            for (stack, value) in stacks.iter_mut().zip(outputs) {
                stack.push(cx, value)?;
            }
            iteration += 1;
        }
        for (stack, &output) in stacks.into_iter().zip(collected) {
            let declared = &self.body.value(output).fact;
            state.push(stack.finish(declared, Direction::Forward)?.into());
        }
        Ok(state)
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the graph it holds is not quantized")
    }
}

impl Loop {
    /// A single value for input `index` of the body: a scalar, or a vector of one where the body
    /// declares a vector.
    fn scalar<T: Element>(&self, index: usize, value: T) -> Tensor {
        let input = self.body.inputs().get(index);
        let declared = input.and_then(|&id| self.body.value(id).fact.as_tensor()?.rank());
        if declared == Some(1) {
            Tensor::vector(vec![value])
        } else {
            Tensor::scalar(value)
        }
    }
}

fn unknown_but_first(shape: Vec<Dim>) -> Vec<Dim> {
    let mut dims = shape.into_iter();
    let first = dims.next();
    first
        .into_iter()
        .chain(dims.map(|_| Dim::Unknown))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Evaluator, RunErrorKind};
    use crate::graph::Node;
    use crate::model::Model;
    use crate::operator::{Catalog, Limits};

    /// `y = Loop(trips, x)`.
    fn model(trips: Option<i64>, body: Graph) -> Model {
        let mut g = Graph::new("g");
        let x = g.add_value("x", Fact::tensor(DType::F32, [1i64])).unwrap();
        g.add_input(x);
        let count = trips.map(|n| g.add_initializer("trips", Tensor::scalar(n)).unwrap());
        let y = g.add_value("y", Fact::Unknown).unwrap();
        let node = Node::new("Loop", [count, None, Some(x)], [y]);
        g.add_node(node.with("body", crate::Attribute::Graph(Arc::new(body))))
            .unwrap();
        g.add_output(y);
        Model::new(g, 16)
    }

    /// Hands the condition on, and the state, doubled in size if asked for.
    fn body(double: bool) -> Graph {
        let mut b = Graph::new("body");
        let i = b
            .add_value("i", Fact::tensor(DType::I64, [0i64; 0]))
            .unwrap();
        let c = b
            .add_value("c", Fact::tensor(DType::Bool, [0i64; 0]))
            .unwrap();
        let x = b.add_value("x_in", Fact::Unknown).unwrap();
        for input in [i, c, x] {
            b.add_input(input);
        }
        b.add_output(c);
        if double {
            let y = b.add_value("x_out", Fact::Unknown).unwrap();
            b.add_node(Node::new("Concat", [x, x], [y]).with("axis", 0i64))
                .unwrap();
            b.add_output(y);
        } else {
            b.add_output(x);
        }
        b
    }

    #[test]
    fn state_whose_shape_changes_has_an_unknown_size() {
        let mut growing = model(Some(3), body(true));
        crate::infer::infer_shapes(&mut growing, Catalog::standard()).unwrap();
        assert_eq!(growing.fact("y").unwrap().to_string(), "f32[?]");
        let x = Value::Tensor(Tensor::vector(vec![1f32]));
        let y = Evaluator::new(&growing)
            .unwrap()
            .run([("x".to_owned(), x)])
            .unwrap();
        assert_eq!(y[0].as_tensor().unwrap().shape(), [8]);
    }

    #[test]
    fn state_that_stays_keeps_its_shape() {
        let mut steady = model(Some(3), body(false));
        crate::infer::infer_shapes(&mut steady, Catalog::standard()).unwrap();
        assert_eq!(steady.fact("y").unwrap().to_string(), "f32[1]");
    }

    #[test]
    fn a_loop_without_end_and_without_nodes_stops_at_the_limit() {
        let endless = model(None, body(false));
        let x = Value::Tensor(Tensor::vector(vec![1f32]));
        let stopped = |limits: Limits| {
            let run = Evaluator::new(&endless).unwrap().with_limits(limits);
            run.run([("x".to_owned(), x.clone())]).unwrap_err().kind
        };
        assert_eq!(
            stopped(Limits::default().with_max_steps(1000)),
            RunErrorKind::Eval(EvalError::StepLimit { limit: 1000 })
        );
        assert_eq!(
            stopped(Limits::default().with_max_iterations(1000)),
            RunErrorKind::Eval(EvalError::IterationLimit { limit: 1000 })
        );
    }

    #[test]
    fn a_loop_with_a_trip_count_runs_all_its_iterations() {
        let x = Value::Tensor(Tensor::vector(vec![3f32]));
        let run = |trips: i64| {
            let model = model(Some(trips), body(false));
            let limits = Limits::default().with_max_iterations(1000);
            let run = Evaluator::new(&model).unwrap().with_limits(limits);
            run.run([("x".to_owned(), x.clone())]).map_err(|e| e.kind)
        };
        let y = run(2000).unwrap();
        assert_eq!(*y[0].as_tensor().unwrap().data::<f32>().unwrap(), [3.0]);
        // More than the limit on steps allows is as good as none.
        for trips in [1 << 62, i64::MAX] {
            assert_eq!(
                run(trips).unwrap_err(),
                RunErrorKind::Eval(EvalError::IterationLimit { limit: 1000 })
            );
        }
    }
}
