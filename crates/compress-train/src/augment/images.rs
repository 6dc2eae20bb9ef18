//! Which column holds images, and how they lie.

use crate::data::{Column, DataError, Values};
use serde::{Deserialize, Serialize};

/// Where the channels of an image stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// `[channels, height, width]`, as in ONNX.
    #[default]
    Nchw,
    /// `[height, width, channels]`, as in image files.
    Nhwc,
}

/// A column of images, `f32` or `u8`; samples of two axes are `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// The column's name.
    pub column: String,
    /// Where the channels stand.
    #[serde(default)]
    pub order: ChannelOrder,
}

impl Images {
    /// Images with channels first.
    pub fn nchw(column: impl Into<String>) -> Self {
        Self {
            column: column.into(),
            order: ChannelOrder::Nchw,
        }
    }

    /// Images with channels last.
    pub fn nhwc(column: impl Into<String>) -> Self {
        Self {
            column: column.into(),
            order: ChannelOrder::Nhwc,
        }
    }

    pub(super) fn layout(&self, column: &Column) -> Result<Layout, DataError> {
        let (channels, height, width) = match (column.field.shape.as_slice(), self.order) {
            (&[c, h, w], ChannelOrder::Nchw) | (&[h, w, c], ChannelOrder::Nhwc) => (c, h, w),
            (&[h, w], _) => (1, h, w),
            _ => {
                return Err(DataError::Shape {
                    field: column.field.name.clone(),
                    found: column.field.shape.clone(),
                    expected: "an image of two or three axes".into(),
                });
            }
        };
        Ok(Layout::new(channels, height, width, self.order))
    }
}

/// Sizes and strides of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) order: ChannelOrder,
}

impl Layout {
    pub(super) fn new(channels: usize, height: usize, width: usize, order: ChannelOrder) -> Self {
        Self {
            channels,
            height,
            width,
            order,
        }
    }

    /// The number of elements.
    pub(super) fn count(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The place of an element.
    pub(super) fn at(&self, c: usize, y: usize, x: usize) -> usize {
        match self.order {
            ChannelOrder::Nchw => (c * self.height + y) * self.width + x,
            ChannelOrder::Nhwc => (y * self.width + x) * self.channels + c,
        }
    }

    /// The channel of the element at a place.
    pub(super) fn channel_of(&self, at: usize) -> usize {
        match self.order {
            ChannelOrder::Nchw => at / (self.height * self.width),
            ChannelOrder::Nhwc => at % self.channels,
        }
    }

    /// The shape, with as many axes as the column's samples have.
    pub(super) fn shape(&self, axes: usize) -> Vec<usize> {
        match (axes, self.order) {
            (2, _) => vec![self.height, self.width],
            (_, ChannelOrder::Nchw) => vec![self.channels, self.height, self.width],
            (_, ChannelOrder::Nhwc) => vec![self.height, self.width, self.channels],
        }
    }
}

/// What can stand in an image.
pub(super) trait Pixel: Copy + Send + Sync {
    fn to_f64(self) -> f64;
    /// The nearest pixel: whole numbers of 0 to 255 round half to even.
    fn from_f64(value: f64) -> Self;
}

impl Pixel for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Pixel for u8 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> Self {
        // Out of range the conversion takes the nearest, 0 for NaN.
        value.round_ties_even() as u8
    }
}

/// Calls a generic function on the pixels of a column.
macro_rules! on_pixels {
    ($column:expr, $pixels:ident => $body:expr) => {
        match &mut $column.values {
            Values::F32($pixels) => $body,
            Values::U8($pixels) => $body,
            Values::I64(_) => return Err(no_image($column)),
        }
    };
}
pub(super) use on_pixels;

/// Whole numbers are no pixels.
pub(super) fn no_image(column: &Column) -> DataError {
    DataError::WrongKind {
        field: column.field.name.clone(),
        expected: crate::data::Kind::F32,
        found: Values::kind(&column.values),
    }
}
