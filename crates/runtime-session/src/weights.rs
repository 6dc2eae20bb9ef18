//! Weights in the form that kernels read, made once and shared by all plans of a session.

use onnx_ir::{Graph, ValueId};
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A graph (by address; a session keeps its graphs), a value in it, and the form.
type Key = (usize, ValueId, String);

/// Weights in the form that kernels read.
#[derive(Default)]
pub(crate) struct Weights {
    packed: Mutex<HashMap<Key, Arc<dyn Any + Send + Sync>>>,
}

impl Weights {
    /// The weights `value` of `graph` in the form `form`, made where they are not there. One form has one type.
    ///
    /// # Errors
    /// What `make` gives.
    pub(crate) fn get<T: Any + Send + Sync, E>(
        &self,
        graph: &Graph,
        value: ValueId,
        form: &str,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let key = (std::ptr::from_ref(graph).addr(), value, form.to_owned());
        let lock = || self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(found)) = lock().get(&key).map(|w| w.clone().downcast::<T>()) {
            return Ok(found);
        }
        let made = Arc::new(make()?);
        lock().insert(key, made.clone());
        Ok(made)
    }
}
