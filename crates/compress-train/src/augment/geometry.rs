//! Flips, shifts and crops: pixels change places.

use super::images::{Images, Layout, Pixel, no_image, on_pixels};
use super::{Draws, Transform};
use crate::data::check_setting;
use crate::data::{Batch, Column, DataError, Values};
use serde::{Deserialize, Serialize};

/// Mirrors images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// The images.
    pub images: Images,
    /// The probability that left and right change places.
    #[serde(default)]
    pub horizontal: f64,
    /// The probability that top and bottom change places.
    #[serde(default)]
    pub vertical: f64,
}

/// Cuts a window out of each image, which was widened by a border before.
///
/// With `size` of `None` the window is as large as the image: a shift by up to `padding` pixels in each direction. (He et al. 2016,
/// arXiv:1512.03385, sec. 4.2: padding 4 for 32 by 32 pixels.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomCrop {
    /// The images.
    pub images: Images,
    /// Height and width of the window.
    #[serde(default)]
    pub size: Option<[usize; 2]>,
    /// Pixels of the border on each side.
    #[serde(default)]
    pub padding: usize,
    /// What stands in the border.
    #[serde(default)]
    pub border: Border,
}

impl RandomCrop {
    /// Windows as large as the images, without a border.
    pub fn of(images: Images) -> Self {
        Self {
            images,
            size: None,
            padding: 0,
            border: Border::default(),
        }
    }
}

/// What stands outside of an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Border {
    /// One value everywhere.
    Value(f64),
    /// The nearest pixel.
    Edge,
    /// The image mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

impl Default for Border {
    fn default() -> Self {
        Self::Value(0.0)
    }
}

impl Border {
    /// Where the pixel `at` of a line of `length` pixels comes from; `None` where the border has its own value.
    fn source(self, at: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        match self {
            Self::Value(_) => (0..=last).contains(&at).then_some(at as usize),
            Self::Edge => Some(at.clamp(0, last) as usize),
            Self::Reflect if last == 0 => Some(0),
            Self::Reflect => {
                let folded = at.rem_euclid(2 * last);
                Some(folded.min(2 * last - folded) as usize)
            }
        }
    }
}

/// A side that no image has, beyond which sizes could not be computed with.
const LARGEST_SIDE: f64 = 1e9;

/// Where the lines and the columns of an image come from.
struct Sources {
    rows: Vec<Option<usize>>,
    columns: Vec<Option<usize>>,
}

impl Transform for Flip {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        check_probability("the probability of a horizontal flip", self.horizontal)?;
        check_probability("the probability of a vertical flip", self.vertical)?;
        let Batch {
            indices,
            repetitions,
            columns,
            ..
        } = batch;
        let column = find(columns, &self.images.column)?;
        let layout = self.images.layout(column)?;
        let line = |length: usize, flipped: bool| -> Vec<Option<usize>> {
            let of = |at| if flipped { length - 1 - at } else { at };
            (0..length).map(|at| Some(of(at))).collect()
        };
        let sources = draws.each(indices, repetitions).map(|mut random| {
            let (horizontal, vertical) = (random.coin(self.horizontal), random.coin(self.vertical));
            (horizontal || vertical).then(|| Sources {
                rows: line(layout.height, vertical),
                columns: line(layout.width, horizontal),
            })
        });
        on_pixels!(column, pixels => rearrange(pixels, layout, layout, 0.0, sources));
        Ok(())
    }
}

