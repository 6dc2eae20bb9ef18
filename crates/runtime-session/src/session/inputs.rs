//! What a run is fed: checked against what the model declares.

use super::Session;
use crate::error::SessionError;
use crate::plan::{Plan, ShapeKey};
use crate::roofline::{StepWork, works};
use compress_tensor::{DType, Tensor};
use onnx_ir::{Dim, Fact, Value};

impl Session {
    /// Puts the values of the graph's inputs into `feeds`, in order; defaults where nothing was given.
    pub(super) fn feed<'n>(
        &self,
        inputs: impl IntoIterator<Item = (&'n str, Value)>,
        feeds: &mut Vec<Option<Value>>,
    ) -> Result<(), SessionError> {
        let graph = &self.model.graph;
        let ids = graph.inputs();
        feeds.resize(ids.len(), None);
        for (name, value) in inputs {
            let at = self.input_position(name)?;
            if feeds[at].is_some() {
                return Err(SessionError::DuplicateInput {
                    name: name.to_owned(),
                });
            }
            if let Value::Tensor(tensor) = &value {
                let fact = &graph.value(ids[at]).fact;
                check_input(name, fact, tensor.dtype(), tensor.shape())?;
            }
            let value = match value {
                Value::Tensor(tensor) => Value::Tensor(tensor.to_aligned()),
                other => other,
            };
            // A file may list an input twice.
            for (_, feed) in ids
                .iter()
                .zip(feeds.iter_mut())
                .filter(|(id, _)| **id == ids[at])
            {
                *feed = Some(value.clone());
            }
        }
        for (feed, &id) in feeds.iter_mut().zip(ids) {
            if feed.is_none() {
                let default = graph
                    .initializer(id)
                    .map(Tensor::to_aligned)
                    .map(Value::Tensor);
                *feed = Some(default.ok_or_else(|| SessionError::MissingInput {
                    name: graph.name_of(id).to_owned(),
                })?);
            }
        }
        Ok(())
    }

    /// What the steps of a run compute and move on inputs of these shapes and of the declared types.
    pub(crate) fn works(&self, inputs: &[(&str, &[usize])]) -> Result<Vec<StepWork>, SessionError> {
        if let Some(session) = self.replacing(inputs.iter().map(|(name, _)| *name))? {
            return session.works(inputs);
        }
        let graph = &self.model.graph;
        let mut key: ShapeKey = vec![None; graph.inputs().len()];
        for &(name, shape) in inputs {
            let at = self.input_position(name)?;
            let fact = &graph.value(graph.inputs()[at]).fact;
            let dtype = fact.as_tensor().and_then(|fact| fact.dtype);
            let dtype = dtype.unwrap_or(DType::F32);
            check_input(name, fact, dtype, shape)?;
            // A file may list an input twice.
            let id = graph.inputs()[at];
            let listed = graph.inputs().iter().zip(key.iter_mut());
            for (_, given) in listed.filter(|(listed, _)| **listed == id) {
                *given = Some((dtype, shape.into()));
            }
        }
        for (given, &id) in key.iter_mut().zip(graph.inputs()) {
            if given.is_some() {
                continue;
            }
            let default = graph.initializer(id);
            let default = default.ok_or_else(|| SessionError::MissingInput {
                name: graph.name_of(id).to_owned(),
            })?;
            *given = Some((default.dtype(), default.shape().into()));
        }
        let known = self.known_values(&self.bound, &key);
        let plan = Plan::lower(&self.bound.draft, &known);
        let shaped = self.bound.shapes.shaped(&key, &self.catalog);
        Ok(works(&plan, &shaped, self.context.isa))
    }

    /// Where an input stands among those of the graph.
    fn input_position(&self, name: &str) -> Result<usize, SessionError> {
        let graph = &self.model.graph;
        let ids = graph.inputs();
        let at = ids.iter().position(|&id| graph.name_of(id) == name);
        at.ok_or_else(|| SessionError::UnknownInput {
            name: name.to_owned(),
            known: ids.iter().map(|&id| graph.name_of(id).to_owned()).collect(),
        })
    }
}

/// Checks type and shape of a tensor against the declaration of an input; symbolic dimensions take any size.
fn check_input(
    name: &str,
    declared: &Fact,
    dtype: DType,
    shape: &[usize],
) -> Result<(), SessionError> {
    let Fact::Tensor(fact) = declared else {
        return Ok(());
    };
    let dtype_fits = fact.dtype.is_none_or(|d| d == dtype);
    let fits = |(dim, &size): (&Dim, &usize)| dim.as_size().is_none_or(|d| d == size);
    let shape_fits = fact
        .shape
        .as_ref()
        .is_none_or(|dims| dims.len() == shape.len() && dims.iter().zip(shape).all(fits));
    if dtype_fits && shape_fits {
        return Ok(());
    }
    Err(SessionError::WrongInput {
        name: name.to_owned(),
        expected: fact.to_string(),
        found: describe(dtype, shape),
    })
}

fn describe(dtype: DType, shape: &[usize]) -> String {
    Fact::tensor(dtype, shape.iter().copied()).to_string()
}
