//! The geometry of sliding windows: convolution and pooling.
//!
//! Along one spatial axis a kernel of `k` taps, `dilation` apart, covers an extent of
//! `e = dilation * (k - 1) + 1`. It slides in steps of `stride` over the input of size `n` with
//! `b` positions of padding before and `a` after, and gives
//! ```text
//! floor:  o = floor((n + b + a - e) / stride) + 1
//! ceil:   o = min(ceil((n + b + a - e) / stride) + 1, ceil((n + b) / stride))
//! same:   o = ceil(n / stride), b + a = max(0, (o - 1) * stride + e - n)
//! ```
//! outputs (`ceil`: windows that would start in the padding after the input are left out). A
//! transposed convolution is the same window with the roles of input and output exchanged.
//! <https://onnx.ai/onnx/operators/onnx__MaxPool.html>,
//! <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>; Dumoulin and Visin, arXiv:1603.07285.

use crate::operator::{AttrError, Attrs, EvalError, InferError};
use crate::symbolic::Dim;
use std::ops::Range;

/// Where padding comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoPad {
    /// From the `pads` attribute.
    #[default]
    NotSet,
    /// As much as keeps the size (divided by the stride); the odd one after the input.
    SameUpper,
    /// As much as keeps the size (divided by the stride); the odd one before the input.
    SameLower,
    /// No padding.
    Valid,
}

/// How a last window that does not fit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// It is left out.
    #[default]
    Floor,
    /// It counts if it starts within the input or the padding before it.
    Ceil,
}

/// The window attributes that convolution and pooling share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Taps per axis, where the attribute is there.
    pub kernel_shape: Option<Vec<i64>>,
    /// Steps per axis; empty for ones.
    pub strides: Vec<i64>,
    /// Distance of taps per axis; empty for ones.
    pub dilations: Vec<i64>,
    /// Padding before each axis, then after each axis; empty for none.
    pub pads: Vec<i64>,
    /// Where padding comes from.
    pub auto_pad: AutoPad,
    /// How a last window that does not fit counts.
    pub rounding: Rounding,
}

/// One axis of a window, all sizes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowAxis {
    /// Size of the input.
    pub input: usize,
    /// Number of outputs.
    pub output: usize,
    /// Number of taps.
    pub kernel: usize,
    /// Step from window to window.
    pub stride: usize,
    /// Step from tap to tap.
    pub dilation: usize,
    /// Padding before the input.
    pub pad_begin: usize,
    /// Padding after the input.
    pub pad_end: usize,
}

/// Why a window does not fit its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowError {
    rule: &'static str,
    found: String,
}

impl WindowError {
    fn new(rule: &'static str, found: impl std::fmt::Display) -> Self {
        let found = found.to_string();
        Self { rule, found }
    }
}

impl From<WindowError> for InferError {
    fn from(e: WindowError) -> Self {
        InferError::rule(e.rule, e.found)
    }
}

