//! From the numbers of a file to those that a model takes.

use super::Feed;
use super::error::DataError;
use crate::tensor::{DType, Tensor, element_count};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// The order of an array's axes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As the model takes them.
    #[default]
    Model,
    /// Channels last; they move to axis 1, where ONNX models have them.
    Nhwc,
}

/// How the numbers of float inputs are converted: `((x + offset) · scale − mean) / std`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of conversions")]
#[non_exhaustive]
pub struct Preprocess {
    /// The order of the array's axes.
    pub layout: Layout,
    /// Added first: minus the zero point of integers that stand for real numbers.
    pub offset: f64,
    /// Multiplied then; 1 where it is not given.
    pub scale: Option<f64>,
    /// Subtracted after that: one value, or one per channel.
    pub mean: Vec<f64>,
    /// Divided by at the end: one value, or one per channel.
    pub std: Vec<f64>,
}

impl Preprocess {
    /// Checks that the numbers can be used.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn validate(&self) -> Result<(), DataError> {
        let scale = self.scale.unwrap_or(1.0);
        let settings: [(&'static str, &[f64], bool); 4] = [
            ("offset", &[self.offset], false),
            ("scale", &[scale], true),
            ("mean", &self.mean, false),
            ("std", &self.std, true),
        ];
        for (what, values, nonzero) in settings {
            let good = |v: &f64| v.is_finite() && !(nonzero && *v == 0.0);
            if !values.iter().all(good) {
                return Err(DataError::Setting { what, nonzero });
            }
        }
        Ok(())
    }

    /// Means or deviations that are not one for each channel: what they are, and how many.
    pub(crate) fn misfit(&self, channels: usize) -> Option<(&'static str, usize)> {
        let given = [("mean", self.mean.len()), ("std", self.std.len())];
        given
            .into_iter()
            .find(|&(_, given)| given > 1 && given != channels)
    }

    /// Converts planes of `inner` numbers, those of all channels one after the other, again and again.
    pub(crate) fn apply<T: Copy + Into<f64>>(
        &self,
        values: &mut [T],
        channels: usize,
        inner: usize,
        narrow: impl Fn(f64) -> T,
    ) {
        let scale = self.scale.unwrap_or(1.0);
        let pick = |of: &[f64], channel: usize, otherwise: f64| match of {
            [] => otherwise,
            [one] => *one,
            many => many.get(channel).copied().unwrap_or(otherwise),
        };
        for (plane, chunk) in values.chunks_mut(inner.max(1)).enumerate() {
            let channel = plane % channels.max(1);
            let mean = pick(&self.mean, channel, 0.0);
            let std = pick(&self.std, channel, 1.0);
            for x in chunk {
                *x = narrow((((*x).into() + self.offset) * scale - mean) / std);
            }
        }
    }

    pub(crate) fn changes_numbers(&self) -> bool {
        self.offset != 0.0 || self.scale.is_some() || !self.mean.is_empty() || !self.std.is_empty()
    }
}

/// The tensor in the layout, with the numbers and of the type that the input takes.
pub(super) fn convert(
    tensor: &Tensor,
    feed: &Feed,
    preprocess: &Preprocess,
) -> Result<Tensor, DataError> {
    let to = feed.fact.dtype.unwrap_or(tensor.dtype());
    if !to.is_float() {
        return to_integer(tensor, to, &feed.name);
    }
    let moved = match preprocess.layout {
        Layout::Nhwc if tensor.rank() >= 3 => Cow::Owned(channels_first(tensor, &feed.name)?),
        _ => Cow::Borrowed(tensor),
    };
    let refused = |source| DataError::Convert {
        name: feed.name.clone(),
        source,
    };
    if !preprocess.changes_numbers() {
        return moved.cast(to, Default::default()).map_err(refused);
    }
    let mut values = moved.to_f64_vec().map_err(refused)?;
    normalise(&mut values, moved.shape(), preprocess, &feed.name)?;
    let values = Tensor::from_vec(moved.shape(), values)?;
    Ok(values.cast(to, Default::default())?)
}

/// An integer, truth value or string as the declared type, where nothing is lost.
fn to_integer(tensor: &Tensor, to: DType, name: &str) -> Result<Tensor, DataError> {
    let from = tensor.dtype();
    if from == to {
        return Ok(tensor.clone());
    }
    let lossy = || DataError::Lossy {
        name: name.to_owned(),
        from,
        to,
    };
    let whole = |d: DType| d.is_integer() || d == DType::Bool;
    if !whole(from) || !whole(to) {
        return Err(lossy());
    }
    let cast = tensor.cast(to, Default::default())?;
    if cast.to_i64_vec()? == tensor.to_i64_vec()? {
        Ok(cast)
    } else {
        Err(lossy())
    }
}

