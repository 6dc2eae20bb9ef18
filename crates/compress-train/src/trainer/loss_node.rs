//! The loss as a node of the graph.
//!
//! Forward and backward pass are one graph. Between them stands a node that hands the observed outputs to a [`Loss`] and gives
//! its gradients back as the adjoints that the backward pass begins with: nothing is computed twice, and nothing that the
//! backward pass needs leaves the session.

use crate::data::{Column, Values};
use crate::loss::{Loss, LossError, LossValue, Outputs, Target, Targets};
use compress_tensor::Tensor;
use ndarray::ArrayViewD;
use onnx_ir::operator::prelude::*;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The domain of the node; it never reaches a file.
pub(super) const DOMAIN: &str = "modelpress.train";
/// The operator of the node.
pub(super) const OPERATOR: &str = "Loss";

/// Inputs: the observed outputs. Outputs: their adjoints.
#[derive(Clone, Debug, Default)]
pub(super) struct LossNode {
    exchange: Arc<Exchange>,
}

/// What passes between the node and whoever runs the graph.
#[derive(Default)]
pub(super) struct Exchange(Mutex<State>);

#[derive(Default)]
struct State {
    loss: Option<Arc<dyn Loss>>,
    names: Vec<String>,
    targets: Vec<Column>,
    samples: usize,
    found: Option<Result<LossValue, LossError>>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

impl LossNode {
    /// A node for outputs of these names.
    pub(super) fn new(loss: Arc<dyn Loss>, names: Vec<String>) -> (Self, Arc<Exchange>) {
        let exchange = Arc::new(Exchange(Mutex::new(State {
            loss: Some(loss),
            names,
            ..State::default()
        })));
        let node = Self {
            exchange: Arc::clone(&exchange),
        };
        (node, exchange)
    }
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the outputs of the next run are held against.
    pub(super) fn give(&self, targets: Vec<Column>, samples: usize) {
        let mut state = self.state();
        (state.targets, state.samples, state.found) = (targets, samples, None);
    }

    /// The targets back, and what the loss found; `None` where the run did not come as far.
    pub(super) fn take(&self) -> (Vec<Column>, Option<Result<LossValue, LossError>>) {
        let mut state = self.state();
        (std::mem::take(&mut state.targets), state.found.take())
    }
}

/// Columns as a loss takes them; bytes were made whole numbers before.
pub(super) fn targets(columns: &[Column], samples: usize) -> Result<Targets<'_>, LossError> {
    let mut all = Vec::with_capacity(columns.len());
    for column in columns {
        let mut shape = vec![samples];
        shape.extend(&column.field.shape);
        let name = column.field.name.as_str();
        let misfit = || LossError::Shape {
            what: "target",
            name: name.to_owned(),
            found: vec![column.values.len()],
            expected: format!("{shape:?}"),
        };
        let target = match &column.values {
            Values::F32(values) => ArrayViewD::from_shape(shape.clone(), values)
                .map(Target::Values)
                .map_err(|_| misfit())?,
            Values::I64(values) => ArrayViewD::from_shape(shape.clone(), values)
                .map(Target::Classes)
                .map_err(|_| misfit())?,
            Values::U8(_) => {
                return Err(LossError::WrongKind {
                    target: name.to_owned(),
                    expected: "values or classes",
                    found: "bytes",
                });
            }
        };
        all.push((name, target));
    }
    Ok(Targets::new(all))
}

impl Operator for LossNode {
    const SIGNATURE: Signature = Signature {
        domain: DOMAIN,
        name: OPERATOR,
        versions: &[1],
    };

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self::default())
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let facts = (0..cx.input_count()).map(|i| {
            let TensorFact { dtype, shape, .. } = cx.tensor(i)?;
            Ok(Fact::Tensor(TensorFact::with_shape(dtype, shape)))
        });
        facts.collect()
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut state = self.exchange.state();
        let outputs: Vec<&Tensor> = (0..cx.input_count())
            .map(|i| cx.tensor(i))
            .collect::<Result<_, _>>()?;
        let Some(loss) = state.loss.clone() else {
            return Err(EvalError::rule("the node needs a loss", "none"));
        };
        let found = evaluate(
            &*loss,
            &state.names,
            &outputs,
            &state.targets,
            state.samples,
        )?;
        let (found, adjoints) = match found {
            Ok(mut found) => {
                let gradients = std::mem::take(&mut found.gradients);
                (found, adjoints(&outputs, gradients)?)
            }
            Err(error) => {
                let refused = EvalError::rule("the loss cannot be computed", &error);
                state.found = Some(Err(error));
                return Err(refused);
            }
        };
        state.found = Some(Ok(found));
        Ok(adjoints)
    }

    /// It depends on targets that are no inputs of the graph.
    fn is_random(&self) -> bool {
        true
    }
}

/// The loss of outputs.
pub(super) fn evaluate(
    loss: &dyn Loss,
    names: &[String],
    outputs: &[&Tensor],
    columns: &[Column],
    samples: usize,
) -> Result<Result<LossValue, LossError>, compress_tensor::TensorError> {
    let mut views = Vec::with_capacity(outputs.len());
    for (name, output) in names.iter().zip(outputs) {
        views.push((name.as_str(), output.view::<f32>()?));
    }
    let found = targets(columns, samples).and_then(|t| loss.loss(&Outputs::new(views), &t));
    Ok(found)
}

/// Gradients as tensors; zeros where the loss does not look at an output.
fn adjoints(
    outputs: &[&Tensor],
    gradients: Vec<Option<ndarray::ArrayD<f32>>>,
) -> Result<Vec<Value>, EvalError> {
    let mut gradients = gradients.into_iter();
    let mut adjoints = Vec::with_capacity(outputs.len());
    for output in outputs {
        let adjoint = match gradients.next().flatten() {
            Some(gradient) if gradient.shape() == output.shape() => Tensor::from_array(gradient),
            Some(gradient) => {
                return Err(EvalError::rule(
                    "a loss's gradient has the shape of its output",
                    format!("{:?} for {:?}", gradient.shape(), output.shape()),
                ));
            }
            None => Tensor::full(output.shape(), 0f32)?,
        };
        adjoints.push(adjoint.into());
    }
    Ok(adjoints)
}
