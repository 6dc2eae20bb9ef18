//! Attention transfer: where a convolutional network looks.

use super::{STUDENT, TEACHER};
use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use ndarray::{Array, ArrayRef, ArrayView, Axis, Dimension, RemoveAxis};
use num_traits::Float;

/// How two attention maps of length 1 are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttentionDistance {
    /// `1/hw · Σ (q_S - q_T)²`: the mean of squares that the authors' code computes.
    SquaredMean,
    /// `½ · ‖q_S - q_T‖_p` with this `p`, at least 1: eq. 2 of the paper, where `p` is 2.
    Norm(f64),
}

/// Attention transfer: `1/n · Σ D(q_S, q_T)` of normalized spatial attention maps `q`.
///
/// Zagoruyko, Komodakis 2017, "Paying more attention to attention" (arXiv:1612.03928), sec. 3.1. The map of activations
/// `A` `[c, h, w]` is `Q = Σ_c |A_c|^p` over the channels, as one vector of `h·w` places, and `q = Q/‖Q‖₂`. `D` is an
/// [`AttentionDistance`]; mean over the batch. The networks may differ in channels, not in places. Multiply by `β` (1000 in
/// the paper, divided by places and batch) and sum over the layers. Where all activations are zero the map is zero, and so is
/// its gradient; a norm `‖q_S - q_T‖_p` has gradient zero where the maps are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionTransfer {
    /// `p` of the map: at least 1.
    pub power: f64,
    /// `D`.
    pub distance: AttentionDistance,
}

impl Default for AttentionTransfer {
    /// `p = 2` and the mean of squares.
    fn default() -> Self {
        Self::new(2.0, AttentionDistance::SquaredMean)
    }
}

impl AttentionTransfer {
    /// With this power and distance.
    pub fn new(power: f64, distance: AttentionDistance) -> Self {
        Self { power, distance }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`KdError::Setting`].
    pub fn validate(&self) -> Result<(), KdError> {
        let holds = |p: f64| p >= 1.0 && p.is_finite();
        let rule = "it must be finite and at least 1";
        check::setting("the power of the attention map", self.power, holds, rule)?;
        match self.distance {
            AttentionDistance::SquaredMean => Ok(()),
            AttentionDistance::Norm(p) => check::setting("the order of the norm", p, holds, rule),
        }
    }

    /// Value and gradient.
    ///
    /// # Shapes
    /// `student` `[n, c_S, …]` and `teacher` `[n, c_T, …]`, at least 3 axes, the same behind the channels; finite.
    ///
    /// # Errors
    /// [`KdError::Rank`], [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Setting`],
    /// [`KdError::Overflow`].
    pub fn loss<F: Float, D: RemoveAxis>(
        &self,
        student: &ArrayRef<F, D>,
        teacher: &ArrayRef<F, D>,
    ) -> Result<(f64, Array<F, D>), KdError> {
        self.validate()?;
        check::rank(STUDENT, student.shape(), 3)?;
        check::rank(TEACHER, teacher.shape(), 3)?;
        let mut expected = student.shape().to_vec();
        expected[1] = teacher.shape()[1];
        check::shape(TEACHER, teacher.shape(), STUDENT, &expected)?;
        check::readable(STUDENT, student)?;
        check::readable(TEACHER, teacher)?;
        let n = student.shape()[0];
        let places = student.shape()[2..].iter().product();
        let mut gradient = Array::zeros(student.raw_dim());
        let mut value = 0.0;
        for (index, mut out) in gradient.outer_iter_mut().enumerate() {
            let map = Map::of(student.index_axis(Axis(0), index), places, self.power);
            let target = Map::of(teacher.index_axis(Axis(0), index), places, self.power);
            let (term, by_map) = self.compare(&map.unit, &target.unit);
            value += term / n as f64;
            let by_activation = map.back(&by_map, self.power, 1.0 / n as f64);
            for (out, g) in out.iter_mut().zip(by_activation) {
                *out = narrow(g);
            }
        }
        Ok((check::value(value)?, check::gradient(gradient)?))
    }