impl From<WindowError> for EvalError {
    fn from(e: WindowError) -> Self {
        EvalError::rule(e.rule, e.found)
    }
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads` and `auto_pad`.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`]; [`AttrError::Invalid`] for sizes that are not positive, negative
    /// pads and an unknown `auto_pad`.
    pub fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let kernel_shape = attrs.ints_opt("kernel_shape")?;
        if let Some(kernel) = &kernel_shape {
            at_least(1, "kernel_shape", kernel)?;
        }
        let window = Self {
            kernel_shape,
            strides: attrs.ints_or("strides", Vec::new())?,
            dilations: attrs.ints_or("dilations", Vec::new())?,
            pads: attrs.ints_or("pads", Vec::new())?,
            auto_pad: match attrs.string_opt("auto_pad")?.as_deref() {
                None | Some("NOTSET" | "") => AutoPad::NotSet,
                Some("SAME_UPPER") => AutoPad::SameUpper,
                Some("SAME_LOWER") => AutoPad::SameLower,
                Some("VALID") => AutoPad::Valid,
                Some(other) => {
                    return Err(AttrError::Invalid {
                        name: "auto_pad",
                        found: other.to_owned(),
                        rule: "it must be NOTSET, SAME_UPPER, SAME_LOWER or VALID",
                    });
                }
            },
            rounding: Rounding::Floor,
        };
        at_least(1, "strides", &window.strides)?;
        at_least(1, "dilations", &window.dilations)?;
        at_least(0, "pads", &window.pads)?;
        Ok(window)
    }

    /// As [`Window::parse`], with `ceil_mode` and a required `kernel_shape`.
    ///
    /// # Errors
    /// As there; [`AttrError::Missing`].
    pub fn parse_pooling(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mut window = Self::parse(attrs)?;
        if window.kernel_shape.is_none() {
            return Err(AttrError::Missing {
                name: "kernel_shape",
            });
        }
        if attrs.flag_or("ceil_mode", false)? {
            window.rounding = Rounding::Ceil;
        }
        Ok(window)
    }

    /// The kernel of a pooling operator: its required attribute.
    pub fn pooling_kernel(&self) -> Vec<Dim> {
        let kernel = self.kernel_shape.as_deref().unwrap_or(&[]);
        kernel.iter().map(|&k| k.into()).collect()
    }

    /// The output sizes for spatial input sizes, as far as they are known.
    ///
    /// # Errors
    /// [`WindowError`] where the number of axes differs or a kernel is larger than its input.
    pub fn output_dims(&self, input: &[Dim], kernel: &[Dim]) -> Result<Vec<Dim>, WindowError> {
        self.check_rank(input.len(), kernel.len())?;
        let axes = input.iter().zip(kernel).enumerate();
        axes.map(|(i, (n, k))| self.output_dim(i, n, k)).collect()
    }

    /// The axes for known sizes.
    ///
    /// # Errors
    /// [`WindowError`] where the number of axes differs, a kernel is larger than its input or a
    /// size overflows.
    pub fn axes(&self, input: &[usize], kernel: &[usize]) -> Result<Vec<WindowAxis>, WindowError> {
        self.check_rank(input.len(), kernel.len())?;
        let axes = input.iter().zip(kernel).enumerate();
        axes.map(|(i, (&n, &k))| {
            let (n_dim, k_dim): (Dim, Dim) = (n.into(), k.into());
            let output = self.output_dim(i, &n_dim, &k_dim)?;
            let too_large = || WindowError::new("sizes must not overflow", format_args!("{n}"));
            let output = output.as_known().ok_or_else(too_large)?;
            let (stride, dilation) = (self.stride(i), self.dilation(i));
            let (begin, end) = match self.auto_pad {
                AutoPad::NotSet => self.pads_of(i),
                AutoPad::Valid => (0, 0),
                AutoPad::SameUpper | AutoPad::SameLower => {
                    let extent = self.extent(i, &k_dim).as_known().ok_or_else(too_large)?;
                    let span = output.saturating_sub(1).saturating_mul(stride);
                    let n = n_dim.as_known().ok_or_else(too_large)?;
                    split_padding(self.auto_pad, span.saturating_add(extent).saturating_sub(n))
                }
            };
            let size = |n: i64| usize::try_from(n).map_err(|_| too_large());
            Ok(WindowAxis {
                input: n,
                output: size(output)?,
                kernel: k,
                stride: size(stride)?,
                dilation: size(dilation)?,
                pad_begin: size(begin)?,
                pad_end: size(end)?,
            })
        })
        .collect()
    }

    /// The step along axis `i`.
    pub fn stride(&self, i: usize) -> i64 {
        self.strides.get(i).copied().unwrap_or(1)
    }

    /// The distance of taps along axis `i`.
    pub fn dilation(&self, i: usize) -> i64 {
        self.dilations.get(i).copied().unwrap_or(1)
    }

    /// `pads` along axis `i`: before, after.
    pub fn pads_of(&self, i: usize) -> (i64, i64) {
        let half = self.pads.len() / 2;
        let at = |j: usize| self.pads.get(j).copied().unwrap_or(0);
        if i < half {
            (at(i), at(half + i))
        } else {
            (0, 0)
        }
    }

    /// The extent that the kernel covers along axis `i`.
    pub fn extent(&self, i: usize, kernel: &Dim) -> Dim {
        (kernel.clone() - Dim::Known(1)) * self.dilation(i).into() + Dim::Known(1)
    }

    fn output_dim(&self, i: usize, n: &Dim, kernel: &Dim) -> Result<Dim, WindowError> {
        let stride = Dim::from(self.stride(i));
        let extent = self.extent(i, kernel);
        let (begin, end) = match self.auto_pad {
            AutoPad::SameUpper | AutoPad::SameLower => return Ok(n.ceil_div(&stride)),
            AutoPad::Valid => (0, 0),
            AutoPad::NotSet => self.pads_of(i),
        };
        let room = n.clone() + begin.into() + end.into() - extent.clone();
        if n.as_known() == Some(0) {
            return Ok(0i64.into());
        }
        if room.as_known().is_some_and(|room| room < 0) {
            return Err(WindowError::new(
                "the kernel must not be larger than the padded input",
                format_args!("input {n}, pads {begin} and {end}, extent {extent}"),
            ));
        }
        if self.rounding == Rounding::Floor || self.auto_pad == AutoPad::Valid {
            return Ok(room.floor_div(&stride) + Dim::Known(1));
        }
        let all = room.ceil_div(&stride) + Dim::Known(1);
        let reach = extent.as_known().map(|e| e.saturating_sub(end));
        if reach.is_some_and(|r| r >= self.stride(i)) {
            return Ok(all);
        }
        Ok(all.min(&(n.clone() + begin.into()).ceil_div(&stride)))
    }

    fn check_rank(&self, spatial: usize, kernel: usize) -> Result<(), WindowError> {
        let fits = |len: usize, rank: usize| len == 0 || len == rank;
        let fits = kernel == spatial
            && fits(self.strides.len(), spatial)
            && fits(self.dilations.len(), spatial)
            && fits(self.pads.len(), 2 * spatial);
        if fits {
            return Ok(());
        }
        Err(WindowError::new(
            "kernel, strides, dilations and pads must have one entry (pads two) per spatial axis",
            format_args!("{spatial} spatial axes, kernel of {kernel}, {self:?}"),
        ))
    }
}

