//! A term as a loss to train with: outputs and columns by name in, the losses of the array level on them.

use super::config::{Ensemble, LossTerm, Pooling};
use super::kinds::KdTerm;
use super::mixed::{Labels, mixed};
use super::names::mask_column;
use super::pool;
use crate::KdError;
use crate::features::{self, AttentionDistance, AttentionTransfer, cosine_embedding};
use crate::logits::{
    BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss, kl_divergence, logit_regression,
    reverse_kl_divergence,
};
use crate::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use crate::teachers::{SelfDistillation, TeacherMean, ensemble};
use crate::transformer::{Relations, attention_divergence, attention_regression, hidden_state};
use compress_train::loss::{Loss, LossError, LossValue, Outputs, Target, Targets};
use ndarray::{Array2, ArrayD, ArrayRef, ArrayView2, ArrayViewD, Axis, Dimension, Ix2, Ix3, Ix4};

/// An output of the student and the columns that it is held against.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The student's output, behind a projection where there is one.
    pub(super) student: String,
    /// One column for each teacher that counts.
    pub(super) teachers: Vec<String>,
}

/// A term of the loss over named outputs and columns.
pub(super) struct Term {
    pub(super) term: LossTerm,
    pub(super) pairs: Vec<Pair>,
    pub(super) ensemble: Ensemble,
    /// The column of the labels, where there are some.
    pub(super) labels: Option<String>,
}

/// A value and gradients by outputs, by place.
type Found = (f64, Vec<(usize, ArrayD<f32>)>);

impl Loss for Term {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        self.of_batch(outputs, targets)
            .map_err(|error| match error {
                LossError::Foreign { reason } => {
                    foreign(&format!("loss `{}`: {reason}", self.term.loss.name()))
                }
                other => other,
            })
    }
}

impl Term {
    fn of_batch(
        &self,
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
    ) -> Result<LossValue, LossError> {
        let (value, parts) = match &self.term.loss {
            KdTerm::CrossEntropy { label_smoothing } => {
                self.cross_entropy(*label_smoothing, outputs, targets)?
            }
            KdTerm::Exits { .. } => self.exits(outputs, targets)?,
            KdTerm::QueryKey { heads } => self.query_key(*heads, outputs, targets)?,
            loss if loss.is_on_logits() => self.sum(outputs, |pair, student| {
                self.on_logits(pair, student, targets)
            })?,
            _ => self.sum(outputs, |pair, student| {
                self.on_features(pair, student, targets)
            })?,
        };
        let mut gradients: Vec<Option<ArrayD<f32>>> = vec![None; outputs.len()];
        for (place, gradient) in parts {
            match gradients.get_mut(place) {
                Some(Some(sum)) => *sum += &gradient,
                Some(empty) => *empty = Some(gradient),
                None => {}
            }
        }
        Ok(LossValue {
            value,
            gradients,
            parts: Vec::new(),
        })
    }

