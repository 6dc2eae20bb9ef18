//! Plans by input shapes, the least recently used one dropped first.

use super::Plan;
use compress_tensor::{DType, Shape};
use onnx_ir::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// Types and shapes of the inputs; `None` for an input that was not fed or is no tensor.
pub(crate) type ShapeKey = Vec<Option<(DType, Shape)>>;

/// The type and the shape of what is fed.
fn entry(fed: &Option<Value>) -> Option<(DType, &[usize])> {
    let tensor = fed.as_ref()?.as_tensor()?;
    Some((tensor.dtype(), tensor.shape()))
}

fn is_key_of(key: &ShapeKey, feeds: &[Option<Value>]) -> bool {
    let known = key.iter().map(|k| k.as_ref().map(|(d, s)| (*d, &s[..])));
    known.eq(feeds.iter().map(entry))
}

/// Plans by input shapes.
#[derive(Default)]
pub(crate) struct PlanCache {
    /// The one used last stands last.
    plans: Mutex<Vec<(ShapeKey, Arc<Plan>)>>,
}

impl PlanCache {
    /// The plan for the types and shapes of `feeds`, made where it is not there; at most `capacity` plans are kept.
    pub(crate) fn get(
        &self,
        feeds: &[Option<Value>],
        capacity: usize,
        make: impl FnOnce(&ShapeKey) -> Plan,
    ) -> Arc<Plan> {
        {
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = plans.iter().rposition(|(k, _)| is_key_of(k, feeds)) {
                plans[at..].rotate_left(1);
                if let Some((_, plan)) = plans.last() {
                    return plan.clone();
                }
            }
        }
        // Made without the lock: another run may make the same plan at the same time, and one of the two is kept.
        let owned = |(dtype, shape): (DType, &[usize])| (dtype, shape.into());
        let key: ShapeKey = feeds.iter().map(|fed| entry(fed).map(owned)).collect();
        let plan = Arc::new(make(&key));
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if capacity > 0 && !plans.iter().any(|(k, _)| *k == key) {
            if plans.len() >= capacity {
                plans.remove(0);
            }
            plans.push((key, plan.clone()));
        }
        plan
    }
}