impl WindowAxis {
    /// The taps of window `o` that fall into the input: their numbers, and the input position of
    /// the first; the others follow `dilation` apart.
    pub fn taps(&self, o: usize) -> (Range<usize>, usize) {
        let start = o * self.stride;
        let first = self.pad_begin.saturating_sub(start).div_ceil(self.dilation);
        let within = (self.input + self.pad_begin)
            .saturating_sub(start)
            .div_ceil(self.dilation)
            .min(self.kernel);
        if first >= within {
            return (0..0, 0);
        }
        (
            first..within,
            start + first * self.dilation - self.pad_begin,
        )
    }

    /// The number of taps of window `o` that fall into the input or its padding.
    pub fn padded_taps(&self, o: usize) -> usize {
        (self.input + self.pad_begin + self.pad_end)
            .saturating_sub(o * self.stride)
            .div_ceil(self.dilation)
            .min(self.kernel)
    }

    /// The windows whose tap `k` falls into the input, and the input position of the first's; the
    /// others follow `stride` apart.
    pub fn windows(&self, k: usize) -> (Range<usize>, usize) {
        let tap = k * self.dilation;
        let first = self.pad_begin.saturating_sub(tap).div_ceil(self.stride);
        let end = (self.input + self.pad_begin)
            .saturating_sub(tap)
            .div_ceil(self.stride)
            .min(self.output);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, first * self.stride + tap - self.pad_begin)
    }
}

/// Splits padding in front and behind; none where `total` is negative.
pub fn split_padding(auto_pad: AutoPad, total: i64) -> (i64, i64) {
    let total = total.max(0);
    let half = total / 2;
    match auto_pad {
        AutoPad::SameUpper => (half, total - half),
        _ => (total - half, half),
    }
}

