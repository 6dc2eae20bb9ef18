//! What teachers say of the samples: once and kept, or for each batch.

use super::config::{KdConfig, TeacherRuns};
use super::error::DistillError;
use super::names;
use super::store::{Beside, Store};
use compress_train::augment::{Augmentation, Draws, Transform};
use compress_train::data::{Batch, BatchPlan, Column, DataError, Dataset, Field, read_batch};
use compress_train::loss::Scores;
use compress_train::trainer::Predict;
use onnx_ir::{Model, ValueId};
use runtime_session::SessionOptions;
use serde::Serialize;
use std::sync::Arc;

/// When the teachers ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TeacherReport {
    /// How many there are.
    pub teachers: usize,
    /// `once, in memory`, `once, in a folder`, `for each batch`, or `never`.
    pub runs: &'static str,
    /// Why, where that was left open.
    pub reason: Option<&'static str>,
    /// The bytes that were kept.
    pub bytes: u64,
}

/// A teacher and its tensors that somebody looks at.
struct Teacher {
    model: Model,
    /// What errors call it.
    name: String,
    /// Tensors and the columns that they become.
    wanted: Vec<(String, String)>,
}

/// All teachers of a student.
pub(super) struct Teachers {
    teachers: Vec<Teacher>,
    session: SessionOptions,
}

/// What a teacher says of a batch, and its name in errors.
struct Says {
    predict: Predict,
    name: String,
    columns: Vec<String>,
}

impl Transform for Says {
    fn apply(&self, batch: &mut Batch, draws: &Draws) -> Result<(), DataError> {
        let failed = |error| match error {
            DataError::Sample { index, source } => DataError::Sample {
                index,
                source: format!("{}: {source}", self.name).into(),
            },
            other => other,
        };
        self.predict.apply(batch, draws).map_err(failed)?;
        for name in &self.columns {
            let column = batch.column(name)?;
            let values = column.f32()?;
            // Minus infinity is what masked scores are.
            let is_wrong = |v: &f32| v.is_nan() || *v == f32::INFINITY;
            let Some(at) = values.iter().position(is_wrong) else {
                continue;
            };
            let sample = at / column.field.count().max(1);
            let (tensor, found) = (names::tensor_of(name), values[at]);
            let source = match self.not_finite(batch, sample) {
                Some((field, found)) => {
                    format!("field `{field}` holds {found}: samples must be of finite numbers")
                }
                None => format!("{}: its `{tensor}` holds {found}", self.name),
            };
            return Err(DataError::Sample {
                index: batch.indices.get(sample).copied().unwrap_or(sample),
                source: source.into(),
            });
        }
        Ok(())
    }
}

impl Says {
    /// The first number of what a sample itself has that is not finite, and its field: then the teacher is not to blame.
    fn not_finite<'b>(&self, batch: &'b Batch, sample: usize) -> Option<(&'b str, f32)> {
        let own = batch
            .columns
            .iter()
            .filter(|c| !self.columns.contains(&c.field.name));
        own.filter_map(|column| {
            let size = column.field.count().max(1);
            let values = column.f32().ok()?.get(sample * size..)?;
            let found = values.iter().take(size).find(|v| !v.is_finite())?;
            Some((column.field.name.as_str(), *found))
        })
        .next()
    }
}

/// Changes that another pipeline makes too.
#[derive(Clone)]
pub(super) struct Steps(pub(super) Arc<Augmentation>);

impl Transform for Steps {
    fn apply(&self, batch: &mut Batch, _: &Draws) -> Result<(), DataError> {
        self.0.apply(batch)
    }
}

/// A copy of a field that feeds the model, for the loss to look at too.
pub(super) struct Copied {
    pub(super) field: String,
    pub(super) column: String,
}

impl Transform for Copied {
    fn apply(&self, batch: &mut Batch, _: &Draws) -> Result<(), DataError> {
        let Column { mut field, values } = batch.column(&self.field)?.clone();
        field.name.clone_from(&self.column);
        batch.columns.retain(|c| c.field.name != field.name);
        batch.columns.push(Column { field, values });
        Ok(())
    }
}

