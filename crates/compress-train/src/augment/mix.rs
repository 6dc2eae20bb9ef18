//! Mixing: samples, and their labels with them.

use super::geometry::{check_probability, find};
use super::images::{Images, Layout, Pixel, no_image, on_pixels};
use super::{Draws, Transform};
use crate::data::{Batch, Column, DataError, Kind, Spare, Values, check_setting};
use serde::{Deserialize, Serialize};

/// `x ← λx + (1−λ)x'`, `t ← λt + (1−λ)t'` with another sample `x'` of the batch and `λ` drawn from `Beta(α, α)`
/// (Zhang et al. 2018, arXiv:1710.09412).
///
/// The labels, numbers of classes or probabilities, become probabilities `[classes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixup {
    /// The column that is mixed, of any shape.
    pub column: String,
    /// The column of labels.
    pub labels: String,
    /// The number of classes.
    pub classes: usize,
    /// `α`.
    pub alpha: f64,
    /// The probability that a sample is mixed.
    pub probability: f64,
}

/// Puts a box of another image of the batch into each image; labels are mixed by area (Yun et al. 2019, arXiv:1905.04899).
///
/// The box has the share `1 − λ` of the image, `λ` drawn from `Beta(α, α)`, and may reach over the edge; then what is left counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CutMix {
    /// The images.
    pub images: Images,
    /// The column of labels.
    pub labels: String,
    /// The number of classes.
    pub classes: usize,
    /// `α`.
    pub alpha: f64,
    /// The probability that a sample is mixed.
    pub probability: f64,
}

/// What one sample is mixed with, and its own share.
struct Pairing {
    with: usize,
    share: f64,
}

impl Transform for Mixup {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        check(self.alpha, self.probability)?;
        let samples = batch.len();
        let pairings: Vec<Option<Pairing>> = draws
            .each(&batch.indices, &batch.repetitions)
            .map(|mut random| {
                random.coin(self.probability).then(|| Pairing {
                    with: random.below(samples as u64) as usize,
                    share: random.beta(self.alpha, self.alpha),
                })
            })
            .collect();
        mix_labels(batch, &self.labels, self.classes, &pairings)?;
        let column = find(&mut batch.columns, &self.column)?;
        let count = column.field.count();
        on_pixels!(column, pixels => blend(pixels, count, &pairings));
        Ok(())
    }
}

impl Transform for CutMix {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        check(self.alpha, self.probability)?;
        let samples = batch.len();
        let layout = self.images.layout(batch.column(&self.images.column)?)?;
        let area = (layout.height * layout.width) as f64;
        let mut boxes = Vec::with_capacity(samples);
        let mut pairings = Vec::with_capacity(samples);
        for mut random in draws.each(&batch.indices, &batch.repetitions) {
            if !random.coin(self.probability) || area == 0.0 {
                pairings.push(None);
                boxes.push(None);
                continue;
            }
            let with = random.below(samples as u64) as usize;
            let side = (1.0 - random.beta(self.alpha, self.alpha)).sqrt();
            let mut span = |length: usize| {
                let half = (side * length as f64) as usize / 2;
                let centre = random.below(length as u64) as usize;
                centre.saturating_sub(half)..(centre + half).min(length)
            };
            let (rows, columns) = (span(layout.height), span(layout.width));
            let share = 1.0 - (rows.len() * columns.len()) as f64 / area;
            pairings.push(Some(Pairing { with, share }));
            boxes.push(Some((rows, columns, with)));
        }
        mix_labels(batch, &self.labels, self.classes, &pairings)?;
        let column = find(&mut batch.columns, &self.images.column)?;
        on_pixels!(column, pixels => paste(pixels, layout, &boxes));
        Ok(())
    }
}

type Window = (std::ops::Range<usize>, std::ops::Range<usize>, usize);

fn paste<P: Pixel>(pixels: &mut [P], layout: Layout, boxes: &[Option<Window>]) {
    let original = pixels.to_vec();
    let count = layout.count().max(1);
    for (image, window) in pixels.chunks_exact_mut(count).zip(boxes) {
        let Some((rows, columns, with)) = window else {
            continue;
        };
        let other = &original[with * count..(with + 1) * count];
        for y in rows.clone() {
            for x in columns.clone() {
                for c in 0..layout.channels {
                    let at = layout.at(c, y, x);
                    image[at] = other[at];
                }
            }
        }
    }
}

fn blend<P: Pixel>(values: &mut [P], count: usize, pairings: &[Option<Pairing>]) {
    let original = values.to_vec();
    for (sample, pairing) in values.chunks_exact_mut(count.max(1)).zip(pairings) {
        let Some(Pairing { with, share }) = pairing else {
            continue;
        };
        for (v, other) in sample
            .iter_mut()
            .zip(&original[with * count..(with + 1) * count])
        {
            *v = P::from_f64(share * v.to_f64() + (1.0 - share) * other.to_f64());
        }
    }
}

/// Turns labels into probabilities and mixes them.
fn mix_labels(
    batch: &mut Batch,
    name: &str,
    classes: usize,
    pairings: &[Option<Pairing>],
) -> Result<(), DataError> {
    check_setting(
        "the number of classes",
        classes as f64,
        classes > 0,
        "it must be 1 or more",
    )?;
    let Batch {
        indices,
        columns,
        spare,
        ..
    } = batch;
    let column = find(columns, name)?;
    let mut shares = probabilities(column, indices, classes, spare)?;
    blend(&mut shares, classes, pairings);
    column.field.kind = Kind::F32;
    column.field.shape = vec![classes];
    spare.keep(std::mem::replace(&mut column.values, Values::F32(shares)));
    Ok(())
}

fn probabilities(
    column: &Column,
    indices: &[usize],
    classes: usize,
    spare: &mut Spare,
) -> Result<Vec<f32>, DataError> {
    if let Values::F32(values) = &column.values
        && column.field.shape == [classes]
    {
        let mut shares = spare.take_f32();
        shares.extend_from_slice(values);
        return Ok(shares);
    }
    if column.field.count() != 1 {
        return Err(DataError::Shape {
            field: column.field.name.clone(),
            found: column.field.shape.clone(),
            expected: format!("[], or [{classes}] for probabilities"),
        });
    }
    let label = |at: usize| match &column.values {
        Values::I64(v) => Ok(v[at]),
        Values::U8(v) => Ok(i64::from(v[at])),
        Values::F32(_) => Err(DataError::WrongKind {
            field: column.field.name.clone(),
            expected: Kind::I64,
            found: Kind::F32,
        }),
    };
    let mut shares = spare.take_f32();
    shares.resize(indices.len() * classes, 0.0);
    for (at, &sample) in indices.iter().enumerate() {
        let label = label(at)?;
        let class = usize::try_from(label).ok().filter(|&c| c < classes);
        let class = class.ok_or_else(|| DataError::NoSuchClass {
            field: column.field.name.clone(),
            sample,
            label,
            classes,
        })?;
        shares[at * classes + class] = 1.0;
    }
    Ok(shares)
}

fn check(alpha: f64, probability: f64) -> Result<(), DataError> {
    let is_right = alpha.is_finite() && alpha > 0.0;
    check_setting(
        "alpha of a mixture",
        alpha,
        is_right,
        "it must be a positive number",
    )?;
    check_probability("the probability of a mixture", probability)
}
