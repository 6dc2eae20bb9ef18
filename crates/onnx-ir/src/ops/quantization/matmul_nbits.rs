//! `MatMulNBits`: `Y = A · dequantize(B)ᵀ + bias`, the weight of `N` rows of `K` numbers of 2, 4 or 8 bits
//! with one scale and zero point per block of a row.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits>
//!
//! B is `[N, ceil(K / block_size), block_size * bits / 8]` bytes, the first number in the lowest bits. Zero
//! points are packed in the same way, each row padded to whole bytes, or are of A's type; they are
//! `2^(bits - 1)` where they are left out.

use super::integer_matmul::infer_shape;
use crate::operator::prelude::*;

/// The attributes of `MatMulNBits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulNBits {
    /// Columns of A.
    pub k: usize,
    /// Rows of the weight: columns of the result.
    pub n: usize,
    /// Bits of one number: 2, 4 or 8.
    pub bits: usize,
    /// Numbers of a row that share a scale.
    pub block_size: usize,
}

impl Operator for MatMulNBits {
    const SIGNATURE: Signature = Signature::microsoft("MatMulNBits");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // How an implementation may round the activations; this one does not.
        attrs.ignore("accuracy_level");
        let invalid = |name, found: usize, rule| AttrError::Invalid {
            name,
            found: found.to_string(),
            rule,
        };
        if attrs.size_or("weight_prepacked", 0)? != 0 {
            let rule = "only the portable layout is defined";
            return Err(invalid("weight_prepacked", 1, rule));
        }
        let required = |attrs: &mut Attrs<'_>, name| {
            let size = attrs.size_or(name, usize::MAX)?;
            if size == usize::MAX {
                return Err(AttrError::Missing { name });
            }
            Ok(size)
        };
        let op = Self {
            k: required(attrs, "K")?,
            n: required(attrs, "N")?,
            bits: attrs.size_or("bits", 4)?,
            block_size: required(attrs, "block_size")?,
        };
        if !matches!(op.bits, 2 | 4 | 8) {
            return Err(invalid("bits", op.bits, "it must be 2, 4 or 8"));
        }
        if op.block_size < 16 || !op.block_size.is_power_of_two() {
            let rule = "it must be a power of two of at least 16";
            return Err(invalid("block_size", op.block_size, rule));
        }
        Ok(op)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let a = cx.tensor(0)?;
        let b = TensorFact::with_shape(None, Some(vec![self.k.into(), self.n.into()]));
        let shape = infer_shape(&a, &b)?;
        Ok(vec![TensorFact::with_shape(a.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        if cx.optional_tensor(4)?.is_some() {
            return Err(EvalError::NotSupported {
                what: "MatMulNBits with a group index (g_idx)",
            });
        }
        let a = cx.tensor(0)?;
        let Some((&columns, rows)) = a.shape().split_last() else {
            return Err(EvalError::rule("A must not be a scalar", "rank 0"));
        };
        if columns != self.k {
            return Err(EvalError::rule(
                "A must have K columns",
                format_args!("{columns} and K = {}", self.k),
            ));
        }
        let shape = [rows, &[self.n]].concat();
        cx.check_size(&shape, a.dtype())?;
        let weight = self.weight(cx)?;
        let bias = cx.optional_tensor(5)?.map(Tensor::to_f32_vec).transpose()?;
        if bias.as_ref().is_some_and(|b| b.len() != self.n) {
            return Err(EvalError::rule("the bias must have N values", self.n));
        }
        let a_data = a.to_f32_vec()?;
        let mut y = Vec::new();
        for row in a_data.chunks_exact(self.k.max(1)) {
            for n in 0..self.n {
                let weight = &weight[n * self.k..(n + 1) * self.k];
                let start = bias.as_ref().map_or(0.0, |b| f64::from(b[n]));
                let sum = row.iter().zip(weight).fold(start, |sum, (&x, &w)| {
                    f64::from(x).mul_add(f64::from(w), sum)
                });
                y.push(sum as f32);
            }
        }
        Ok(vec![Tensor::from_f32(a.dtype(), &shape, y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl MatMulNBits {
    /// The weight as `[N, K]` in binary32.
    fn weight(&self, cx: &EvalContext<'_>) -> Result<Vec<f32>, EvalError> {
        let blocks = self.k.div_ceil(self.block_size);
        let row_codes = blocks.saturating_mul(self.block_size);
        cx.check_size(&[self.n, row_codes], DType::F32)?;
        let scales = cx.tensor(2)?.to_f32_vec()?;
        require("scales", scales.len(), self.n * blocks)?;
        let bytes = cx.data::<u8>(1)?;
        require(
            "bytes of B",
            bytes.len(),
            self.n * (row_codes * self.bits / 8),
        )?;
        let zero_points = self.zero_points(cx, blocks)?;
        let mut weight = Vec::with_capacity(self.n * self.k);
        for n in 0..self.n {
            for k in 0..self.k {
                let block = n * blocks + k / self.block_size;
                let code = self.code(&bytes, n * row_codes + k);
                weight.push((code - zero_points[block]) * scales[block]);
            }
        }
        Ok(weight)
    }

    fn zero_points(&self, cx: &EvalContext<'_>, blocks: usize) -> Result<Vec<f32>, EvalError> {
        let count = self.n * blocks;
        let Some(tensor) = cx.optional_tensor(3)? else {
            return Ok(vec![(1u32 << (self.bits - 1)) as f32; count]);
        };
        if tensor.dtype() != DType::U8 {
            let values = tensor.to_f32_vec()?;
            require("zero points", values.len(), count)?;
            return Ok(values);
        }
        let bytes = tensor.data::<u8>()?;
        let row_bytes = (blocks * self.bits).div_ceil(8);
        require("bytes of zero points", bytes.len(), self.n * row_bytes)?;
        let row_codes = row_bytes * 8 / self.bits;
        let index = (0..count).map(|i| i / blocks * row_codes + i % blocks);
        Ok(index.map(|i| self.code(&bytes, i)).collect())
    }

    /// Number `index` of a packed run.
    fn code(&self, bytes: &[u8], index: usize) -> f32 {
        let bit = index * self.bits;
        let mask = ((1u16 << self.bits) - 1) as u8;
        f32::from(bytes[bit / 8] >> (bit % 8) & mask)
    }
}

fn require(what: &'static str, found: usize, expected: usize) -> Result<(), EvalError> {
    if found == expected {
        return Ok(());
    }
    Err(EvalError::rule(
        "sizes must fit N, K, bits and block_size",
        format_args!("{found} {what}, expected {expected}"),
    ))
}