/// The samples of one side, with what the teachers say beside them.
pub(super) struct Taught {
    pub(super) data: Arc<dyn Dataset>,
    /// Whether the teachers' columns are in the data.
    pub(super) is_stored: bool,
}

impl Teachers {
    /// Teachers that read what the student reads, of which these columns are wanted.
    pub(super) fn new(
        models: &[Model],
        student: &Model,
        columns: &[String],
        fields: &[Field],
        config: &KdConfig,
        session: &SessionOptions,
    ) -> Result<Self, DistillError> {
        let mut teachers = Vec::with_capacity(models.len());
        for (number, model) in models.iter().enumerate() {
            let own = names::teacher_column(number, "");
            let mut wanted: Vec<(String, String)> = Vec::new();
            for column in columns {
                let tensor = column.strip_prefix(&own).map(str::to_owned);
                if let Some(tensor) = tensor.filter(|t| !wanted.iter().any(|(w, _)| w == t)) {
                    wanted.push((tensor, column.clone()));
                }
            }
            if !wanted.is_empty() {
                let name = config.teacher_name(number, models.len());
                let model = reading_as(model, &name, student, fields)?;
                teachers.push(Teacher {
                    model,
                    name,
                    wanted,
                });
            }
        }
        Ok(Self {
            teachers,
            session: session.clone(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.teachers.is_empty()
    }

    /// Steps that add what the teachers say of a batch.
    pub(super) fn add_to(&self, mut all: Augmentation) -> Result<Augmentation, DistillError> {
        for teacher in &self.teachers {
            let wanted = teacher.wanted.iter();
            let wanted: Vec<(&str, &str)> = wanted.map(|(t, c)| (t.as_str(), c.as_str())).collect();
            let predict = Predict::new(&teacher.model, &wanted, Scores::AsGiven, &self.session)?;
            all = all.with(Says {
                predict,
                name: teacher.name.clone(),
                columns: teacher.wanted.iter().map(|(_, c)| c.clone()).collect(),
            });
        }
        Ok(all)
    }

    /// Decides when they run, and runs them where that is once. `sides` are the samples to train on and those held out.
    pub(super) fn teach(
        &self,
        sides: Vec<Arc<dyn Dataset>>,
        steps: &Arc<Augmentation>,
        is_augmented: bool,
        runs: &TeacherRuns,
        batch: usize,
    ) -> Result<(Vec<Taught>, TeacherReport), DistillError> {
        let mut report = TeacherReport {
            teachers: self.teachers.len(),
            ..TeacherReport::default()
        };
        let (store, most) = match runs {
            _ if self.is_empty() => {
                report.runs = "never";
                return Ok((plain(sides), report));
            }
            TeacherRuns::OnTheFly {} => {
                report.runs = "for each batch";
                return Ok((plain(sides), report));
            }
            TeacherRuns::Auto { .. } if is_augmented => {
                (report.runs, report.reason) =
                    ("for each batch", Some("augmentation changes the samples"));
                return Ok((plain(sides), report));
            }
            _ if is_augmented => return Err(DistillError::Augmented),
            TeacherRuns::Auto { bytes } | TeacherRuns::Memory { bytes } => (Store::Memory, *bytes),
            TeacherRuns::Folder { path } => (Store::Folder(path.clone()), u64::MAX),
        };
        let prepared = Augmentation::new(0).with(Steps(Arc::clone(steps)));
        let pipeline = self.add_to(prepared)?;
        let needed = self.bytes(&sides, &pipeline, batch)?;
        if needed > most {
            if matches!(runs, TeacherRuns::Auto { .. }) {
                (report.runs, report.reason) = (
                    "for each batch",
                    Some("what it says takes more bytes than are allowed"),
                );
                return Ok((plain(sides), report));
            }
            return Err(DistillError::TooLarge { needed, most });
        }
        report.bytes = needed;
        (report.runs, report.reason) = match (&store, runs) {
            (Store::Folder(_), _) => ("once, in a folder", None),
            (_, TeacherRuns::Auto { .. }) => {
                ("once, in memory", Some("nothing changes the samples"))
            }
            _ => ("once, in memory", None),
        };
        let mut taught = Vec::with_capacity(sides.len());
        for (number, data) in sides.into_iter().enumerate() {
            let said = self.run(&*data, &pipeline, batch, &store, number)?;
            taught.push(Taught {
                data: Arc::new(Beside::new(data, said)),
                is_stored: true,
            });
        }
        Ok((taught, report))
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        self.teachers
            .iter()
            .flat_map(|t| t.wanted.iter().map(|(_, column)| column.as_str()))
    }

    /// The bytes that all columns of all samples take.
    fn bytes(
        &self,
        sides: &[Arc<dyn Dataset>],
        pipeline: &Augmentation,
        size: usize,
    ) -> Result<u64, DistillError> {
        let mut needed = 0u64;
        for data in sides.iter().filter(|data| !data.is_empty()) {
            let mut batch = Batch::default();
            read(&**data, 0, size, pipeline, &mut batch)?;
            for name in self.columns() {
                let count = batch.column(name)?.field.count() as u64;
                let bytes = count.saturating_mul(4).saturating_mul(data.len() as u64);
                needed = needed.saturating_add(bytes);
            }
        }
        Ok(needed)
    }

    /// What the teachers say of all samples, batch by batch in their order.
    fn run(
        &self,
        data: &dyn Dataset,
        pipeline: &Augmentation,
        size: usize,
        store: &Store,
        side: usize,
    ) -> Result<compress_train::data::ArrayDataset, DistillError> {
        let names: Vec<&str> = self.columns().collect();
        let mut writer = store.writer(&names, data.len(), side)?;
        let mut batch = Batch::default();
        for start in (0..data.len()).step_by(size) {
            read(data, start, size, pipeline, &mut batch)?;
            for (place, name) in names.iter().enumerate() {
                writer.add(place, batch.column(name)?)?;
            }
        }
        writer.finish()
    }
}

fn plain(sides: Vec<Arc<dyn Dataset>>) -> Vec<Taught> {
    let plain = |data| Taught {
        data,
        is_stored: false,
    };
    sides.into_iter().map(plain).collect()
}

fn read(
    data: &dyn Dataset,
    start: usize,
    size: usize,
    pipeline: &Augmentation,
    batch: &mut Batch,
) -> Result<(), DistillError> {
    let end = data.len().min(start + size);
    let plan = BatchPlan {
        start,
        is_last: end == data.len(),
        indices: (start..end).collect(),
        ..BatchPlan::default()
    };
    read_batch(data, &plan, batch)?;
    let done = pipeline.apply(batch);
    Ok(done.map_err(|error| error.in_rows_of(data))?)
}

/// A teacher all of whose inputs samples feed; its only one may be called otherwise than the student's.
fn reading_as(
    teacher: &Model,
    name: &str,
    student: &Model,
    fields: &[Field],
) -> Result<Model, DistillError> {
    let inputs = |model: &Model| -> Vec<String> {
        let required = model.graph.required_inputs();
        required
            .map(|id| model.graph.name_of(id).to_owned())
            .collect()
    };
    let (theirs, ours) = (inputs(teacher), inputs(student));
    let is_unfed = |input: &&String| !fields.iter().any(|field| field.name == **input);
    let Some(unfed) = theirs.iter().find(is_unfed) else {
        return Ok(teacher.clone());
    };
    let ([sole], [own]) = (theirs.as_slice(), ours.as_slice()) else {
        return Err(DistillError::UnfedInput {
            teacher: name.to_owned(),
            input: unfed.clone(),
            fields: fields.iter().map(|field| field.name.clone()).collect(),
        });
    };
    let mut renamed = teacher.clone();
    let graph = &mut renamed.graph;
    let old = graph.value_named(sole)?;
    let new = graph.add_value(own, graph.value(old).fact.clone())?;
    let replace = |id: &ValueId| if *id == old { new } else { *id };
    let (inputs, outputs): (Vec<ValueId>, Vec<ValueId>) = (
        graph.inputs().iter().map(replace).collect(),
        graph.outputs().iter().map(replace).collect(),
    );
    graph.replace_uses(old, new);
    graph.set_inputs(inputs);
    graph.set_outputs(outputs);
    Ok(renamed)
}