fn at_least(least: i64, name: &'static str, values: &[i64]) -> Result<(), AttrError> {
    // A bound that keeps every later sum within i64 and usize.
    const MOST: i64 = 1 << 31;
    match values.iter().find(|&&v| v < least || v > MOST) {
        None => Ok(()),
        Some(v) => Err(AttrError::Invalid {
            name,
            found: v.to_string(),
            rule: if least == 0 {
                "it must not be negative (nor above 2^31)"
            } else {
                "it must be positive (and at most 2^31)"
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(stride: i64, dilation: i64, pads: [i64; 2]) -> Window {
        Window {
            strides: vec![stride],
            dilations: vec![dilation],
            pads: pads.to_vec(),
            ..Window::default()
        }
    }

    #[test]
    fn a_symbolic_size_stays_a_formula_that_agrees_with_the_numbers() {
        for rounding in [Rounding::Floor, Rounding::Ceil] {
            let w = Window {
                rounding,
                ..window(2, 1, [1, 1])
            };
            let symbolic = w
                .output_dims(&[Dim::symbol("h")], &[Dim::Known(3)])
                .unwrap();
            for h in 1..40 {
                let axis = w.axes(&[h], &[3]).unwrap()[0];
                assert_eq!(
                    symbolic[0].eval(&|_| Some(h as i64)),
                    Some(axis.output as i64)
                );
            }
        }
    }

    #[test]
    fn the_ceiling_leaves_out_windows_that_start_in_the_padding_behind() {
        // Size 2, kernel 1, stride 2, one padding behind: ceil gives 2, the second starts at 2.
        let w = Window {
            rounding: Rounding::Ceil,
            ..window(2, 1, [0, 1])
        };
        assert_eq!(w.axes(&[2], &[1]).unwrap()[0].output, 1);
        assert_eq!(window(1, 1, [0, 1]).axes(&[2], &[1]).unwrap()[0].output, 3);
    }

    #[test]
    fn same_padding_puts_the_odd_one_where_it_is_told() {
        let mut w = window(1, 1, [0, 0]);
        w.auto_pad = AutoPad::SameUpper;
        let upper = w.axes(&[5], &[2]).unwrap()[0];
        w.auto_pad = AutoPad::SameLower;
        let lower = w.axes(&[5], &[2]).unwrap()[0];
        assert_eq!((upper.output, upper.pad_begin, upper.pad_end), (5, 0, 1));
        assert_eq!((lower.output, lower.pad_begin, lower.pad_end), (5, 1, 0));
    }

    #[test]
    fn taps_and_windows_name_the_same_pairs() {
        for (stride, dilation, begin, end, kernel, input) in [
            (1, 1, 0, 0, 3, 5),
            (2, 3, 4, 1, 3, 6),
            (3, 2, 5, 7, 4, 4),
            (1, 9, 9, 9, 2, 3),
        ] {
            let w = window(stride, dilation, [begin, end]);
            let axis = w.axes(&[input], &[kernel]).unwrap()[0];
            let mut by_window = Vec::new();
            for o in 0..axis.output {
                let (taps, first) = axis.taps(o);
                by_window.extend(
                    taps.enumerate()
                        .map(|(j, k)| (o, k, first + j * axis.dilation)),
                );
            }
            let mut by_tap = Vec::new();
            for k in 0..axis.kernel {
                let (windows, first) = axis.windows(k);
                by_tap.extend(
                    windows
                        .enumerate()
                        .map(|(j, o)| (o, k, first + j * axis.stride)),
                );
            }
            by_window.sort_unstable();
            by_tap.sort_unstable();
            assert!(!by_window.is_empty());
            assert_eq!(by_window, by_tap);
            assert!(by_window.iter().all(|&(o, k, i)| i < axis.input
                && i + axis.pad_begin == o * axis.stride + k * axis.dilation));
        }
    }

    #[test]
    fn a_kernel_larger_than_its_input_is_an_error() {
        let error = window(1, 1, [0, 0]).axes(&[2], &[5]).unwrap_err();
        assert_eq!(error.found, "input 2, pads 0 and 0, extent 5");
        assert!(window(1, 1, [0, 0]).axes(&[2, 2], &[1, 1]).is_err());
    }
}
