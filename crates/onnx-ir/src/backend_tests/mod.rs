//! The ONNX backend tests: folders that hold `model.onnx` and `test_data_set_0`, `test_data_set_1` … with
//! inputs and the expected outputs as protobuf files.

pub mod compare;
mod report;

pub use report::{OperatorCount, Report, operator_under_test};

use crate::eval::Evaluator;
use crate::infer::infer_shapes;
use crate::io::{LoadError, read_value};
use crate::{Catalog, Fact, Model, Value};
use compare::Difference;
use compress_tensor::{DType, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What runs the models of the tests.
pub trait Runtime {
    /// The outputs of a model, in the order of its graph, for inputs by name.
    ///
    /// # Errors
    /// The reason as text.
    fn run(&self, model: &Model, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, String>;
}

/// The reference evaluator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Runtime for Reference {
    fn run(&self, model: &Model, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, String> {
        Evaluator::new(model)
            .and_then(|evaluator| evaluator.run(inputs))
            .map_err(|e| e.to_string())
    }
}

/// One test: a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The folder's name, as in `test_abs`.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

/// Why a test failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The model cannot be loaded.
    #[error("model: {0}")]
    Load(#[source] Box<LoadError>),
    /// An input or an expected output cannot be read.
    #[error("{file}: {source}")]
    Data {
        /// The file.
        file: String,
        /// The reason.
        source: Box<LoadError>,
    },
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The runtime gave an error.
    #[error("{0}")]
    Run(String),
    /// The runtime panicked.
    #[error("panic: {0}")]
    Panic(String),
    /// An output differs.
    #[error("output {output}: {difference}")]
    Output {
        /// The output's position.
        output: usize,
        /// What differs.
        difference: Difference,
    },
    /// There are fewer outputs than expected.
    #[error("{found} outputs, {expected} expected")]
    OutputCount {
        /// The expected number.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// There is nothing to hold the outputs against.
    #[error("{folder}: no expected output (test_data_set_0/output_0.pb)")]
    NothingExpected {
        /// The folder.
        folder: PathBuf,
    },
    /// Shape inference contradicts the result or the declared types.
    #[error("inference: {0}")]
    Inference(String),
}

/// The tests below `root`, by name.
///
/// # Errors
/// Those of reading the folder.
pub fn discover(root: &Path) -> std::io::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let folder = entry.path();
        if folder.join("model.onnx").is_file() {
            cases.push(Case {
                name: entry.file_name().to_string_lossy().into_owned(),
                folder,
            });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    /// The model.
    ///
    /// # Errors
    /// [`Failure::Load`].
    pub fn model(&self) -> Result<Model, Failure> {
        Model::load(self.folder.join("model.onnx")).map_err(|e| Failure::Load(Box::new(e)))
    }

    /// Runs the model on the inputs of each data set and holds the outputs against the expected ones.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(&self, model: &Model, runtime: &dyn Runtime) -> Result<(), Failure> {
        for data in self.data_sets()? {
            self.run_on(&data, model, runtime)?;
        }
        Ok(())
    }

    fn run_on(&self, data: &Path, model: &Model, runtime: &dyn Runtime) -> Result<(), Failure> {
        let expected = values(data, model, "output", model.graph.outputs())?;
        if expected.is_empty() {
            let folder = data.to_owned();
            return Err(Failure::NothingExpected { folder });
        }
        let found = outputs(data, model, runtime)?;
        if found.len() < expected.len() {
            return Err(Failure::OutputCount {
                expected: expected.len(),
                found: found.len(),
            });
        }
        for (output, (found, expected)) in found.iter().zip(&expected).enumerate() {
            compare::values(found, expected)
                .map_err(|difference| Failure::Output { output, difference })?;
        }
        Ok(())
    }

    /// Infers the model's facts and holds those of its outputs against the reference results.
    ///
    /// # Errors
    /// [`Failure::Inference`] for broken rules and contradictions, and those of [`Case::run`].
    pub fn check_inference(&self, model: &Model) -> Result<(), Failure> {
        let mut inferred = model.clone();
        crate::functions::inline_functions(&mut inferred)
            .map_err(|e| Failure::Inference(e.to_string()))?;
        for &output in &inferred.graph.outputs().to_vec() {
            // What the file declares must not hide what inference finds.
            inferred.graph.value_mut(output).fact = Fact::Unknown;
        }
        let report = infer_shapes(&mut inferred, Catalog::standard())
            .map_err(|e| Failure::Inference(e.to_string()))?;
        if let Some(issue) = report.first_error() {
            return Err(Failure::Inference(issue.to_string()));
        }
        for data in self.data_sets()? {
            let results = outputs(&data, model, &Reference)?;
            for (&output, result) in inferred.graph.outputs().iter().zip(&results) {
                let info = inferred.graph.value(output);
                if !admits(&info.fact, result) {
                    let found = describe(result);
                    return Err(Failure::Inference(format!(
                        "`{}` is inferred as {}, the result is {found}",
                        info.name, info.fact
                    )));
                }
            }
        }
        Ok(())
    }

    /// The folders `test_data_set_0`, `test_data_set_1` …; at least the first.
    fn data_sets(&self) -> Result<Vec<PathBuf>, Failure> {
        let sets = (0..).map(|i| self.folder.join(format!("test_data_set_{i}")));
        let found: Vec<_> = sets.take_while(|folder| folder.is_dir()).collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(Failure::NothingExpected {
                folder: self.folder.clone(),
            }),
        }
    }
}

/// What the model gives for the inputs of a data set.
fn outputs(data: &Path, model: &Model, runtime: &dyn Runtime) -> Result<Vec<Value>, Failure> {
    let names = model.graph.inputs().iter();
    let names = names.map(|&id| model.graph.name_of(id).to_owned());
    let inputs = values(data, model, "input", model.graph.inputs())?;
    let inputs = names.zip(inputs).collect();
    match catch_unwind(AssertUnwindSafe(|| runtime.run(model, inputs))) {
        Ok(result) => result.map_err(Failure::Run),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            Err(Failure::Panic(text.unwrap_or_default()))
        }
    }
}

