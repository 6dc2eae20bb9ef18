//! What one run works in: recycled buffers and the budget. Kept from run to run.

mod pool;

pub(crate) use pool::{BufferPool, Pooled};

use crate::error::StepError;
use compress_tensor::{DType, Tensor, element_count};
use half::{bf16, f16};
use onnx_ir::Value;
use onnx_ir::operator::{EvalError, Limits};

/// The memory and the budget of one run.
#[derive(Default)]
pub(crate) struct Memory {
    pool: BufferPool,
    limits: Limits,
    steps: u64,
}

impl Memory {
    /// Starts a run with a fresh budget.
    pub(crate) fn start(&mut self, limits: Limits) {
        self.limits = limits;
        self.steps = 0;
    }

    /// Ends a run: buffers that it did not need are given back to the system.
    pub(crate) fn finish(&mut self) {
        self.pool.trim();
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Counts one step.
    ///
    /// # Errors
    /// [`EvalError::StepLimit`] beyond the limit.
    pub(crate) fn count_step(&mut self) -> Result<(), EvalError> {
        self.steps += 1;
        if self.steps > self.limits.max_steps {
            return Err(EvalError::StepLimit {
                limit: self.limits.max_steps,
            });
        }
        Ok(())
    }

    /// A tensor of this shape that nobody shares; its elements are arbitrary.
    ///
    /// # Errors
    /// [`StepError::Eval`] with [`EvalError::TooLarge`] beyond the limit.
    pub(crate) fn tensor<T: Pooled>(&mut self, shape: &[usize]) -> Result<Tensor, StepError> {
        let limit = self.limits.max_tensor_bytes;
        let fits = |n: usize| T::DTYPE.byte_len(n).is_some_and(|bytes| bytes <= limit);
        if !element_count(shape).is_some_and(fits) {
            let shape = shape.to_vec();
            return Err(EvalError::TooLarge { shape, limit }.into());
        }
        Ok(self.pool.take::<T>(shape)?)
    }

    /// A tensor that holds one number.
    ///
    /// # Errors
    /// As [`Memory::tensor`].
    pub(crate) fn scalar<T: Pooled>(&mut self, value: T) -> Result<Tensor, StepError> {
        let mut scalar = self.tensor::<T>(&[])?;
        scalar.data_mut::<T>()?.fill(value);
        Ok(scalar)
    }

    /// Takes the buffers of a dead value back.
    pub(crate) fn recycle(&mut self, value: Value) {
        let Value::Tensor(tensor) = value else { return };
        if !tensor.is_unique() {
            return;
        }
        match tensor.dtype() {
            DType::F32 => self.pool.give::<f32>(tensor),
            DType::U8 => self.pool.give::<u8>(tensor),
            DType::I8 => self.pool.give::<i8>(tensor),
            DType::I32 => self.pool.give::<i32>(tensor),
            DType::I64 => self.pool.give::<i64>(tensor),
            DType::Bool => self.pool.give::<bool>(tensor),
            DType::F16 => self.pool.give::<f16>(tensor),
            DType::BF16 => self.pool.give::<bf16>(tensor),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_tensor_is_not_recycled() {
        let mut memory = Memory::default();
        memory.start(Limits::default());
        let tensor = memory.tensor::<f32>(&[1000]).unwrap();
        let address = tensor.bytes().as_ptr();
        let other = tensor.clone();
        memory.recycle(tensor.into());
        let fresh = memory.tensor::<f32>(&[1000]).unwrap();
        assert_ne!(fresh.bytes().as_ptr(), address);
        memory.recycle(other.into());
        let reused = memory.tensor::<f32>(&[990]).unwrap();
        assert_eq!(reused.bytes().as_ptr(), address);
        assert_eq!(reused.len(), 990);
    }

    #[test]
    fn a_result_beyond_the_limit_is_refused() {
        let mut memory = Memory::default();
        memory.start(Limits::default().with_max_tensor_bytes(1024));
        assert!(memory.tensor::<f32>(&[256]).is_ok());
        let refused = memory.tensor::<f32>(&[257]).unwrap_err();
        let limit = EvalError::TooLarge {
            shape: vec![257],
            limit: 1024,
        };
        assert_eq!(refused, StepError::Eval(limit));
    }
}
