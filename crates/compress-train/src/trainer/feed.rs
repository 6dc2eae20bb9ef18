//! Columns of a batch as inputs of a model.

use super::error::TrainError;
use crate::data::{Batch, Column, Field, Kind, Values};
use compress_tensor::{CastOptions, DType, Tensor};
use onnx_ir::{Fact, Graph};

/// An input that samples feed.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: String,
    dtype: DType,
    /// The size of the first axis, where it is fixed.
    fixed: Option<usize>,
}

/// The inputs of a model that samples feed, and the memory that they lie in.
#[derive(Debug)]
pub(super) struct Feeder {
    ports: Vec<Port>,
    /// One tensor for each port.
    tensors: Vec<Tensor>,
}

impl Feeder {
    /// For the inputs of a graph without defaults, but for those named in `others`.
    pub(super) fn new(graph: &Graph, others: &[&str]) -> Result<Self, TrainError> {
        let mut ports = Vec::new();
        for id in graph.required_inputs() {
            let name = graph.name_of(id);
            if others.contains(&name) {
                continue;
            }
            let fact = match &graph.value(id).fact {
                Fact::Tensor(fact) => Some(fact),
                _ => None,
            };
            let dims = fact.and_then(|f| f.shape.as_ref());
            ports.push(Port {
                name: name.to_owned(),
                dtype: fact.and_then(|f| f.dtype).unwrap_or(DType::F32),
                fixed: dims.and_then(|d| d.first()?.as_size()),
            });
        }
        for port in &ports {
            let dtype = port.dtype;
            let is_fed = dtype.is_float() || dtype == DType::Bool || dtype.is_integer();
            if !is_fed || dtype.is_packed() || dtype.bits().is_some_and(|b| b < 8) {
                return Err(TrainError::InputType {
                    input: port.name.clone(),
                    found: dtype,
                });
            }
        }
        Ok(Self {
            tensors: ports
                .iter()
                .map(|_| Tensor::vector(Vec::<f32>::new()))
                .collect(),
            ports,
        })
    }

    /// Whether a field feeds an input; all others are targets.
    pub(super) fn is_input(&self, field: &str) -> bool {
        self.ports.iter().any(|port| port.name == field)
    }

    /// Checks that the fields of some data feed all inputs, in batches of a size.
    pub(super) fn check(
        &self,
        fields: &[Field],
        batch: usize,
        are_all_whole: bool,
    ) -> Result<(), TrainError> {
        for port in &self.ports {
            if !fields.iter().any(|field| field.name == port.name) {
                return Err(TrainError::MissingInput {
                    input: port.name.clone(),
                    fields: fields.iter().map(|field| field.name.clone()).collect(),
                });
            }
            if let Some(size) = port.fixed
                && (size != batch || !are_all_whole)
            {
                return Err(TrainError::FixedBatch {
                    input: port.name.clone(),
                    size,
                });
            }
        }
        Ok(())
    }

    /// The first number of a batch that is not finite.
    pub(super) fn not_finite(batch: &Batch) -> Option<TrainError> {
        batch.columns.iter().find_map(|column| {
            let Values::F32(values) = &column.values else {
                return None;
            };
            let at = values.iter().position(|v| !v.is_finite())?;
            let sample = at / column.field.count().max(1);
            Some(TrainError::SampleNotFinite {
                field: column.field.name.clone(),
                sample: batch.indices.get(sample).copied().unwrap_or(sample),
                found: values[at],
            })
        })
    }