fn normalise(
    values: &mut [f64],
    shape: &[usize],
    preprocess: &Preprocess,
    name: &str,
) -> Result<(), DataError> {
    let channels = shape.get(1).copied().unwrap_or(1);
    let inner = element_count(shape.get(2..).unwrap_or_default()).unwrap_or(1);
    if let Some((what, given)) = preprocess.misfit(channels) {
        return Err(DataError::Channels {
            name: name.to_owned(),
            channels,
            what,
            given,
        });
    }
    preprocess.apply(values, channels, inner, |x| x);
    Ok(())
}

/// `[n, …, c]` as `[n, c, …]`.
fn channels_first(tensor: &Tensor, name: &str) -> Result<Tensor, DataError> {
    let shape = tensor.shape();
    let (Some(&samples), Some(&channels)) = (shape.first(), shape.last()) else {
        return Ok(tensor.clone());
    };
    let spatial = &shape[1..shape.len() - 1];
    let places = element_count(spatial).unwrap_or(0);
    let mut moved = vec![samples, channels];
    moved.extend(spatial);
    let Some(width) = tensor
        .dtype()
        .bits()
        .map(|bits| bits / 8)
        .filter(|&w| w > 0)
    else {
        return Err(DataError::Lossy {
            name: name.to_owned(),
            from: tensor.dtype(),
            to: DType::F32,
        });
    };
    let out = moved_first(tensor.bytes(), places, channels, width);
    Ok(Tensor::from_bytes(tensor.dtype(), &moved, out.into())?)
}

/// `[samples, places, channels]` as `[samples, channels, places]`, each element of `width` values.
pub(crate) fn moved_first<T: Copy>(
    values: &[T],
    places: usize,
    channels: usize,
    width: usize,
) -> Vec<T> {
    let pixel = channels.saturating_mul(width);
    let mut moved = Vec::with_capacity(values.len());
    for sample in values.chunks(places.saturating_mul(pixel).max(1)) {
        for channel in 0..channels {
            for pixel in sample.chunks_exact(pixel) {
                moved.extend_from_slice(&pixel[channel * width..][..width]);
            }
        }
    }
    moved
}

/// The first `keep` columns (places along axis 1).
pub(super) fn cut_columns(tensor: &Tensor, keep: usize) -> Result<Tensor, DataError> {
    let shape = tensor.shape();
    let (Some(&rows), Some(&columns)) = (shape.first(), shape.get(1)) else {
        return Ok(tensor.clone());
    };
    let width = tensor.bytes().len() / rows.saturating_mul(columns).max(1);
    if tensor.dtype() == DType::String || tensor.dtype().is_packed() || width == 0 {
        return Ok(tensor.clone());
    }
    let mut kept = Vec::with_capacity(rows * keep * width);
    for row in tensor.bytes().chunks(columns * width) {
        kept.extend_from_slice(&row[..keep.min(columns) * width]);
    }
    let mut shape = shape.to_vec();
    shape[1] = keep.min(columns);
    Ok(Tensor::from_bytes(tensor.dtype(), &shape, kept.into())?)
}

/// Tensors of one type and shape as one, end to end along the first axis.
pub(super) fn joined(parts: &[Tensor]) -> Result<Tensor, DataError> {
    let Some(first) = parts.first() else {
        return Err(DataError::EmptyBatch);
    };
    let mut shape = first.shape().to_vec();
    if let Some(rows) = shape.first_mut() {
        *rows = parts.iter().filter_map(|part| part.shape().first()).sum();
    }
    if first.dtype() == DType::String {
        let mut strings = Vec::new();
        for part in parts {
            strings.extend_from_slice(part.strings()?);
        }
        return Ok(Tensor::from_strings(&shape, strings)?);
    }
    let mut bytes = Vec::with_capacity(first.bytes().len() * parts.len());
    for part in parts {
        bytes.extend_from_slice(part.bytes());
    }
    Ok(Tensor::from_bytes(first.dtype(), &shape, bytes.into())?)
}

/// Rows of a tensor that is in memory.
pub(super) fn rows(tensor: &Tensor, range: Range<usize>, name: &str) -> Result<Tensor, DataError> {
    let Some(&count) = tensor.shape().first() else {
        return Err(DataError::Scalar {
            name: name.to_owned(),
        });
    };
    let mut shape = tensor.shape().to_vec();
    shape[0] = range.len();
    if tensor.dtype() == DType::String {
        let width = tensor.len() / count.max(1);
        let strings = tensor.strings()?[range.start * width..range.end * width].to_vec();
        return Ok(Tensor::from_strings(&shape, strings)?);
    }
    let width = tensor.bytes().len() / count.max(1);
    let bytes = tensor
        .to_bytes()
        .slice(range.start * width..range.end * width);
    Ok(Tensor::from_bytes(tensor.dtype(), &shape, bytes)?)
}
