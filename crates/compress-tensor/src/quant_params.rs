//! Quantization parameters: scale, zero point, type and granularity; quantizing and dequantizing
//! with them as the ONNX operators `QuantizeLinear` and `DequantizeLinear` do.
//!
//! `q = clamp(round_ties_even(x / s) + z, q_min, q_max)`, `x' = (q - z) * s`, all in `f32`
//! (<https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>; Jacob et al. 2018,
//! arXiv:1712.05877, sec. 2.1). NaN becomes `q_min`, as in ONNX Runtime.

mod layout;
mod range;

use crate::{CastOptions, DType, Overflow, Tensor, TensorError};
use layout::Layout;
use ndarray::{ArrayD, ArrayViewD, IxDyn};
pub use range::RangeRule;

/// How many elements share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// All of them.
    PerTensor,
    /// Those with the same index along `axis`.
    PerChannel {
        /// The channel axis, from 0.
        axis: usize,
    },
    /// Runs of `block` neighbours along `axis`; the last run may be shorter.
    PerBlock {
        /// The blocked axis, from 0.
        axis: usize,
        /// Elements per block.
        block: usize,
    },
}

/// How a tensor of real numbers is held in a small type.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantParams {
    /// The scales `s`, real units per step: one, one per channel, or one per block in C order of
    /// the data's shape with the blocked axis divided by the block length (rounded up).
    pub scale: Vec<f32>,
    /// The zero points `z`, as many as scales; 0 for float types.
    pub zero_point: Vec<i32>,
    /// The quantized type.
    pub dtype: DType,
    /// How many elements share one scale.
    pub granularity: Granularity,
}