/// The values of `input_0.pb`, `input_1.pb` … or of the outputs, as far as there are files.
fn values(
    data: &Path,
    model: &Model,
    kind: &str,
    declared: &[crate::ValueId],
) -> Result<Vec<Value>, Failure> {
    let mut values = Vec::new();
    for (i, &id) in declared.iter().enumerate() {
        let file = format!("{kind}_{i}.pb");
        let path = data.join(&file);
        if !path.is_file() {
            break;
        }
        let bytes = std::fs::read(&path).map_err(|source| Failure::File { path, source })?;
        let declared = &model.graph.value(id).fact;
        let value = read_value(bytes.into(), declared).map_err(|source| Failure::Data {
            file,
            source: Box::new(source),
        })?;
        values.push(as_bfloat16(value, declared));
    }
    Ok(values)
}

/// Old tests store what is declared as bfloat16 as its bits, in the type uint16.
fn as_bfloat16(value: Value, declared: &Fact) -> Value {
    let declared = declared.as_tensor().and_then(|fact| fact.dtype);
    match &value {
        Value::Tensor(x) if x.dtype() == DType::U16 && declared == Some(DType::BF16) => {
            Tensor::from_bytes(DType::BF16, x.shape(), x.to_bytes())
                .map_or(value.clone(), Value::from)
        }
        _ => value,
    }
}

/// Whether a value may have this fact.
fn admits(fact: &Fact, value: &Value) -> bool {
    match (fact, value) {
        (Fact::Unknown, _) => true,
        (Fact::Tensor(fact), Value::Tensor(tensor)) => {
            let dims = fact.shape.as_deref();
            fact.dtype.is_none_or(|dtype| dtype == tensor.dtype())
                && dims.is_none_or(|dims| {
                    dims.len() == tensor.rank()
                        && dims
                            .iter()
                            .zip(tensor.shape())
                            .all(|(dim, &size)| dim.as_known().is_none_or(|n| n == size as i64))
                })
        }
        (Fact::Sequence(inner), Value::Sequence(values)) => values.iter().all(|v| admits(inner, v)),
        (Fact::Optional(inner), Value::Optional(value)) => {
            value.as_deref().is_none_or(|v| admits(inner, v))
        }
        _ => false,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) => format!("{}{:?}", tensor.dtype(), tensor.shape()),
        other => other.kind().to_owned(),
    }
}