    /// `D` and its gradient by the first map.
    fn compare(&self, q: &[f64], target: &[f64]) -> (f64, Vec<f64>) {
        let differences: Vec<f64> = q.iter().zip(target).map(|(q, t)| q - t).collect();
        match self.distance {
            AttentionDistance::SquaredMean => {
                let places = q.len() as f64;
                let sum: f64 = differences.iter().map(|d| d * d).sum();
                let gradient = differences.iter().map(|d| 2.0 * d / places);
                (sum / places, gradient.collect())
            }
            AttentionDistance::Norm(p) => {
                let (norm, gradient) = norm(&differences, p);
                (0.5 * norm, gradient.iter().map(|g| 0.5 * g).collect())
            }
        }
    }
}

/// `‖d‖_p` and its gradient `sign(d) (|d|/‖d‖_p)^(p-1)`; zero where `d` is.
fn norm(d: &[f64], p: f64) -> (f64, Vec<f64>) {
    let max = d.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
    if max == 0.0 {
        return (0.0, vec![0.0; d.len()]);
    }
    let sum: f64 = d.iter().map(|d| (d.abs() / max).powf(p)).sum();
    let norm = max * sum.powf(1.0 / p);
    let slope = |&d: &f64| match d {
        0.0 => 0.0,
        d => d.signum() * (d.abs() / norm).powf(p - 1.0),
    };
    (norm, d.iter().map(slope).collect())
}

/// `x^p`; the powers of maps of `p = 2`, by far the most used, without a call.
fn powered(x: f64, p: f64) -> f64 {
    match p {
        1.0 => x,
        2.0 => x * x,
        _ => x.powf(p),
    }
}

/// The attention map of a sample.
struct Map {
    /// The activations divided by the greatest magnitude, `[c, places]`: a normalized map does not change by it, and no
    /// power overflows.
    activations: Vec<f64>,
    greatest: f64,
    /// `Q/‖Q‖₂` of the divided activations.
    unit: Vec<f64>,
    length: f64,
}

impl Map {
    fn of<F: Float, D: Dimension>(sample: ArrayView<'_, F, D>, places: usize, power: f64) -> Self {
        let mut activations: Vec<f64> = sample.iter().map(|&a| wide(a)).collect();
        let greatest = activations.iter().fold(0.0, |m: f64, a| m.max(a.abs()));
        let mut unit = vec![0.0; places];
        if greatest == 0.0 {
            return Self {
                activations,
                greatest,
                unit,
                length: 0.0,
            };
        }
        for channel in activations.chunks_exact_mut(places) {
            for (a, q) in channel.iter_mut().zip(&mut unit) {
                *a /= greatest;
                *q += powered(a.abs(), power);
            }
        }
        let length = unit.iter().map(|q| q * q).sum::<f64>().sqrt();
        for q in &mut unit {
            *q /= length;
        }
        Self {
            activations,
            greatest,
            unit,
            length,
        }
    }

    /// `scale` times the gradient by the activations, from that by the normalized map.
    fn back(mut self, by_unit: &[f64], power: f64, scale: f64) -> Vec<f64> {
        if self.greatest == 0.0 {
            return self.activations;
        }
        let along: f64 = by_unit.iter().zip(&self.unit).map(|(g, q)| g * q).sum();
        let by_map = by_unit.iter().zip(&self.unit);
        let by_map: Vec<f64> = by_map.map(|(g, q)| (g - along * q) / self.length).collect();
        for channel in self.activations.chunks_exact_mut(by_map.len()) {
            for (a, g) in channel.iter_mut().zip(&by_map) {
                let slope = match *a {
                    0.0 => 0.0,
                    a => power * a.signum() * powered(a.abs(), power - 1.0),
                };
                *a = scale * g * slope / self.greatest;
            }
        }
        self.activations
    }
}