    /// Takes the columns that feed inputs; numbers of the input's own type are moved, not copied. Gives the others back as targets.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<Vec<Column>, TrainError> {
        let (samples, indices) = (batch.len(), &batch.indices);
        for (port, tensor) in self.ports.iter().zip(&mut self.tensors) {
            let fields = || batch.columns.iter().map(|c| c.field.name.clone()).collect();
            let at = batch.columns.iter().position(|c| c.field.name == port.name);
            let at = at.ok_or_else(|| TrainError::MissingInput {
                input: port.name.clone(),
                fields: fields(),
            })?;
            let column = &mut batch.columns[at];
            let mut shape = vec![samples];
            shape.extend(&column.field.shape);
            fill(port, column, &shape, tensor)
                .map_err(|e| e.with_samples(|at| indices.get(at).copied().unwrap_or(at)))?;
        }
        let mut targets = Vec::new();
        for column in &mut batch.columns {
            if self.ports.iter().any(|port| port.name == column.field.name) {
                continue;
            }
            targets.push(Column {
                field: column.field.clone(),
                values: match &mut column.values {
                    Values::U8(bytes) => Values::I64(bytes.iter().map(|&b| i64::from(b)).collect()),
                    Values::F32(values) => Values::F32(std::mem::take(values)),
                    Values::I64(values) => Values::I64(std::mem::take(values)),
                },
            });
        }
        Ok(targets)
    }

    /// Puts the memory of inputs and targets back into the batch that they came from.
    pub(super) fn restore(&mut self, batch: &mut Batch, targets: Vec<Column>) {
        for (port, tensor) in self.ports.iter().zip(&mut self.tensors) {
            let column = batch.columns.iter_mut().find(|c| c.field.name == port.name);
            if let Some(Values::F32(values)) = column.map(|c| &mut c.values)
                && values.is_empty()
                && port.dtype == DType::F32
            {
                let empty = Tensor::vector(Vec::<f32>::new());
                *values = std::mem::replace(tensor, empty)
                    .into_vec()
                    .unwrap_or_default();
            }
        }
        for target in targets {
            let column = batch
                .columns
                .iter_mut()
                .find(|c| c.field.name == target.field.name);
            if let Some(column) = column
                && column.values.kind() == target.values.kind()
            {
                column.values = target.values;
            }
        }
    }

    /// Names and tensors; the data are shared.
    pub(super) fn feeds(&self) -> impl Iterator<Item = (&str, Tensor)> {
        let names = self.ports.iter().map(|port| port.name.as_str());
        names.zip(self.tensors.iter().cloned())
    }
}

/// Makes the tensor of one input.
fn fill(
    port: &Port,
    column: &mut Column,
    shape: &[usize],
    tensor: &mut Tensor,
) -> Result<(), TrainError> {
    let empty = Tensor::vector(Vec::<f32>::new());
    let old = std::mem::replace(tensor, empty);
    let wrong = |found: Kind| TrainError::WrongKind {
        field: column.field.name.clone(),
        found,
        expected: port.dtype,
    };
    *tensor = match (port.dtype, &mut column.values) {
        (DType::F32, Values::F32(values)) => Tensor::from_vec(shape, std::mem::take(values))?,
        (DType::F32, Values::U8(bytes)) => {
            let mut tensor = old.reuse::<f32>(shape)?;
            for (to, &byte) in tensor.data_mut::<f32>()?.iter_mut().zip(bytes.iter()) {
                *to = f32::from(byte);
            }
            tensor
        }
        (DType::F32, Values::I64(numbers)) => {
            let mut tensor = old.reuse::<f32>(shape)?;
            for (to, &number) in tensor.data_mut::<f32>()?.iter_mut().zip(numbers.iter()) {
                *to = number as f32;
            }
            tensor
        }
        (DType::I64, Values::I64(numbers)) => {
            let mut tensor = old.reuse::<i64>(shape)?;
            tensor.data_mut::<i64>()?.copy_from_slice(numbers);
            tensor
        }
        (dtype, Values::F32(values)) if dtype.is_float() => {
            Tensor::from_vec(shape, values.clone())?.cast(dtype, CastOptions::default())?
        }
        (_, Values::U8(bytes)) => {
            let bytes = Tensor::from_vec(shape, bytes.clone())?;
            exact(port, &column.field, &bytes)?
        }
        (_, Values::I64(numbers)) => {
            let numbers = Tensor::from_vec(shape, numbers.clone())?;
            exact(port, &column.field, &numbers)?
        }
        (_, values) => return Err(wrong(values.kind())),
    };
    Ok(())
}

/// Whole numbers in the type of an input, which must hold them.
fn exact(port: &Port, field: &Field, numbers: &Tensor) -> Result<Tensor, TrainError> {
    let converted = numbers.cast(port.dtype, CastOptions::default())?;
    if port.dtype.is_integer() {
        let (given, held) = (numbers.to_i64_vec()?, converted.to_i64_vec()?);
        if let Some(at) = given.iter().zip(&held).position(|(g, h)| g != h) {
            return Err(TrainError::Range {
                field: field.name.clone(),
                sample: at / field.count().max(1),
                found: given[at],
                expected: port.dtype,
            });
        }
    }
    Ok(converted)
}