/// What is wrong with quantization parameters, or with the data they are applied to.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantParamsError {
    /// The type is none that values are quantized to.
    #[error("{dtype} is not a quantized type")]
    NotQuantized {
        /// The type.
        dtype: DType,
    },
    /// A scale is not a positive finite number.
    #[error("scale {scale} at position {index} is not a positive finite number")]
    BadScale {
        /// The scale.
        scale: f32,
        /// Its position.
        index: usize,
    },
    /// A zero point does not fit the quantized type.
    #[error("zero point {zero_point} at position {index} does not fit {dtype}")]
    BadZeroPoint {
        /// The zero point.
        zero_point: i32,
        /// Its position.
        index: usize,
        /// The quantized type.
        dtype: DType,
    },
    /// The number of scales or zero points does not fit the data's shape.
    #[error(
        "shape {shape:?} takes {expected} scales and zero points, found {scales} and {zero_points}"
    )]
    WrongCount {
        /// The data's shape.
        shape: Vec<usize>,
        /// Scales that the granularity asks for.
        expected: usize,
        /// Scales found.
        scales: usize,
        /// Zero points found.
        zero_points: usize,
    },
    /// The axis is beyond the data's rank.
    #[error("axis {axis} is out of range for rank {rank}")]
    AxisOutOfRange {
        /// The axis.
        axis: usize,
        /// The data's rank.
        rank: usize,
    },
    /// A block length of zero.
    #[error("a quantization block must hold at least one element")]
    EmptyBlock,
    /// A range to quantize that is not finite or whose ends are swapped.
    #[error("[{min}, {max}] is not a range of finite numbers")]
    BadRange {
        /// The lower end.
        min: f32,
        /// The upper end.
        max: f32,
    },
    /// The data could not be read or made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl QuantParams {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i32, dtype: DType) -> Self {
        Self {
            scale: vec![scale],
            zero_point: vec![zero_point],
            dtype,
            granularity: Granularity::PerTensor,
        }
    }

    /// Symmetric parameters (zero point 0) with one scale per index of `axis`.
    pub fn per_channel(scale: Vec<f32>, axis: usize, dtype: DType) -> Self {
        Self {
            zero_point: vec![0; scale.len()],
            scale,
            dtype,
            granularity: Granularity::PerChannel { axis },
        }
    }

    /// Whether every zero point is 0.
    pub fn is_symmetric(&self) -> bool {
        self.zero_point.iter().all(|&z| z == 0)
    }

    /// The shape of the scales for data of `shape`: `[]`, `[channels]`, or the data's shape with the
    /// blocked axis divided by the block length.
    ///
    /// # Errors
    /// [`QuantParamsError::AxisOutOfRange`], [`QuantParamsError::EmptyBlock`].
    pub fn scale_shape(&self, shape: &[usize]) -> Result<Vec<usize>, QuantParamsError> {
        let along = |axis: usize| {
            let rank = shape.len();
            shape
                .get(axis)
                .copied()
                .ok_or(QuantParamsError::AxisOutOfRange { axis, rank })
        };
        match self.granularity {
            Granularity::PerTensor => Ok(Vec::new()),
            Granularity::PerChannel { axis } => Ok(vec![along(axis)?]),
            Granularity::PerBlock { axis, block } => {
                let blocked = along(axis)?;
                if block == 0 {
                    return Err(QuantParamsError::EmptyBlock);
                }
                let mut scales = shape.to_vec();
                scales[axis] = blocked.div_ceil(block);
                Ok(scales)
            }
        }
    }

    /// Checks the parameters against data of `shape`.
    ///
    /// # Errors
    /// Every variant of [`QuantParamsError`] but the last two.
    pub fn validate(&self, shape: &[usize]) -> Result<(), QuantParamsError> {
        let dtype = self.dtype;
        if !is_quantized(dtype) {
            return Err(QuantParamsError::NotQuantized { dtype });
        }
        let expected = crate::element_count(&self.scale_shape(shape)?);
        let (scales, zero_points) = (self.scale.len(), self.zero_point.len());
        if expected != Some(scales) || scales != zero_points {
            return Err(QuantParamsError::WrongCount {
                shape: shape.to_vec(),
                expected: expected.unwrap_or(usize::MAX),
                scales,
                zero_points,
            });
        }
        for (index, &scale) in self.scale.iter().enumerate() {
            if !(scale > 0.0 && scale.is_finite()) {
                return Err(QuantParamsError::BadScale { scale, index });
            }
        }
        let (low, high) = dtype.integer_range().unwrap_or((0, 0));
        for (index, &zero_point) in self.zero_point.iter().enumerate() {
            if !(low..=high).contains(&zero_point.into()) {
                return Err(QuantParamsError::BadZeroPoint {
                    zero_point,
                    index,
                    dtype,
                });
            }
        }
        Ok(())
    }

    /// Quantizes `x` (see the formula above); float types are rounded to nearest even, saturating.
    ///
    /// The reference, not the fast path: it is made to be read.
    ///
    /// # Errors
    /// Those of [`QuantParams::validate`].
    ///
    /// # Examples
    /// ```
    /// use compress_tensor::{DType, QuantParams};
    /// let x = ndarray::arr1(&[-1.0f32, 0.25, 0.75, 200.0]).into_dyn();
    /// let q = QuantParams::per_tensor(0.5, 3, DType::U8).quantize(x.view())?;
    /// assert_eq!(q.as_slice::<u8>()?, [1, 3, 5, 255]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn quantize(&self, x: ArrayViewD<'_, f32>) -> Result<Tensor, QuantParamsError> {
        let shape = x.shape();
        self.validate(shape)?;
        let layout = Layout::new(shape, self.granularity);
        let parameters = (0..x.len()).map(|i| {
            let p = layout.position(i);
            (self.scale[p], self.zero_point[p])
        });
        let Some((low, high)) = self.dtype.integer_range() else {
            let steps = x.iter().zip(parameters).map(|(&v, (s, _))| v / s).collect();
            let options = CastOptions {
                overflow: Overflow::Saturate,
                ..CastOptions::default()
            };
            return Ok(Tensor::from_vec::<f32>(shape, steps)?.cast(self.dtype, options)?);
        };
        // Rounded in f32 as the operator is; the sum with z is exact in f64 for every type.
        let codes: Vec<i64> = x
            .iter()
            .zip(parameters)
            .map(|(&v, (s, z))| {
                let steps = (v / s).round_ties_even();
                if steps.is_nan() {
                    low
                } else {
                    (f64::from(steps) + f64::from(z)).clamp(low as f64, high as f64) as i64
                }
            })
            .collect();
        Ok(Tensor::from_vec(shape, codes)?.cast(self.dtype, CastOptions::default())?)
    }

    /// Dequantizes `q`, whose type must be that of the parameters.
    ///
    /// # Errors
    /// Those of [`QuantParams::validate`]; [`TensorError::WrongDType`] if `q` is of another type.
    pub fn dequantize(&self, q: &Tensor) -> Result<ArrayD<f32>, QuantParamsError> {
        self.validate(q.shape())?;
        if q.dtype() != self.dtype {
            return Err(QuantParamsError::Tensor(TensorError::WrongDType {
                expected: self.dtype,
                found: q.dtype(),
            }));
        }
        let layout = Layout::new(q.shape(), self.granularity);
        let mut values: Vec<f32> = if self.dtype.is_float() {
            q.to_f32_vec()?
        } else {
            let codes = q.to_i64_vec()?.into_iter().enumerate();
            codes
                .map(|(i, code)| (code - i64::from(self.zero_point[layout.position(i)])) as f32)
                .collect()
        };
        for (i, value) in values.iter_mut().enumerate() {
            *value *= self.scale[layout.position(i)];
        }
        let found = values.len();
        ArrayD::from_shape_vec(IxDyn(q.shape()), values).map_err(|_| {
            QuantParamsError::Tensor(TensorError::WrongLength {
                shape: q.shape().to_vec(),
                dtype: DType::F32,
                expected: q.len(),
                found,
                unit: "elements",
            })
        })
    }
}

fn is_quantized(dtype: DType) -> bool {
    dtype.integer_range().is_some() && dtype != DType::U32
        || matches!(
            dtype,
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ | DType::F4E2M1
        )
}

#[cfg(test)]
mod tests;
