//! The run: step after step, epoch after epoch.

use super::callback::{EpochEnd, Flow, StepEnd};
use super::error::TrainError;
use super::evaluate::Samples;
use super::feed::Feeder;
use super::loss_node::targets;
use super::metric::Tally;
use super::records::Records;
use super::{TrainReport, Trainer};
use crate::data::{Batch, Dataset, Loader, LoaderConfig, Order, Sampler, SamplerConfig};
use crate::gradient::{clip_by_norm, clip_by_value, global_norm};
use crate::loss::Outputs;
use crate::optimizer::StepSettings;
use crate::random::{Purpose, Random};
use crate::schedule::Schedule;
use crate::stopping::{BestValue, BestWeights, EarlyStopping, StoppingConfig, Verdict};
use std::sync::Arc;

/// Samples that an error names.
const NAMED_SAMPLES: usize = 8;

/// What holds for a whole run.
struct Run<'a> {
    held_out: Option<&'a dyn Dataset>,
    schedule: Schedule,
    /// All steps.
    steps: u64,
    /// The steps from which on parameters stay.
    held: Vec<Option<u64>>,
    watched: String,
}

/// A step before it is told.
struct Done {
    loss: f64,
    parts: Vec<(String, f64)>,
    norm: f64,
    epoch: u64,
    ends_epoch: bool,
}

impl Trainer {
    /// Trains on some samples, from where the trainer stands to the end of the run; evaluates on held-out ones after epochs.
    ///
    /// # Errors
    /// [`TrainError`]; [`TrainError::NotFinite`] with the place where the loss or a gradient is no number any more.
    pub fn fit(
        &mut self,
        data: Arc<dyn Dataset>,
        held_out: Option<&dyn Dataset>,
    ) -> Result<TrainReport, TrainError> {
        let (watched, better) = self.watched()?;
        let config = &self.config;
        let stopping = config.stopping.clone();
        let mut stopping = stopping.unwrap_or(StoppingConfig {
            patience: None,
            ..StoppingConfig::default()
        });
        stopping.better = better;
        let state = self.stopping.state();
        self.stopping = EarlyStopping::new(stopping);
        self.stopping.restore(state);
        let mut sampler = Sampler::new(
            data.len(),
            SamplerConfig {
                seed: config.seed,
                batch: config.batch,
                order: Order::Shuffled,
                drop_last: config.drop_last,
            },
        )?;
        let are_whole = config.drop_last || data.len().is_multiple_of(config.batch);
        self.network.check(data.fields(), config.batch, are_whole)?;
        if let Some(held_out) = held_out {
            // What cannot be evaluated is told before the first step.
            self.evaluate_held_out(held_out, 1)?;
        }
        let per_epoch = sampler.batches().div_ceil(config.accumulate) as u64;
        let run = Run {
            held_out,
            schedule: config
                .schedule
                .schedule(config.epochs, per_epoch, config.warm_up)?,
            steps: config.epochs.saturating_mul(per_epoch),
            held: config.held(self.network.parameters(), per_epoch)?,
            watched,
        };
        if let Some(position) = self.position {
            sampler.resume(position)?;
        }
        let readers = LoaderConfig {
            threads: config.readers,
            ..LoaderConfig::default()
        };
        let mut records = Records::open(config, &self.metrics, held_out.is_some(), self.step)?;
        let mut loader = Loader::new(
            Arc::clone(&data),
            self.augmentation.clone(),
            sampler,
            &readers,
        );
        while self.step < run.steps && !self.has_stopped {
            let done = self.train_step(&mut loader, &run);
            let done = done.map_err(|error| error.with_samples(|index| data.row(index)))?;
            self.position = Some(loader.position());
            self.after_step(done, &run, &mut records)?;
        }
        records.draw()?;
        Ok(self.report(run.watched, run.steps))
    }

    /// One step: the passes, clipping, the update.
    fn train_step(&mut self, loader: &mut Loader, run: &Run<'_>) -> Result<Done, TrainError> {
        let mut done = Done {
            loss: 0.0,
            parts: Vec::new(),
            norm: 0.0,
            epoch: 0,
            ends_epoch: false,
        };
        let (mut samples, accumulate) = (0, self.config.accumulate);
        self.accumulator.clear();
        for part in 0..accumulate {
            let mut batch = loader.next_batch()?;
            let found = self.pass(&mut batch, part)?;
            let weight = batch.len() as f64;
            done.loss += found.value * weight;
            add_parts(&mut done.parts, found.parts, weight);
            samples += batch.len();
            (done.epoch, done.ends_epoch) = (batch.epoch, batch.is_last);
            // While the samples are still there to be named.
            done.norm = global_norm(self.network.gradients()?.into_iter().map(|g| &*g));
            if !done.norm.is_finite() {
                return Err(self.gradient_error(&batch));
            }
            if accumulate > 1 {
                for (index, gradient) in self.network.gradients()?.into_iter().enumerate() {
                    self.accumulator.add(index, gradient, batch.len())?;
                }
            }
            loader.recycle(batch);
            if done.ends_epoch {
                break;
            }
        }
        done.loss /= samples as f64;
        done.parts
            .iter_mut()
            .for_each(|part| part.1 /= samples as f64);
        if accumulate > 1 {
            self.accumulator.finish();
            let sums = self.accumulator.gradients();
            for (gradient, sum) in self.network.gradients()?.into_iter().zip(sums) {
                gradient.copy_from_slice(sum);
            }
        }
        self.update(run, &mut done)?;
        self.step += 1;
        Ok(done)
    }

