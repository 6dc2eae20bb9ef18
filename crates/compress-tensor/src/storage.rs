//! Where a tensor's bytes live: in a shared typed vector, in a memory map, or as strings.

use crate::Element;
use bytes::Bytes;
use std::any::Any;
use std::sync::Arc;

/// An owned, typed vector behind one pointer type.
pub(crate) trait Buffer: Any + Send + Sync {
    fn bytes(&self) -> &[u8];
    fn capacity(&self) -> usize;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Element> Buffer for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.as_slice())
    }
    fn capacity(&self) -> usize {
        Vec::capacity(self)
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Keeps a shared vector alive behind [`Bytes`].
pub(crate) struct BufferBytes(pub(crate) Arc<dyn Buffer>);

impl AsRef<[u8]> for BufferBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[derive(Clone)]
pub(crate) enum Storage {
    /// A vector of exactly the tensor's element type (bytes for the types without a Rust type).
    Shared(Arc<dyn Buffer>),
    /// A window into bytes that somebody else keeps alive, most often a memory map.
    Mapped(Bytes),
    Strings(Arc<Vec<String>>),
}

impl Storage {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Shared(buffer) => buffer.bytes(),
            Storage::Mapped(bytes) => bytes,
            Storage::Strings(_) => &[],
        }
    }
}