    /// The sum of a loss over the pairs.
    fn sum(
        &self,
        outputs: &Outputs<'_>,
        loss: impl Fn(&Pair, &ArrayViewD<'_, f32>) -> Result<(f64, ArrayD<f32>), LossError>,
    ) -> Result<Found, LossError> {
        let (mut whole, mut parts) = (0.0, Vec::with_capacity(self.pairs.len()));
        for pair in &self.pairs {
            let place = outputs.position(&pair.student)?;
            let (value, gradient) = loss(pair, outputs.get(place)?.1)?;
            whole += value;
            parts.push((place, gradient));
        }
        Ok((whole, parts))
    }

    fn cross_entropy(
        &self,
        label_smoothing: f64,
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
    ) -> Result<Found, LossError> {
        let loss = CrossEntropy::default().with_label_smoothing(label_smoothing);
        self.sum(outputs, |_, student| {
            let logits = matrix(student)?;
            let found = match self.labels(targets)? {
                Some(Labels::Classes(labels)) => loss.loss(&logits, &labels),
                Some(Labels::Shares(shares)) => loss.loss_soft(&logits, &shares),
                None => return Err(foreign("cross-entropy needs labels")),
            };
            dynamic(found)
        })
    }

    fn exits(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<Found, LossError> {
        let KdTerm::Exits {
            alpha,
            temperature,
            weights,
            ..
        } = &self.term.loss
        else {
            return Err(foreign("the term has no exits"));
        };
        let Some(Labels::Classes(labels)) = self.labels(targets)? else {
            return Err(foreign(
                "exits teach one another beside labels, which are classes",
            ));
        };
        let mut loss = SelfDistillation::new(KdLoss::new(*alpha, *temperature));
        loss.weights.clone_from(weights);
        let places: Vec<usize> = self
            .pairs
            .iter()
            .map(|pair| outputs.position(&pair.student))
            .collect::<Result<_, _>>()?;
        let mut exits = Vec::with_capacity(places.len());
        for &place in &places {
            exits.push(matrix(outputs.get(place)?.1)?);
        }
        let (value, gradients) = loss.loss(&exits, &labels).map_err(told)?;
        let gradients = gradients.into_iter().map(Array2::into_dyn);
        Ok((value, places.into_iter().zip(gradients).collect()))
    }

    /// Queries and keys: pairs of pairs.
    fn query_key(
        &self,
        heads: usize,
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
    ) -> Result<Found, LossError> {
        let mask = mask(targets)?;
        let (mut whole, mut parts) = (0.0, Vec::new());
        for layer in self.pairs.chunks_exact(2) {
            let places = [&layer[0], &layer[1]].map(|pair| outputs.position(&pair.student));
            let [query, key] = places;
            let (query, key) = (query?, key?);
            let of = |place: usize| tokens(outputs.get(place)?.1);
            let (q, k) = (of(query)?, of(key)?);
            let (of_query, of_key) = (&layer[0].teachers[0], &layer[1].teachers[0]);
            let teacher = (column(targets, of_query)?, column(targets, of_key)?);
            let teacher = (tokens(teacher.0)?, tokens(teacher.1)?);
            let found = Relations::new(heads).attention(
                (&q, &k),
                (&teacher.0, &teacher.1),
                mask.as_deref(),
            );
            let (value, gradients) = found.map_err(told)?;
            whole += value;
            parts.push((query, gradients.query.into_dyn()));
            parts.push((key, gradients.key.into_dyn()));
        }
        Ok((whole, parts))
    }

    fn on_logits(
        &self,
        pair: &Pair,
        student: &ArrayViewD<'_, f32>,
        targets: &Targets<'_>,
    ) -> Result<(f64, ArrayD<f32>), LossError> {
        let pooled = pool::mean(student, self.term.pool, || mask(targets))?;
        let pooled_view = pooled.view();
        let logits = matrix(&pooled_view)?;
        let mut views = Vec::with_capacity(pair.teachers.len());
        for name in &pair.teachers {
            views.push(pool::mean(column(targets, name)?, self.term.pool, || {
                mask(targets)
            })?);
        }
        let all: Vec<ArrayViewD<'_, f32>> = views.iter().map(pool::Pooled::view).collect();
        let all: Vec<ArrayView2<'_, f32>> = all.iter().map(matrix).collect::<Result<_, _>>()?;
        let one = |temperature| self.one_teacher(&all, temperature);
        let (value, gradient) = match &self.term.loss {
            KdTerm::Kd {
                alpha,
                temperature,
                label_smoothing,
            } => {
                let ce = CrossEntropy::default().with_label_smoothing(*label_smoothing);
                let loss = KdLoss::new(*alpha, *temperature).with_cross_entropy(ce);
                let teacher = one(*temperature)?;
                mixed(&loss, &logits, &teacher.view(), self.labels(targets)?)
            }
            KdTerm::Kl { temperature } => kl_divergence(&logits, &one(*temperature)?, *temperature),
            KdTerm::ReverseKl { temperature } => {
                reverse_kl_divergence(&logits, &one(*temperature)?, *temperature)
            }
            KdTerm::BinaryKd {
                alpha,
                temperature,
                positive_weights,
            } => {
                let teacher = self.mean_teacher(&all)?;
                let labels = self.many_labels(targets, logits.ncols())?;
                // Without labels all of the share is the teacher's.
                let alpha = if labels.is_some() { *alpha } else { 1.0 };
                let mut loss = BinaryKdLoss::new(alpha, *temperature);
                loss.positive_weights.clone_from(positive_weights);
                let labels = labels.unwrap_or_else(|| Array2::zeros(logits.raw_dim()));
                loss.loss(&logits, &teacher, &labels)
            }
            KdTerm::Dkd {
                alpha,
                beta,
                temperature,
            } => {
                let Some(Labels::Classes(labels)) = self.labels(targets)? else {
                    return Err(foreign("dkd needs labels, which are classes"));
                };
                let loss = DecoupledKd::new(*alpha, *beta, *temperature);
                loss.loss(&logits, &one(*temperature)?, &labels)
            }
            _ => logit_regression(&logits, &self.mean_teacher(&all)?),
        }
        .map_err(told)?;
        Ok((value, pooled.back(gradient.into_dyn())?))
    }

    /// The logits of all teachers as one's.
    fn one_teacher(
        &self,
        all: &[ArrayView2<'_, f32>],
        temperature: f64,
    ) -> Result<Array2<f32>, LossError> {
        if let [sole] = all {
            return Ok(sole.to_owned());
        }
        let mean = if self.ensemble.geometric {
            TeacherMean::Geometric
        } else {
            TeacherMean::Arithmetic
        };
        ensemble(all, self.ensemble.weights.as_deref(), temperature, mean).map_err(told)
    }

    /// The weighted mean of what all teachers say, for losses that are no functions of distributions.
    fn mean_teacher(&self, all: &[ArrayView2<'_, f32>]) -> Result<Array2<f32>, LossError> {
        if let [sole] = all {
            return Ok(sole.to_owned());
        }
        let equal = vec![1.0; all.len()];
        let weights = self.ensemble.weights.as_ref().unwrap_or(&equal);
        let sum: f64 = weights.iter().sum();
        let Some(first) = all.first() else {
            return Err(foreign("there is no teacher"));
        };
        let mut mean = Array2::<f64>::zeros(first.raw_dim());
        for (teacher, weight) in all.iter().zip(weights) {
            if teacher.shape() != first.shape() {
                return Err(foreign("the teachers' outputs are not of one shape"));
            }
            mean.zip_mut_with(teacher, |m, &t| *m += weight / sum * f64::from(t));
        }
        Ok(mean.mapv(|m| m as f32))
    }

    fn on_features(
        &self,
        pair: &Pair,
        student: &ArrayViewD<'_, f32>,
        targets: &Targets<'_>,
    ) -> Result<(f64, ArrayD<f32>), LossError> {
        let Some(name) = pair.teachers.first() else {
            return Err(foreign("there is no teacher"));
        };
        let teacher = column(targets, name)?;
        let s = pool::mean(student, self.term.pool, || mask(targets))?;
        let t = pool::mean(teacher, self.term.pool, || mask(targets))?;
        let (student, teacher) = (s.view(), t.view());
        let is_pooled = self.term.pool != Pooling::None;
        let found = match &self.term.loss {
            KdTerm::Hint {} => {
                let axis = channel_axis(student.ndim());
                let found = features::hint(&student, &teacher, axis, None);
                found.map(|(value, gradients)| (value, gradients.student))
            }
            KdTerm::Attention { power } => {
                let loss = AttentionTransfer::new(*power, AttentionDistance::SquaredMean);
                loss.loss(&student, &teacher)
            }
            KdTerm::Cosine {} if student.ndim() == 3 && !is_pooled => {
                return cosine_of_tokens(&student, &teacher, mask(targets)?);
            }
            KdTerm::Cosine {} => cosine_embedding(&student, &teacher),
            KdTerm::RkdDistance {} => rkd_distance(&student, &teacher),
            KdTerm::RkdAngle {} => rkd_angle(&student, &teacher),
            KdTerm::Similarity {} => similarity_preserving(&student, &teacher),
            KdTerm::Correlation { gamma } => {
                let kernel = match *gamma {
                    0.0 => CorrelationKernel::Bilinear,
                    gamma => CorrelationKernel::Gaussian(gamma),
                };
                CorrelationCongruence::new(kernel).loss(&student, &teacher)
            }
            KdTerm::Pkt {} => probabilistic_transfer(&student, &teacher),
            _ => return self.on_layers(&student, &teacher, targets),
        };
        let (value, gradient) = found.map_err(told)?;
        Ok((value, s.back(gradient)?))
    }

    /// What transformers hold between their layers.
    fn on_layers(
        &self,
        student: &ArrayViewD<'_, f32>,
        teacher: &ArrayViewD<'_, f32>,
        targets: &Targets<'_>,
    ) -> Result<(f64, ArrayD<f32>), LossError> {
        let mask = mask(targets)?;
        let mask = mask.as_deref();
        match &self.term.loss {
            KdTerm::Relation { heads } => {
                let (s, t) = (tokens(student)?, tokens(teacher)?);
                dynamic(Relations::new(*heads).within(&s, &t, mask))
            }
            KdTerm::HiddenState {} => {
                let (s, t) = (tokens(student)?, tokens(teacher)?);
                let found = hidden_state(&s, &t, None, mask);
                dynamic(found.map(|(value, gradients)| (value, gradients.student)))
            }
            KdTerm::AttentionDivergence {} | KdTerm::AttentionRegression {} => {
                let rank = "[samples, heads, queries, keys]";
                let s = fixed::<Ix4>(student, rank)?;
                let t = fixed::<Ix4>(teacher, rank)?;
                dynamic(match &self.term.loss {
                    KdTerm::AttentionDivergence {} => attention_divergence(&s, &t, mask),
                    _ => attention_regression(&s, &t, mask),
                })
            }
            loss => Err(foreign(&format!(
                "loss `{}` is no loss on features",
                loss.name()
            ))),
        }
    }

    /// Labels of which each holds or not, `[samples, labels]`.
    fn many_labels(
        &self,
        targets: &Targets<'_>,
        count: usize,
    ) -> Result<Option<Array2<f32>>, LossError> {
        let Some(name) = &self.labels else {
            return Ok(None);
        };
        let (name, target) = targets.get(targets.position(name)?)?;
        let found = target.shape().to_vec();
        let values = match target {
            Target::Classes(truths) => truths.mapv(|truth| truth as f32),
            Target::Values(shares) => shares.to_owned(),
        };
        let samples = found.first().copied().unwrap_or(0);
        let values = values.into_shape_with_order((samples, count));
        values.map(Some).map_err(|_| LossError::Shape {
            what: "target",
            name: name.to_owned(),
            found,
            expected: format!("[{samples}, {count}], 0 or 1 for each label"),
        })
    }

    fn labels<'t>(&self, targets: &Targets<'t>) -> Result<Option<Labels<'t>>, LossError> {
        let Some(name) = &self.labels else {
            return Ok(None);
        };
        let place = targets.position(name)?;
        let (name, target) = targets.get(place)?;
        let misfit = |expected: &str| LossError::Shape {
            what: "target",
            name: name.to_owned(),
            found: target.shape().to_vec(),
            expected: expected.to_owned(),
        };
        Ok(Some(match target {
            Target::Classes(classes) => {
                let samples = classes.shape().first().copied().unwrap_or(0);
                let classes = classes.to_owned().into_shape_with_order(samples);
                Labels::Classes(classes.map_err(|_| misfit("[samples]"))?)
            }
            Target::Values(shares) => {
                let shares = shares.clone().into_dimensionality::<Ix2>();
                Labels::Shares(shares.map_err(|_| misfit("[samples, classes]"))?)
            }
        }))
    }
}

/// The channels of images stand behind the samples, those of tokens last.
pub(super) fn channel_axis(rank: usize) -> Axis {
    Axis(if rank > 3 { 1 } else { rank.saturating_sub(1) })
}

/// The cosines of the tokens that count, each one a sample.
fn cosine_of_tokens(
    student: &ArrayViewD<'_, f32>,
    teacher: &ArrayViewD<'_, f32>,
    mask: Option<Array2<bool>>,
) -> Result<(f64, ArrayD<f32>), LossError> {
    let (s, t) = (tokens(student)?, tokens(teacher)?);
    let (n, l, d) = s.dim();
    if t.dim() != (n, l, d) {
        return Err(told(KdError::Shape {
            what: "the teacher's features",
            found: t.shape().to_vec(),
            reference: "the student's features",
            expected: vec![n, l, d],
        }));
    }
    let counts = |i: usize, token: usize| mask.as_ref().is_none_or(|m| m[[i, token]]);
    let places = (0..n).flat_map(|i| (0..l).map(move |token| (i, token)));
    let places: Vec<(usize, usize)> = places.filter(|&(i, token)| counts(i, token)).collect();
    let mut gradient = ArrayD::zeros(student.raw_dim());
    if places.is_empty() {
        return Ok((0.0, gradient));
    }
    let rows = |of: &ndarray::ArrayView3<'_, f32>| {
        let value = |(row, k): (usize, usize)| of[[places[row].0, places[row].1, k]];
        Array2::from_shape_fn((places.len(), d), value)
    };
    let (value, by_row) = cosine_embedding(&rows(&s), &rows(&t)).map_err(told)?;
    for (&(i, token), row) in places.iter().zip(by_row.rows()) {
        for (k, &g) in row.iter().enumerate() {
            gradient[[i, token, k]] = g;
        }
    }
    Ok((value, gradient))
}

fn column<'a, 't>(
    targets: &'a Targets<'t>,
    name: &str,
) -> Result<&'a ArrayViewD<'t, f32>, LossError> {
    Ok(targets.values(targets.position(name)?)?.1)
}

/// The tokens that count, `[n, l]`; none where there is no mask.
pub(super) fn mask(targets: &Targets<'_>) -> Result<Option<Array2<bool>>, LossError> {
    let name = mask_column();
    let Ok(place) = targets.position(&name) else {
        return Ok(None);
    };
    let (_, target) = targets.get(place)?;
    let counts = match target {
        Target::Classes(classes) => classes.mapv(|c| c != 0),
        Target::Values(values) => values.mapv(|v| v != 0.0),
    };
    let found = counts.shape().to_vec();
    let counts = counts.into_dimensionality::<Ix2>();
    counts.map(Some).map_err(|_| LossError::Shape {
        what: "target",
        name,
        found,
        expected: "[samples, tokens]".into(),
    })
}

pub(super) fn matrix<'a>(array: &'a ArrayViewD<'_, f32>) -> Result<ArrayView2<'a, f32>, LossError> {
    // Axes of 1 behind the classes, as pooling leaves them, say nothing.
    if array.ndim() > 2 && array.shape()[2..].iter().all(|&n| n == 1) {
        let mut view = array.view();
        while view.ndim() > 2 {
            view = view.index_axis_move(Axis(2), 0);
        }
        return view
            .into_dimensionality::<Ix2>()
            .map_err(|e| foreign(&e.to_string()));
    }
    let view = array.view().into_dimensionality::<Ix2>();
    view.map_err(|_| rank(array, "[samples, classes]"))
}

fn tokens<'a>(array: &'a ArrayViewD<'_, f32>) -> Result<ndarray::ArrayView3<'a, f32>, LossError> {
    fixed::<Ix3>(array, "[samples, tokens, width]")
}

fn fixed<'a, D: Dimension>(
    array: &'a ArrayViewD<'_, f32>,
    expected: &str,
) -> Result<ndarray::ArrayView<'a, f32, D>, LossError> {
    let view = array.view().into_dimensionality::<D>();
    view.map_err(|_| rank(array, expected))
}

fn rank<D: Dimension>(array: &ArrayRef<f32, D>, expected: &str) -> LossError {
    foreign(&format!(
        "a tapped tensor has shape {:?}, the loss needs {expected}",
        array.shape()
    ))
}

fn dynamic<D: Dimension>(
    found: Result<(f64, ndarray::Array<f32, D>), KdError>,
) -> Result<(f64, ArrayD<f32>), LossError> {
    let (value, gradient) = found.map_err(told)?;
    Ok((value, gradient.into_dyn()))
}

/// An error of the array level in a loss.
pub(super) fn told(error: KdError) -> LossError {
    foreign(&error.to_string())
}

pub(super) fn foreign(reason: &str) -> LossError {
    LossError::Foreign {
        reason: reason.to_owned(),
    }
}
