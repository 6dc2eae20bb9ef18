//! Changes of what pixels are: brightness, contrast, holes, normalisation.

use super::geometry::{check_probability, find};
use super::images::{Images, Layout, Pixel, no_image, on_pixels};
use super::{Draws, Transform};
use crate::data::{Batch, Column, DataError, Kind, Values, check_setting};
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Random brightness and contrast: `v ← b · (m + c (v − m))` with the image's mean `m`, `b` and `c` drawn from `1 ± brightness` and
/// `1 ± contrast`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// The images.
    pub images: Images,
    /// How far the brightness may go from 1.
    #[serde(default)]
    pub brightness: f64,
    /// How far the contrast may go from 1.
    #[serde(default)]
    pub contrast: f64,
}

/// Sets a square around a random pixel to one value (DeVries and Taylor 2017, arXiv:1708.04552); it may reach over the edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutout {
    /// The images.
    pub images: Images,
    /// The side of the square in pixels.
    pub size: usize,
    /// The value.
    #[serde(default)]
    pub fill: f64,
    /// The probability that an image gets a hole.
    pub probability: f64,
}

/// `(v − mean) / deviation` by channel; the column is `f32` from there on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// The images.
    pub images: Images,
    /// The mean of each channel, or one for all.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel, or one for all.
    pub deviation: Vec<f64>,
}

impl Transform for Jitter {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        check_probability("the range of the brightness", self.brightness)?;
        check_probability("the range of the contrast", self.contrast)?;
        let Batch {
            indices,
            repetitions,
            columns,
            ..
        } = batch;
        let column = find(columns, &self.images.column)?;
        let layout = self.images.layout(column)?;
        let streams = draws.each(indices, repetitions);
        on_pixels!(column, pixels => self.jitter(pixels, streams, layout));
        Ok(())
    }
}

impl Jitter {
    fn jitter<P: Pixel>(
        &self,
        pixels: &mut [P],
        streams: impl Iterator<Item = Random>,
        layout: Layout,
    ) {
        let images = pixels.chunks_exact_mut(layout.count().max(1));
        for (mut random, image) in streams.zip(images) {
            let b = random.between(1.0 - self.brightness, 1.0 + self.brightness);
            let c = random.between(1.0 - self.contrast, 1.0 + self.contrast);
            let mean = image.iter().map(|v| v.to_f64()).sum::<f64>() / image.len() as f64;
            for v in image {
                *v = P::from_f64(b * (mean + c * (v.to_f64() - mean)));
            }
        }
    }
}

impl Transform for Cutout {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        check_probability("the probability of a hole", self.probability)?;
        let Batch {
            indices,
            repetitions,
            columns,
            ..
        } = batch;
        let column = find(columns, &self.images.column)?;
        let layout = self.images.layout(column)?;
        let streams = draws.each(indices, repetitions);
        on_pixels!(column, pixels => self.cut(pixels, streams, layout));
        Ok(())
    }
}

impl Cutout {
    fn cut<P: Pixel>(
        &self,
        pixels: &mut [P],
        streams: impl Iterator<Item = Random>,
        layout: Layout,
    ) {
        let fill = P::from_f64(self.fill);
        let images = pixels.chunks_exact_mut(layout.count().max(1));
        for (mut random, image) in streams.zip(images) {
            if !random.coin(self.probability) {
                continue;
            }
            let mut side = |length: usize| {
                let centre = random.below(length as u64) as usize;
                let start = centre.saturating_sub(self.size / 2);
                start..(centre + self.size.div_ceil(2)).min(length)
            };
            let (rows, columns) = (side(layout.height), side(layout.width));
            for y in rows {
                for x in columns.clone() {
                    (0..layout.channels).for_each(|c| image[layout.at(c, y, x)] = fill);
                }
            }
        }
    }
}

