//! Loss and metrics of a model as it runs.

use super::error::TrainError;
use super::feed::Feeder;
use super::loss_node::{self, targets};
use super::metric::{Metric, Score, Tally};
use super::network::{observed, write};
use crate::augment::Augmentation;
use crate::data::{Batch, BatchPlan, Dataset, read_batch};
use crate::loss::{Loss, Outputs};
use compress_tensor::Tensor;
use onnx_ir::{Model, ValueId};
use runtime_session::{Session, SessionOptions};

/// A model whose observed outputs are all that it gives.
pub(super) struct Evaluator {
    model: Model,
    names: Vec<String>,
}

impl Evaluator {
    pub(super) fn new(
        model: &Model,
        outputs: &[String],
        loss: &dyn Loss,
    ) -> Result<Self, TrainError> {
        let (names, values) = observed(model, outputs, loss.scores())?;
        let mut model = model.clone();
        let graph = &mut model.graph;
        let ids = values.iter().map(|name| graph.value_named(name));
        let ids: Vec<ValueId> = ids.collect::<Result<_, _>>()?;
        graph.set_outputs(ids);
        Ok(Self { model, names })
    }

    /// Scores of the model with other weights over samples in order: the loss, then the metrics.
    pub(super) fn run<'a>(
        &self,
        weights: impl Iterator<Item = (&'a str, &'a Tensor)>,
        over: &Samples<'_>,
        loss: &dyn Loss,
        metrics: &[Box<dyn Metric>],
        options: &SessionOptions,
    ) -> Result<Vec<Score>, TrainError> {
        let mut model = self.model.clone();
        write(weights, &mut model)?;
        let mut feeder = Feeder::new(&model.graph, &[])?;
        let session = Session::new(model, options)?;
        feeder.check(
            over.data.fields(),
            over.batch,
            over.data.len().is_multiple_of(over.batch),
        )?;
        let (mut batch, mut outputs) = (Batch::default(), Vec::new());
        let (mut tally, mut values) = (Tally::new(metrics.len()), Vec::new());
        let starts = (0..over.data.len()).step_by(over.batch);
        for start in starts.take(over.batches) {
            let end = over.data.len().min(start + over.batch);
            let plan = BatchPlan {
                start,
                is_last: end == over.data.len(),
                indices: (start..end).collect(),
                ..BatchPlan::default()
            };
            read_batch(over.data, &plan, &mut batch)?;
            if let Some(preparation) = over.preparation {
                preparation
                    .apply(&mut batch)
                    .map_err(|error| error.in_rows_of(over.data))?;
            }
            if let Some(error) = Feeder::not_finite(&batch) {
                return Err(over.in_rows(error));
            }
            let columns = feeder.fill(&mut batch).map_err(|e| over.in_rows(e))?;
            let feeds: Vec<(&str, Tensor)> = feeder.feeds().collect();
            session.run_into(&feeds, &mut outputs)?;
            drop(feeds);
            let samples = end - start;
            let given: Vec<&Tensor> = outputs.iter().collect();
            let found = loss_node::evaluate(loss, &self.names, &given, &columns, samples)?
                .map_err(|error| {
                    over.in_rows(TrainError::from(error).in_batch(&columns, &plan.indices))
                })?;
            tally.add_loss(found.value, samples);
            let mut views = Vec::with_capacity(outputs.len());
            for (name, output) in self.names.iter().zip(&outputs) {
                views.push((name.as_str(), output.view::<f32>()?));
            }
            let seen = Outputs::new(views);
            let targets = targets(&columns, samples)?;
            tally
                .add(metrics, &seen, &targets, samples, &mut values)
                .map_err(|error| over.in_rows(error.in_batch(&columns, &plan.indices)))?;
            feeder.restore(&mut batch, columns);
        }
        Ok(tally.scores(metrics))
    }
}

/// Held-out samples, and how they are made ready.
pub(super) struct Samples<'a> {
    pub(super) data: &'a dyn Dataset,
    pub(super) preparation: Option<&'a Augmentation>,
    pub(super) batch: usize,
    /// Batches at most.
    pub(super) batches: usize,
}

impl Samples<'_> {
    fn in_rows(&self, error: TrainError) -> TrainError {
        error.with_samples(|index| self.data.row(index))
    }
}