    /// A forward and a backward pass over one batch.
    fn pass(
        &mut self,
        batch: &mut Batch,
        part: usize,
    ) -> Result<crate::loss::LossValue, TrainError> {
        let pass = self.step * self.config.accumulate as u64 + part as u64;
        let draw = Random::new(self.config.seed, Purpose::Model, 0, pass).next_u64() as i64;
        let samples = batch.len();
        let (tally, metrics) = (&mut self.tally, &self.metrics);
        let found = self
            .network
            .observe(batch, draw, |names, outputs, columns| {
                if metrics.is_empty() {
                    return Ok(());
                }
                let mut views = Vec::with_capacity(outputs.len());
                for (name, output) in names.iter().zip(outputs) {
                    views.push((name.as_str(), output.view::<f32>()?));
                }
                let targets = targets(columns, samples)?;
                tally.add(
                    metrics,
                    &Outputs::new(views),
                    &targets,
                    samples,
                    &mut Vec::new(),
                )
            });
        // A loss may refuse what such a sample gives.
        let found = found.map_err(|error| Feeder::not_finite(batch).unwrap_or(error))?;
        if !found.value.is_finite() {
            if let Some(error) = Feeder::not_finite(batch) {
                return Err(error);
            }
            let place = self.network.first_not_finite(batch, draw);
            let place =
                place.map(|name| format!("; the first value that is not finite is `{name}`"));
            return Err(self.not_finite("the loss".into(), found.value, batch, place));
        }
        self.tally.add_loss(found.value, samples);
        Ok(found)
    }

    /// Clips the gradients and changes the weights by them.
    fn update(&mut self, run: &Run<'_>, done: &mut Done) -> Result<(), TrainError> {
        let config = &self.config;
        let mut gradients = self.network.gradients()?;
        if let Some(limit) = config.clip_value {
            gradients.iter_mut().for_each(|g| clip_by_value(g, limit));
        }
        done.norm = match config.clip_norm {
            Some(limit) => clip_by_norm(&mut gradients, limit),
            None if config.accumulate > 1 || config.clip_value.is_some() => {
                global_norm(gradients.iter().map(|g| &**g))
            }
            None => done.norm,
        };
        let settings = StepSettings {
            learning_rate: run
                .schedule
                .learning_rate(config.base_learning_rate(), self.step),
            momentum: run.schedule.momentum(self.step),
        };
        self.optimizer.begin_step(settings)?;
        let step = self.step;
        let stays = |index: usize| {
            let from = run.held.get(index).copied().flatten();
            from.is_some_and(|from| step >= from)
        };
        let mut updates = self.network.updates()?;
        updates.retain(|update| !stays(update.index));
        self.optimizer.update_all(updates)?;
        if let Some(ema) = &mut self.ema {
            // Those that stay too: their averages come to what they are.
            for index in 0..self.network.parameters().len() {
                ema.update(index, self.network.value(index))?;
            }
        }
        Ok(())
    }

    /// Tells what was done, evaluates, watches, saves.
    fn after_step(
        &mut self,
        done: Done,
        run: &Run<'_>,
        records: &mut Records,
    ) -> Result<(), TrainError> {
        let rate = self.config.base_learning_rate();
        let end = StepEnd {
            step: self.step,
            steps: run.steps,
            epoch: done.epoch,
            loss: done.loss,
            parts: done.parts,
            gradient_norm: done.norm,
            learning_rate: run.schedule.learning_rate(rate, self.step - 1),
            mean_loss: self.tally.loss(),
        };
        for callback in &mut self.callbacks {
            self.has_stopped |= callback.on_step(&end, &self.network) == Flow::Stop;
        }
        // A run that is stopped ends its epoch here.
        let epoch = if done.ends_epoch || self.has_stopped {
            Some(self.end_epoch(done.epoch, run)?)
        } else {
            None
        };
        records.add(&end, epoch.as_ref())?;
        let every = self.config.checkpoint.as_ref().map(|c| c.every);
        let is_due = every.is_some_and(|every| every > 0 && self.step.is_multiple_of(every));
        if epoch.is_some() {
            self.save()?;
            records.draw()?;
        } else if is_due {
            self.save()?;
        }
        Ok(())
    }

