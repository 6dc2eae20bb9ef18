//! The tensor: element type, shape, contiguous C-order data.

use crate::storage::{BufferBytes, Storage};
use crate::{DType, Element, Shape, TensorError};
use bytes::Bytes;
use ndarray::{Array, ArrayD, ArrayViewD, Dimension, IxDyn};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The number of elements of `shape`; `None` where the product overflows.
///
/// A scalar (empty shape) has one element.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// A tensor: element type, shape and contiguous C-order data.
///
/// Cloning shares the data. Data read from a file may be a window into its memory map.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    len: usize,
    storage: Storage,
}

impl Tensor {
    /// A tensor that owns `data`.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] if `data` has not as many elements as `shape` says.
    pub fn from_vec<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Self, TensorError> {
        let len = checked_len(shape, T::DTYPE)?;
        if len != data.len() {
            return Err(wrong_length(shape, T::DTYPE, len, data.len(), "elements"));
        }
        Ok(Self {
            dtype: T::DTYPE,
            shape: shape.into(),
            len,
            storage: Storage::Shared(Arc::new(data)),
        })
    }

    /// A scalar (shape `[]`).
    pub fn scalar<T: Element>(value: T) -> Self {
        Self {
            dtype: T::DTYPE,
            shape: Shape::new(),
            len: 1,
            storage: Storage::Shared(Arc::new(vec![value])),
        }
    }

    /// A vector (shape `[n]`).
    pub fn vector<T: Element>(data: Vec<T>) -> Self {
        let len = data.len();
        Self {
            dtype: T::DTYPE,
            shape: [len].into(),
            len,
            storage: Storage::Shared(Arc::new(data)),
        }
    }

    /// A tensor of `shape` filled with `value`.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] if the size overflows.
    pub fn full<T: Element>(shape: &[usize], value: T) -> Result<Self, TensorError> {
        let len = checked_len(shape, T::DTYPE)?;
        Self::from_vec(shape, vec![value; len])
    }