impl Transform for RandomCrop {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        let Batch {
            indices,
            repetitions,
            columns,
            ..
        } = batch;
        let column = find(columns, &self.images.column)?;
        let from = self.images.layout(column)?;
        let [height, width] = self.size.unwrap_or([from.height, from.width]);
        let to = Layout::new(from.channels, height, width, from.order);
        let room = |size: usize, window: usize| {
            let found = size as f64 + 2.0 * self.padding as f64;
            let fits = window > 0 && size > 0 && window as f64 <= found && found < LARGEST_SIDE;
            check_setting(
                "a side of the window",
                window as f64,
                fits,
                "it must lie in the padded image",
            )?;
            Ok::<usize, DataError>(size + 2 * self.padding - window)
        };
        let (down, across) = (room(from.height, height)?, room(from.width, width)?);
        let line = |start: usize, window: usize, size: usize| -> Vec<Option<usize>> {
            let first = start as isize - self.padding as isize;
            let of = |at: usize| self.border.source(first + at as isize, size);
            (0..window).map(of).collect()
        };
        let sources = draws.each(indices, repetitions).map(|mut random| {
            let top = random.below(down as u64 + 1) as usize;
            let left = random.below(across as u64 + 1) as usize;
            Some(Sources {
                rows: line(top, height, from.height),
                columns: line(left, width, from.width),
            })
        });
        let fill = match self.border {
            Border::Value(value) => value,
            _ => 0.0,
        };
        on_pixels!(column, pixels => rearrange(pixels, from, to, fill, sources));
        column.field.shape = to.shape(column.field.shape.len());
        Ok(())
    }
}

/// Builds each image from the lines and columns that `sources` gives for it; an image without stays, where the sizes allow.
fn rearrange<P: Pixel>(
    pixels: &mut Vec<P>,
    from: Layout,
    to: Layout,
    fill: f64,
    sources: impl Iterator<Item = Option<Sources>>,
) {
    let fill = P::from_f64(fill);
    if from == to {
        let mut image = Vec::with_capacity(from.count());
        for (sources, sample) in sources.zip(pixels.chunks_exact_mut(from.count().max(1))) {
            if let Some(sources) = sources {
                image.clear();
                image.extend_from_slice(sample);
                copy(&image, sample, from, to, fill, &sources);
            }
        }
        return;
    }
    let images = pixels.chunks_exact(from.count().max(1));
    let mut result = vec![fill; images.len() * to.count()];
    let samples = result.chunks_exact_mut(to.count().max(1));
    for ((sources, image), sample) in sources.zip(images).zip(samples) {
        if let Some(sources) = sources {
            copy(image, sample, from, to, fill, &sources);
        }
    }
    *pixels = result;
}

fn copy<P: Pixel>(
    image: &[P],
    sample: &mut [P],
    from: Layout,
    to: Layout,
    fill: P,
    sources: &Sources,
) {
    for (y, row) in sources.rows.iter().enumerate() {
        for (x, column) in sources.columns.iter().enumerate() {
            for c in 0..to.channels {
                sample[to.at(c, y, x)] = match (row, column) {
                    (Some(row), Some(column)) => image[from.at(c, *row, *column)],
                    _ => fill,
                };
            }
        }
    }
}

pub(super) fn check_probability(setting: &'static str, found: f64) -> Result<(), DataError> {
    let is_right = (0.0..=1.0).contains(&found);
    check_setting(setting, found, is_right, "it must lie in [0, 1]")
}

/// The column of a name among all.
pub(super) fn find<'a>(columns: &'a mut [Column], name: &str) -> Result<&'a mut Column, DataError> {
    let names = || columns.iter().map(|c| c.field.name.clone()).collect();
    let Some(at) = columns.iter().position(|c| c.field.name == name) else {
        return Err(DataError::NoSuchField {
            name: name.to_owned(),
            names: names(),
        });
    };
    Ok(&mut columns[at])
}

#[cfg(test)]
mod tests {
    use super::Border;

    #[test]
    fn reflected_borders_do_not_repeat_the_outermost_pixel() {
        let line: Vec<Option<usize>> = (-4..7).map(|at| Border::Reflect.source(at, 3)).collect();
        assert_eq!(line, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2].map(Some));
        assert_eq!(Border::Reflect.source(-5, 1), Some(0));
    }
}
