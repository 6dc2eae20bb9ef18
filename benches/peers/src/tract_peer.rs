//! tract: optimized for the shapes of the inputs, on one thread or on a pool.

use compress_tensor::{DType, Tensor};
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::{
    Framework, InferenceFact, InferenceModelExt, IntoRunnable, TValue, TVec, Tensor as TractTensor,
};

use crate::measure::{Latency, measure};
use crate::{Job, Refusal, inputs};

pub(crate) fn time(job: &Job) -> Result<Latency, Refusal> {
    let executor = match job.threads {
        1 => Executor::SingleThread,
        threads => Executor::multithread(threads),
    };
    multithread_tract_scope(executor, || optimized(job))
}

fn optimized(job: &Job) -> Result<Latency, Refusal> {
    // Shapes that a file declares for inner values, with symbols for a batch, contradict the concrete ones of the inputs.
    let mut model = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_path(&job.model)?;
    let mut arrays = inputs::read(&job.inputs)?;
    let mut values = TVec::new();
    for (index, outlet) in model.input_outlets()?.to_vec().into_iter().enumerate() {
        let array = inputs::take(&mut arrays, &model.node(outlet.node).name)?;
        let value = value(&array)?;
        let fact = InferenceFact::dt_shape_from_tensor(&value);
        model.set_input_fact(index, fact)?;
        values.push(TValue::from(value));
    }
    let mut state = model.into_optimized()?.into_runnable()?.spawn()?;
    measure(
        &job.budget,
        || Ok(state.run(values.clone())?),
        |outputs| first(outputs),
    )
}

fn value(array: &Tensor) -> Result<TractTensor, Refusal> {
    let shape = array.shape();
    Ok(match array.dtype() {
        DType::F32 => TractTensor::from_shape(shape, array.as_slice::<f32>()?)?,
        DType::I8 => TractTensor::from_shape(shape, array.as_slice::<i8>()?)?,
        DType::U8 => TractTensor::from_shape(shape, array.as_slice::<u8>()?)?,
        DType::I32 => TractTensor::from_shape(shape, array.as_slice::<i32>()?)?,
        DType::I64 => TractTensor::from_shape(shape, array.as_slice::<i64>()?)?,
        other => return Err(format!("an input of {other} is not passed on").into()),
    })
}

fn first(outputs: &[TValue]) -> Option<Vec<f32>> {
    let tensor = outputs.first()?.cast_to::<f32>().ok()?;
    Some(
        tensor
            .to_plain_array_view::<f32>()
            .ok()?
            .iter()
            .copied()
            .collect(),
    )
}