impl Transform for Normalize {
    fn apply(&self, batch: &mut Batch, _: &Draws) -> Result<(), DataError> {
        let Batch { columns, spare, .. } = batch;
        let column = find(columns, &self.images.column)?;
        let layout = self.images.layout(column)?;
        let mean = by_channel("the number of means", &self.mean, layout.channels)?;
        let deviation = by_channel("the number of deviations", &self.deviation, layout.channels)?;
        for &d in &deviation {
            check_setting(
                "a deviation",
                d,
                d.is_finite() && d > 0.0,
                "it must be a positive number",
            )?;
        }
        let count = layout.count().max(1);
        let normalized = |at: usize, v: f64| {
            let c = layout.channel_of(at % count);
            ((v - mean[c]) / deviation[c]) as f32
        };
        match &mut column.values {
            Values::F32(values) => {
                for (at, v) in values.iter_mut().enumerate() {
                    *v = normalized(at, f64::from(*v));
                }
            }
            Values::U8(bytes) => {
                let mut values = spare.take_f32();
                let bytes = bytes.iter().enumerate();
                values.extend(bytes.map(|(at, &v)| normalized(at, f64::from(v))));
                spare.keep(std::mem::replace(&mut column.values, Values::F32(values)));
            }
            Values::I64(_) => return Err(no_image(column)),
        }
        column.field.kind = Kind::F32;
        Ok(())
    }
}

fn by_channel(
    setting: &'static str,
    values: &[f64],
    channels: usize,
) -> Result<Vec<f64>, DataError> {
    if let [one] = values {
        return Ok(vec![*one; channels]);
    }
    let is_right = values.len() == channels;
    check_setting(
        setting,
        values.len() as f64,
        is_right,
        "there must be one, or one for each channel",
    )?;
    Ok(values.to_vec())
}

/// Mean and deviation of each channel, gathered batch by batch; what [`Normalize`] and
/// [`crate::optimizer::InputNormalization`] take. (Merged as Chan, Golub and LeVeque 1983.)
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Takes in the images of a column.
    ///
    /// # Errors
    /// [`DataError::Shape`], [`DataError::WrongKind`]; [`DataError::Setting`] for another number of channels than before.
    pub fn add(&mut self, images: &Images, column: &Column) -> Result<(), DataError> {
        let layout = images.layout(column)?;
        let channels = layout.channels;
        if self.mean.is_empty() {
            self.mean = vec![0.0; channels];
            self.squares = vec![0.0; channels];
        }
        let is_right = self.mean.len() == channels;
        check_setting(
            "the number of channels",
            channels as f64,
            is_right,
            "it must stay the same",
        )?;
        let pixels: Box<dyn Fn(usize) -> f64> = match &column.values {
            Values::F32(v) => Box::new(|at| f64::from(v[at])),
            Values::U8(v) => Box::new(|at| f64::from(v[at])),
            Values::I64(_) => return Err(no_image(column)),
        };
        let (total, count) = (column.values.len(), layout.count().max(1));
        let each = (total / channels.max(1)) as f64;
        if each == 0.0 {
            return Ok(());
        }
        let mut mean = vec![0.0; channels];
        (0..total).for_each(|at| mean[layout.channel_of(at % count)] += pixels(at));
        mean.iter_mut().for_each(|m| *m /= each);
        let mut squares = vec![0.0; channels];
        for at in 0..total {
            let c = layout.channel_of(at % count);
            squares[c] += (pixels(at) - mean[c]).powi(2);
        }
        let all = self.count + each;
        for c in 0..channels {
            let apart = mean[c] - self.mean[c];
            self.squares[c] += squares[c] + apart * apart * self.count * each / all;
            self.mean[c] += apart * each / all;
        }
        self.count = all;
        Ok(())
    }

    /// The mean of each channel.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviation of each channel, `√(Σ(x − m)² / n)`.
    pub fn deviation(&self) -> Vec<f64> {
        self.squares
            .iter()
            .map(|s| (s / self.count.max(1.0)).sqrt())
            .collect()
    }
}
