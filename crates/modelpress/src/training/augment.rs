//! Augmentation as data.

use super::error::TrainRecipeError;
use crate::train::augment::{
    Augmentation, Border, ChannelOrder, CutMix, Cutout, Flip, Images, Jitter, Mixup, RandomCrop,
};
use serde::{Deserialize, Serialize};

/// One change of the samples that are trained on. Numbers of pixels are those of the file, before they are converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    deny_unknown_fields,
    expecting = "a table with a `kind` of augmentation"
)]
#[non_exhaustive]
pub enum AugmentSpec {
    /// Mirrors images.
    Flip {
        /// How likely left and right change places.
        #[serde(default = "half")]
        horizontal: f64,
        /// How likely top and bottom change places.
        #[serde(default)]
        vertical: f64,
    },
    /// Cuts the image out of a larger one.
    Crop {
        /// Pixels that are added on each side first.
        padding: usize,
        /// What they are.
        #[serde(default)]
        border: Border,
    },
    /// Changes brightness and contrast.
    Jitter {
        /// The largest change of brightness, as a share.
        #[serde(default)]
        brightness: f64,
        /// The largest change of contrast, as a share.
        #[serde(default)]
        contrast: f64,
    },
    /// Fills a square (DeVries and Taylor 2017, arXiv:1708.04552).
    Cutout {
        /// Its side, in pixels.
        size: usize,
        /// What it is filled with.
        #[serde(default)]
        fill: f64,
        /// How likely an image has one.
        #[serde(default = "half")]
        probability: f64,
    },
    /// Adds two images and their labels in shares (Zhang et al. 2018, arXiv:1710.09412).
    Mixup {
        /// The number of classes.
        classes: usize,
        /// The parameter of the Beta distribution of shares.
        #[serde(default = "fifth")]
        alpha: f64,
        /// How likely a batch is mixed.
        #[serde(default = "one")]
        probability: f64,
    },
    /// Puts a piece of one image into another (Yun et al. 2019, arXiv:1905.04899).
    Cutmix {
        /// The number of classes.
        classes: usize,
        /// The parameter of the Beta distribution of shares.
        #[serde(default = "one")]
        alpha: f64,
        /// How likely a batch is mixed.
        #[serde(default = "half")]
        probability: f64,
    },
}

fn half() -> f64 {
    0.5
}

fn fifth() -> f64 {
    0.2
}

fn one() -> f64 {
    1.0
}

impl AugmentSpec {
    /// A crop of the image's own size, out of the image with this many pixels of 0 on each side.
    pub fn crop(padding: usize) -> Self {
        Self::Crop {
            padding,
            border: Border::default(),
        }
    }

    /// Checks that the step makes sense for images of a shape.
    pub(super) fn check(
        &self,
        shape: &[usize],
        order: ChannelOrder,
    ) -> Result<(), TrainRecipeError> {
        let sides = match (shape, order) {
            (&[_, height, width], ChannelOrder::Nchw)
            | (&[height, width, _], ChannelOrder::Nhwc)
            | (&[height, width], _) => [height, width],
            // Told where the images are changed.
            _ => return Ok(()),
        };
        match *self {
            Self::Crop { padding, .. } if sides.iter().any(|&side| padding >= side) => {
                Err(TrainRecipeError::Padding {
                    padding,
                    shape: shape.to_vec(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Adds the step to others, for the images of a column and the labels of another.
    pub(super) fn add_to(&self, all: Augmentation, images: &Images, labels: &str) -> Augmentation {
        let images = images.clone();
        match *self {
            Self::Flip {
                horizontal,
                vertical,
            } => all.with(Flip {
                images,
                horizontal,
                vertical,
            }),
            Self::Crop { padding, border } => all.with(RandomCrop {
                padding,
                border,
                ..RandomCrop::of(images)
            }),
            Self::Jitter {
                brightness,
                contrast,
            } => all.with(Jitter {
                images,
                brightness,
                contrast,
            }),
            Self::Cutout {
                size,
                fill,
                probability,
            } => all.with(Cutout {
                images,
                size,
                fill,
                probability,
            }),
            Self::Mixup {
                classes,
                alpha,
                probability,
            } => all.with(Mixup {
                column: images.column,
                labels: labels.to_owned(),
                classes,
                alpha,
                probability,
            }),
            Self::Cutmix {
                classes,
                alpha,
                probability,
            } => all.with(CutMix {
                images,
                labels: labels.to_owned(),
                classes,
                alpha,
                probability,
            }),
        }
    }
}
