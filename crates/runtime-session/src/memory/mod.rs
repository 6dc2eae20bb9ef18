//! What one run works in: recycled buffers and the budget. Kept from run to run.

mod pool;

pub(crate) use pool::{BufferPool, Pooled};

use compress_tensor::{DType, Tensor, element_count};
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

    /// A buffer for a tensor of this shape; its contents are arbitrary.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`] beyond the limit.
    pub(crate) fn buffer<T: Pooled>(&mut self, shape: &[usize]) -> Result<Vec<T>, EvalError> {
        let limit = self.limits.max_tensor_bytes;
        let fits = |n: &usize| T::DTYPE.byte_len(*n).is_some_and(|bytes| bytes <= limit);
        match element_count(shape).filter(fits) {
            Some(len) => Ok(self.pool.take(len)),
            None => Err(EvalError::TooLarge {
                shape: shape.to_vec(),
                limit,
            }),
        }
    }

    /// Takes the buffers of a dead value back.
    pub(crate) fn recycle(&mut self, value: Value) {
        let Value::Tensor(tensor) = value else { return };
        if !tensor.is_unique() {
            return;
        }
        match tensor.dtype() {
            DType::F32 => self.recycle_as::<f32>(tensor),
            DType::U8 => self.recycle_as::<u8>(tensor),
            DType::I8 => self.recycle_as::<i8>(tensor),
            DType::I32 => self.recycle_as::<i32>(tensor),
            DType::I64 => self.recycle_as::<i64>(tensor),
            _ => {}
        }
    }

    fn recycle_as<T: Pooled>(&mut self, tensor: Tensor) {
        if let Ok(buffer) = tensor.into_vec::<T>() {
            self.pool.give(buffer);
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
        let tensor = Tensor::from_vec(&[1000], memory.buffer::<f32>(&[1000]).unwrap()).unwrap();
        let address = tensor.bytes().as_ptr();
        let other = tensor.clone();
        memory.recycle(tensor.into());
        let fresh = memory.buffer::<f32>(&[1000]).unwrap();
        assert_ne!(fresh.as_ptr().cast(), address);
        memory.recycle(other.into());
        let reused = memory.buffer::<f32>(&[990]).unwrap();
        assert_eq!(reused.as_ptr().cast(), address);
        assert_eq!(reused.len(), 990);
    }

    #[test]
    fn a_result_beyond_the_limit_is_refused() {
        let mut memory = Memory::default();
        memory.start(Limits::default().with_max_tensor_bytes(1024));
        assert!(memory.buffer::<f32>(&[256]).is_ok());
        let refused = memory.buffer::<f32>(&[257]);
        assert_eq!(
            refused,
            Err(EvalError::TooLarge {
                shape: vec![257],
                limit: 1024
            })
        );
    }
}
