//! What another model says of the samples, as columns beside them.

use super::error::TrainError;
use super::feed::Feeder;
use super::network::observed;
use crate::augment::{Draws, Transform};
use crate::data::{Batch, Column, DataError, Field, Kind, Values};
use crate::loss::Scores;
use compress_tensor::Tensor;
use onnx_ir::{Model, ValueId};
use runtime_session::{Session, SessionOptions};

/// Runs a model on each batch, after the steps before it, and adds its outputs as columns, which a loss then sees as targets: the
/// reference that another model learns from.
pub struct Predict {
    session: Session,
    model: Model,
    columns: Vec<String>,
}

impl Predict {
    /// For some outputs or values of a model and the columns that they become; `scores` tells whether a last softmax or sigmoid is
    /// looked through.
    ///
    /// # Errors
    /// [`TrainError::NoSuchOutput`], [`TrainError::InputType`], [`TrainError::Session`].
    pub fn new(
        model: &Model,
        outputs: &[(&str, &str)],
        scores: Scores,
        options: &SessionOptions,
    ) -> Result<Self, TrainError> {
        let wanted: Vec<String> = outputs.iter().map(|(name, _)| (*name).to_owned()).collect();
        let (_, values) = observed(model, &wanted, scores)?;
        let mut model = model.clone();
        let graph = &mut model.graph;
        let ids = values.iter().map(|name| graph.value_named(name));
        let ids: Vec<ValueId> = ids.collect::<Result<_, _>>()?;
        graph.set_outputs(ids);
        Feeder::new(graph, &[])?;
        Ok(Self {
            session: Session::new(model.clone(), options)?,
            model,
            columns: outputs
                .iter()
                .map(|(_, column)| (*column).to_owned())
                .collect(),
        })
    }

    fn run(&self, batch: &mut Batch) -> Result<(), TrainError> {
        let mut feeder = Feeder::new(&self.model.graph, &[])?;
        let targets = feeder.fill(batch)?;
        let feeds: Vec<(&str, Tensor)> = feeder.feeds().collect();
        let found = self.session.run(&feeds);
        drop(feeds);
        feeder.restore(batch, targets);
        for (name, output) in self.columns.iter().zip(found?) {
            let shape = output.shape().get(1..).unwrap_or_default();
            let column = Column {
                field: Field::new(name, Kind::F32, shape),
                values: Values::F32(output.data::<f32>()?.into_owned()),
            };
            if column.values.len() != batch.len() * column.field.count() {
                return Err(TrainError::Misfit {
                    name: name.clone(),
                    found: output.shape().to_vec(),
                    expected: [&[batch.len()], shape].concat(),
                });
            }
            batch.columns.retain(|c| c.field.name != *name);
            batch.columns.push(column);
        }
        Ok(())
    }
}

impl Transform for Predict {
    fn apply(&self, batch: &mut Batch, _: &Draws) -> Result<(), DataError> {
        let first = batch.indices.first().copied().unwrap_or_default();
        self.run(batch).map_err(|error| DataError::Sample {
            index: first,
            source: error.into(),
        })
    }
}