    /// A tensor over little-endian bytes, without copying; also for the types that have no Rust type.
    ///
    /// Packed types hold their elements from the lowest bits of each byte on.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] if the byte length is not what `shape` and `dtype` take.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: Bytes) -> Result<Self, TensorError> {
        let len = checked_len(shape, dtype)?;
        let expected = dtype.byte_len(len).ok_or_else(|| too_large(shape, dtype))?;
        if expected != bytes.len() {
            return Err(wrong_length(shape, dtype, expected, bytes.len(), "bytes"));
        }
        Ok(Self {
            dtype,
            shape: shape.into(),
            len,
            storage: Storage::Mapped(bytes),
        })
    }

    /// A tensor of strings.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] if there are not as many strings as `shape` says.
    pub fn from_strings(shape: &[usize], data: Vec<String>) -> Result<Self, TensorError> {
        let len = element_count(shape).ok_or_else(|| too_large(shape, DType::String))?;
        if len != data.len() {
            return Err(wrong_length(
                shape,
                DType::String,
                len,
                data.len(),
                "elements",
            ));
        }
        Ok(Self {
            dtype: DType::String,
            shape: shape.into(),
            len,
            storage: Storage::Strings(Arc::new(data)),
        })
    }

    /// A tensor that takes over an array's data; copied only where it is not in standard layout.
    pub fn from_array<T: Element, D: Dimension>(array: Array<T, D>) -> Self {
        let shape = array.shape().into();
        let len = array.len();
        let data = if array.is_standard_layout() {
            let (mut data, offset) = array.into_raw_vec_and_offset();
            data.drain(..offset.unwrap_or(0));
            data.truncate(len);
            data
        } else {
            array.iter().copied().collect()
        };
        Self {
            dtype: T::DTYPE,
            shape,
            len,
            storage: Storage::Shared(Arc::new(data)),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data as little-endian bytes; empty for strings.
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// Bytes that the data takes; for strings the sum of their lengths.
    pub fn byte_len(&self) -> usize {
        match &self.storage {
            Storage::Strings(strings) => strings.iter().map(String::len).sum(),
            other => other.bytes().len(),
        }
    }

    /// The bytes as a cheaply cloned handle that shares the data; empty for strings.
    pub fn to_bytes(&self) -> Bytes {
        match &self.storage {
            Storage::Mapped(bytes) => bytes.clone(),
            Storage::Shared(buffer) => Bytes::from_owner(BufferBytes(Arc::clone(buffer))),
            Storage::Strings(_) => Bytes::new(),
        }
    }

    /// Whether the data is a window into somebody else's bytes, such as a memory map.
    pub fn is_mapped(&self) -> bool {
        matches!(self.storage, Storage::Mapped(_))
    }

    /// Gives the physical memory behind memory-mapped data back to the operating system, for data that was read and
    /// is not needed soon. The tensor stays as it is: the next access reads from the file again. For other data
    /// nothing happens.
    pub fn release_pages(&self) {
        if let Storage::Mapped(bytes) = &self.storage {
            crate::mmap::release_pages(bytes);
        }
    }

    /// Whether the data belongs to this tensor alone: [`Tensor::data_mut`] and [`Tensor::into_vec`]
    /// then work without copying.
    pub fn is_unique(&self) -> bool {
        match &self.storage {
            Storage::Shared(buffer) => Arc::strong_count(buffer) == 1,
            Storage::Mapped(_) => false,
            Storage::Strings(strings) => Arc::strong_count(strings) == 1,
        }
    }

    /// The elements: borrowed, or copied where memory-mapped data is not aligned for `T`.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn data<T: Element>(&self) -> Result<Cow<'_, [T]>, TensorError> {
        self.require(T::DTYPE)?;
        Ok(T::read(self.bytes()))
    }

    /// The elements, borrowed.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`]; [`TensorError::Misaligned`] where the data would have to be
    /// copied (see [`Tensor::to_aligned`]).
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.require(T::DTYPE)?;
        T::view(self.bytes()).ok_or(TensorError::Misaligned { dtype: self.dtype })
    }

    /// Elements that the tensor has memory for: at least [`Tensor::len`], more in a buffer that held more.
    pub fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Shared(buffer) => buffer.capacity(),
            Storage::Mapped(_) | Storage::Strings(_) => self.len,
        }
    }

    /// A tensor of `T` of another shape in the memory of this one; its elements are arbitrary. Memory is allocated where
    /// this one's is too small, shared, memory-mapped or not of `T`.
    ///
    /// # Errors
    /// [`TensorError::TooLarge`] if the size overflows.
    pub fn reuse<T: Element>(mut self, shape: &[usize]) -> Result<Self, TensorError> {
        let len = checked_len(shape, T::DTYPE)?;
        if let Storage::Shared(buffer) = &mut self.storage
            && let Some(buffer) = Arc::get_mut(buffer)
            && let Some(vec) = buffer.as_any_mut().downcast_mut::<Vec<T>>()
        {
            // Keeps what is there: only a part that was cut off before is filled again.
            vec.resize(len, T::default());
            return Ok(Self {
                dtype: T::DTYPE,
                shape: shape.into(),
                len,
                storage: self.storage,
            });
        }
        Self::full(shape, T::default())
    }

    /// The elements for writing; copied first where they are shared or memory-mapped.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn data_mut<T: Element>(&mut self) -> Result<&mut [T], TensorError> {
        self.require(T::DTYPE)?;
        let unique = match &mut self.storage {
            Storage::Shared(buffer) => Arc::get_mut(buffer).is_some(),
            _ => false,
        };
        if !unique {
            let copy = T::read(self.bytes()).into_owned();
            self.storage = Storage::Shared(Arc::new(copy));
        }
        let wrong = TensorError::Misaligned { dtype: self.dtype };
        let Storage::Shared(buffer) = &mut self.storage else {
            return Err(wrong);
        };
        match Arc::get_mut(buffer).and_then(|b| b.as_any_mut().downcast_mut::<Vec<T>>()) {
            Some(vec) => Ok(vec),
            None => Err(wrong),
        }
    }

    /// The elements as a vector; moved out where nobody else shares them.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn into_vec<T: Element>(self) -> Result<Vec<T>, TensorError> {
        self.require(T::DTYPE)?;
        Ok(match self.storage {
            Storage::Shared(buffer) => match buffer.into_any().downcast::<Vec<T>>() {
                Ok(vec) => Arc::try_unwrap(vec).unwrap_or_else(|shared| shared.as_ref().clone()),
                Err(_) => return Err(TensorError::Misaligned { dtype: T::DTYPE }),
            },
            other => T::read(other.bytes()).into_owned(),
        })
    }

    /// The strings.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn strings(&self) -> Result<&[String], TensorError> {
        match &self.storage {
            Storage::Strings(strings) => Ok(strings),
            _ => Err(TensorError::WrongDType {
                expected: DType::String,
                found: self.dtype,
            }),
        }
    }

    /// An `ndarray` view, without copying.
    ///
    /// # Errors
    /// Those of [`Tensor::as_slice`].
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>, TensorError> {
        let slice = self.as_slice::<T>()?;
        ArrayViewD::from_shape(IxDyn(&self.shape), slice)
            .map_err(|_| wrong_length(&self.shape, self.dtype, self.len, slice.len(), "elements"))
    }

    /// The data as an array; moved out where nobody else shares it.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn into_array<T: Element>(self) -> Result<ArrayD<T>, TensorError> {
        let shape = self.shape.clone();
        let (dtype, len) = (self.dtype, self.len);
        let data = self.into_vec::<T>()?;
        let found = data.len();
        ArrayD::from_shape_vec(IxDyn(&shape), data)
            .map_err(|_| wrong_length(&shape, dtype, len, found, "elements"))
    }

    /// The same data in another shape, shared.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] if the shapes have different element counts.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, TensorError> {
        let len = checked_len(shape, self.dtype)?;
        if len != self.len {
            return Err(wrong_length(shape, self.dtype, len, self.len, "elements"));
        }
        Ok(Self {
            shape: shape.into(),
            ..self.clone()
        })
    }

    /// The same tensor with data that [`Tensor::as_slice`] can borrow; copies only misaligned data.
    pub fn to_aligned(&self) -> Self {
        macro_rules! align {
            ($($d:ident => $t:ty),*) => {
                match self.dtype {
                    $(DType::$d => match <$t>::read(self.bytes()) {
                        Cow::Borrowed(_) => self.clone(),
                        Cow::Owned(data) => Self { storage: Storage::Shared(Arc::new(data)), ..self.clone() },
                    },)*
                    _ => self.clone(),
                }
            };
        }
        use half::{bf16, f16};
        align!(F32 => f32, F64 => f64, F16 => f16, BF16 => bf16, I8 => i8, I16 => i16, I32 => i32,
               I64 => i64, U8 => u8, U16 => u16, U32 => u32, U64 => u64, Bool => bool)
    }

    fn require(&self, expected: DType) -> Result<(), TensorError> {
        if self.dtype == expected {
            Ok(())
        } else {
            Err(TensorError::WrongDType {
                expected,
                found: self.dtype,
            })
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?})", self.dtype, self.shape)
    }
}

fn checked_len(shape: &[usize], dtype: DType) -> Result<usize, TensorError> {
    element_count(shape)
        .filter(|&n| {
            dtype == DType::String || dtype.byte_len(n).is_some_and(|b| b <= isize::MAX as usize)
        })
        .ok_or_else(|| too_large(shape, dtype))
}

fn too_large(shape: &[usize], dtype: DType) -> TensorError {
    TensorError::TooLarge {
        shape: shape.to_vec(),
        dtype,
    }
}

fn wrong_length(
    shape: &[usize],
    dtype: DType,
    expected: usize,
    found: usize,
    unit: &'static str,
) -> TensorError {
    TensorError::WrongLength {
        shape: shape.to_vec(),
        dtype,
        expected,
        found,
        unit,
    }
}

#[cfg(test)]
mod tests;
