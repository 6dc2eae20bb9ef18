//! rten: all operators, weights packed once, a pool of as many threads as asked for.

use std::sync::Arc;

use compress_tensor::{DType, Tensor};
use rten::{ModelOptions, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;

use crate::measure::{Latency, measure};
use crate::{Job, Refusal, inputs};

pub(crate) fn time(job: &Job) -> Result<Latency, Refusal> {
    let mut options = ModelOptions::with_all_ops();
    options.prepack_weights(true);
    let model = options.load_file(&job.model)?;
    let mut values = Vec::new();
    for (name, array) in inputs::read(&job.inputs)? {
        values.push((model.node_id(&name)?, value(&array)?));
    }
    let pool = Arc::new(ThreadPool::with_num_threads(job.threads));
    let run = || {
        let feeds = values.iter();
        let feeds = feeds.map(|(id, value)| (*id, ValueOrView::from(value)));
        let options = RunOptions::default().with_thread_pool(Some(pool.clone()));
        Ok(model.run(feeds.collect(), model.output_ids(), Some(options))?)
    };
    measure(&job.budget, run, |outputs| first(outputs))
}

/// An array in the element types of rten, which knows integers of 8 and 32 bits only.
fn value(array: &Tensor) -> Result<Value, Refusal> {
    let shape = array.shape();
    Ok(match array.dtype() {
        DType::F32 => Value::from_shape(shape, array.as_slice::<f32>()?.to_vec())?,
        DType::I8 => Value::from_shape(shape, array.as_slice::<i8>()?.to_vec())?,
        DType::U8 => Value::from_shape(shape, array.as_slice::<u8>()?.to_vec())?,
        DType::I32 => Value::from_shape(shape, array.as_slice::<i32>()?.to_vec())?,
        DType::I64 => {
            let narrow = array.as_slice::<i64>()?.iter().map(|x| i32::try_from(*x));
            Value::from_shape(shape, narrow.collect::<Result<Vec<i32>, _>>()?)?
        }
        other => return Err(format!("it takes no input of {other}").into()),
    })
}

fn first(outputs: &[Value]) -> Option<Vec<f32>> {
    match outputs.first()? {
        Value::FloatTensor(tensor) => Some(tensor.to_vec()),
        _ => None,
    }
}
