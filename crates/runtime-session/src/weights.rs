//! Weights in the form that kernels read, made once and shared by all drafts and plans of a session.

use compress_tensor::{DType, Tensor};
use onnx_ir::{Graph, ValueId};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a window below which its memory is not worth a call to the operating system.
const MIN_RELEASED: usize = 64 << 10;

/// Where weights come from, and their form.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    source: Source,
    form: String,
}

#[derive(PartialEq, Eq, Hash)]
enum Source {
    /// What the file stores: the graphs of a session, before and after its passes, share it.
    Stored {
        address: usize,
        dtype: DType,
        shape: Vec<usize>,
    },
    /// What is computed: a graph (by address, at which it stays as long as the session) and a value in it.
    Value(usize, ValueId),
}

/// Weights in the form that kernels read.
#[derive(Default)]
pub(crate) struct Weights {
    made: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    weights: Arc<dyn Any + Send + Sync>,
    /// Keeps the content of the key alive, so that its address stands for nothing else. Of what the file stores, the
    /// graph keeps it too.
    _stored: Option<Tensor>,
}

impl Weights {
    /// The constant `value` of `graph`, whose content is `tensor`, in the form `form`, made where it is not there. One
    /// form has one type.
    ///
    /// Of a file that is mapped, the memory behind `tensor` is given back, unless the form is `tensor` itself: it is not
    /// read again.
    ///
    /// # Errors
    /// What `make` gives.
    pub(crate) fn get<T: Any + Send + Sync, E>(
        &self,
        graph: &Graph,
        value: ValueId,
        tensor: &Tensor,
        form: &str,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let kept = graph.constant(value).map(|t| t.bytes().as_ptr());
        let is_stored = tensor.is_mapped() || kept == Some(tensor.bytes().as_ptr());
        let is_stored = is_stored && !tensor.is_empty();
        let source = if is_stored {
            Source::Stored {
                address: tensor.bytes().as_ptr().addr(),
                dtype: tensor.dtype(),
                shape: tensor.shape().to_vec(),
            }
        } else {
            Source::Value(std::ptr::from_ref(graph).addr(), value)
        };
        let key = Key {
            source,
            form: form.to_owned(),
        };
        let lock = || self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(found)) = lock().get(&key).map(|e| e.weights.clone().downcast::<T>()) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        // A window that is aligned already is its own aligned form: every run reads it.
        let form: &dyn Any = made.as_ref();
        let is_itself = form
            .downcast_ref::<Tensor>()
            .is_some_and(|form| std::ptr::eq(form.bytes(), tensor.bytes()));
        if tensor.byte_len() >= MIN_RELEASED && !is_itself {
            tensor.release_pages();
        }
        let entry = Entry {
            weights: made.clone(),
            _stored: is_stored.then(|| tensor.clone()),
        };
        lock().insert(key, entry);
        Ok(made)
    }

    /// Forgets the forms that no step holds.
    pub(crate) fn release_unused(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, entry| Arc::strong_count(&entry.weights) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn graphs_that_share_a_tensor_share_its_forms() {
        let mut graph = Graph::new("model");
        let data = Tensor::vector(vec![1.0f32, 2.0]);
        let w = graph.add_initializer("w", data.clone()).unwrap();
        let moved = graph.clone();
        let (weights, mut made) = (Weights::default(), 0);
        let mut get = |graph: &Graph, tensor: &Tensor, form: &str| {
            let Ok(_) = weights.get(graph, w, tensor, form, || {
                made += 1;
                Ok::<_, Infallible>(made)
            });
            made
        };
        assert_eq!(get(&graph, &data, "packed"), 1);
        assert_eq!(get(&moved, moved.constant(w).unwrap(), "packed"), 1);
        assert_eq!(get(&moved, &data, "turned"), 2);
        // The content of another tensor under the same id is another.
        assert_eq!(get(&moved, &Tensor::vector(vec![3.0f32, 4.0]), "packed"), 3);
    }
}