    fn end_epoch(&mut self, epoch: u64, run: &Run<'_>) -> Result<EpochEnd, TrainError> {
        let train = self.tally.scores(&self.metrics);
        self.tally = Tally::new(self.metrics.len());
        let mut end = EpochEnd {
            epoch,
            step: self.step,
            train,
            validation: Vec::new(),
        };
        let is_last = self.step >= run.steps || self.has_stopped;
        let is_due = (epoch + 1).is_multiple_of(self.config.evaluate_every) || is_last;
        if is_due || run.held_out.is_none() {
            self.watch(&mut end, run)?;
        }
        for callback in &mut self.callbacks {
            self.has_stopped |= callback.on_epoch(&end, &self.network) == Flow::Stop;
        }
        // The last epoch ends in an evaluation, also where a callback made it the last one.
        if self.has_stopped && run.held_out.is_some() && end.validation.is_empty() {
            self.watch(&mut end, run)?;
        }
        self.epochs.push(end.clone());
        Ok(end)
    }

    /// Evaluates the model on held-out samples, where there are some, and takes in the score that is watched.
    fn watch(&mut self, end: &mut EpochEnd, run: &Run<'_>) -> Result<(), TrainError> {
        let scores = match run.held_out {
            Some(data) => {
                end.validation = self.evaluate_held_out(data, usize::MAX)?;
                &end.validation
            }
            None => &end.train,
        };
        let Some(score) = scores.iter().find(|score| score.name == run.watched) else {
            return Ok(());
        };
        match self.stopping.observe(self.step, score.value) {
            Verdict::Improved => {
                let at = BestValue {
                    step: self.step,
                    value: score.value,
                };
                let weights = self.weights()?;
                self.best = Some(BestWeights { at, weights });
            }
            Verdict::Waiting(_) => {}
            Verdict::Stop => self.has_stopped = true,
        }
        Ok(())
    }

    /// Loss and metrics of the model as [`Trainer::model`] gives it, but for weights of an earlier step, over all samples in order.
    ///
    /// # Errors
    /// Those of running the model, of reading samples and of the loss.
    pub fn evaluate(&self, data: &dyn Dataset) -> Result<Vec<super::Score>, TrainError> {
        self.evaluate_batches(data, usize::MAX)
    }

    fn evaluate_held_out(
        &self,
        data: &dyn Dataset,
        batches: usize,
    ) -> Result<Vec<super::Score>, TrainError> {
        self.evaluate_batches(data, batches)
            .map_err(|error| TrainError::HeldOut(Box::new(error)))
    }

    /// As [`Trainer::evaluate`], over so many batches at most.
    fn evaluate_batches(
        &self,
        data: &dyn Dataset,
        batches: usize,
    ) -> Result<Vec<super::Score>, TrainError> {
        let weights = self.weights()?;
        let samples = Samples {
            data,
            preparation: self.preparation.as_ref(),
            batch: self.config.batch,
            batches,
        };
        let weights = weights.iter().map(|(name, value)| (name.as_str(), value));
        self.evaluator
            .run(weights, &samples, &*self.loss, &self.metrics, &self.session)
    }

    /// The error of the first gradient that is not finite.
    fn gradient_error(&mut self, batch: &Batch) -> TrainError {
        if let Some(error) = Feeder::not_finite(batch) {
            return error;
        }
        let names: Vec<String> = self
            .network
            .parameters()
            .iter()
            .map(|p| p.name.clone())
            .collect();
        let first = self.network.gradients().ok().and_then(|gradients| {
            let mut named = names.into_iter().zip(gradients);
            named.find_map(|(name, g)| Some((name, *g.iter().find(|v| !v.is_finite())?)))
        });
        match first {
            Some((name, found)) => self.not_finite(
                format!("the gradient of `{name}`"),
                f64::from(found),
                batch,
                None,
            ),
            None => self.not_finite(
                "the norm of the gradients".into(),
                f64::INFINITY,
                batch,
                None,
            ),
        }
    }

    fn not_finite(
        &self,
        what: String,
        found: f64,
        batch: &Batch,
        place: Option<String>,
    ) -> TrainError {
        TrainError::NotFinite {
            what,
            found,
            step: self.step,
            epoch: batch.epoch,
            samples: batch.indices.iter().take(NAMED_SAMPLES).copied().collect(),
            place: place.unwrap_or_default(),
        }
    }
}

/// Adds the terms of one batch, weighted by its samples.
fn add_parts(sums: &mut Vec<(String, f64)>, parts: Vec<(String, f64)>, weight: f64) {
    for (name, value) in parts {
        match sums.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += value * weight,
            None => sums.push((name, value * weight)),
        }
    }
}
