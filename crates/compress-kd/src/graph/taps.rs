//! The student as it is trained: with the projections of its features appended, under private names, which are trained along and left
//! behind.

use super::config::{KdTerm, LossTerm, Tap};
use super::error::DistillError;
use super::names;
use super::term::{Pair, channel_axis};
use compress_tensor::Tensor;
use compress_train::random::{Purpose, Random};
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Catalog, Dim, Model, Node, ValueId};
use serde::Serialize;

/// A learned layer from the student's channels to the teacher's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectionReport {
    /// The student's tensor.
    pub student: String,
    /// The teacher's.
    pub teacher: String,
    /// Channels of the student's.
    pub from: usize,
    /// Channels of the teacher's.
    pub to: usize,
}

/// The student with what is trained along.
pub(super) struct Tapped {
    pub(super) model: Model,
    /// For each term its pairs.
    pub(super) pairs: Vec<Vec<Pair>>,
    /// What a loss looks at: the student's first output, then the others.
    pub(super) observed: Vec<String>,
    pub(super) projections: Vec<ProjectionReport>,
    /// The names of the weights of projections.
    pub(super) weights: Vec<String>,
}

/// A model whose shapes are known, and what to call it.
pub(super) struct Known {
    model: Model,
    what: &'static str,
}

impl Known {
    pub(super) fn new(model: &Model, what: &'static str) -> Result<Self, DistillError> {
        let mut model = model.clone();
        infer_shapes(&mut model, Catalog::standard())?;
        Ok(Self { model, what })
    }

    /// The name of the first output.
    fn first_output(&self) -> Result<String, DistillError> {
        let graph = &self.model.graph;
        let first = graph.outputs().first();
        first
            .map(|&id| graph.name_of(id).to_owned())
            .ok_or_else(|| self.missing(""))
    }

    fn missing(&self, name: &str) -> DistillError {
        let graph = &self.model.graph;
        let outputs = graph.outputs().iter();
        DistillError::NoSuchTensor {
            model: self.what,
            name: name.to_owned(),
            outputs: outputs.map(|&id| graph.name_of(id).to_owned()).collect(),
        }
    }

    fn check(&self, name: &str) -> Result<(), DistillError> {
        let found = self.model.graph.value_by_name(name);
        found.map(|_| ()).ok_or_else(|| self.missing(name))
    }

    fn dims(&self, name: &str) -> Option<&[Dim]> {
        self.model.fact(name)?.as_tensor()?.shape.as_deref()
    }

    /// The size of an axis, counted from the last where it is behind the places.
    fn channels(&self, name: &str) -> Option<(usize, usize)> {
        let dims = self.dims(name)?;
        let axis = channel_axis(dims.len()).index();
        Some((dims.len(), dims.get(axis)?.as_size()?))
    }
}

/// Finds the tensors of all terms, and appends projections where channels differ.
pub(super) fn tap(
    student: &Model,
    teachers: &[Model],
    terms: &[LossTerm],
    seed: u64,
) -> Result<Tapped, DistillError> {
    let known = Known::new(student, "student")?;
    let known_teachers: Vec<Known> = teachers
        .iter()
        .map(|model| Known::new(model, "teacher"))
        .collect::<Result<_, _>>()?;
    let mut tapped = Tapped {
        model: student.clone(),
        pairs: Vec::with_capacity(terms.len()),
        observed: vec![known.first_output()?],
        projections: Vec::new(),
        weights: Vec::new(),
    };
    for term in terms {
        let pairs = pairs_of(term, &known, &known_teachers)?;
        let mut found = Vec::with_capacity(pairs.len());
        for (tap, columns) in pairs {
            known.check(&tap.student)?;
            let student = match known_teachers.get(term.teacher) {
                Some(teacher) if term.loss.projects() => {
                    tapped.project(&tap, term.loss.name(), &known, teacher, seed)?
                }
                _ => tap.student,
            };
            if !tapped.observed.contains(&student) {
                tapped.observed.push(student.clone());
            }
            found.push(Pair {
                student,
                teachers: columns,
            });
        }
        tapped.pairs.push(found);
    }
    Ok(tapped)
}

/// The tensors of a term, and the columns of the teachers' ones.
fn pairs_of(
    term: &LossTerm,
    student: &Known,
    teachers: &[Known],
) -> Result<Vec<(Tap, Vec<String>)>, DistillError> {
    let loss = term.loss.name();
    let taps = |rule| DistillError::Taps {
        loss,
        found: term.taps.len(),
        rule,
    };
    if let KdTerm::Exits { outputs, .. } = &term.loss {
        if !term.taps.is_empty() {
            return Err(taps("and looks at its outputs alone"));
        }
        let exit = |name: &String| {
            let tap = Tap {
                student: name.clone(),
                teacher: String::new(),
            };
            (tap, Vec::new())
        };
        return Ok(outputs.iter().map(exit).collect());
    }
    if !term.loss.has_teacher() {
        if !term.taps.is_empty() {
            return Err(taps("and looks at no teacher"));
        }
        let tap = Tap {
            student: student.first_output()?,
            teacher: String::new(),
        };
        return Ok(vec![(tap, Vec::new())]);
    }
    let Some(sole) = teachers.get(term.teacher) else {
        return Err(DistillError::NoTeacher {
            loss,
            teacher: term.teacher,
            teachers: teachers.len(),
        });
    };
    if matches!(term.loss, KdTerm::QueryKey { .. })
        && (term.taps.is_empty() || term.taps.len() % 2 == 1)
    {
        return Err(taps(
            "it takes pairs of two: those of queries, then those of keys",
        ));
    }
    let of_outputs = if term.taps.is_empty() {
        vec![Tap {
            student: student.first_output()?,
            teacher: sole.first_output()?,
        }]
    } else {
        term.taps.clone()
    };
    let mut pairs = Vec::with_capacity(of_outputs.len());
    for tap in of_outputs {
        let mut columns = Vec::new();
        if term.loss.is_on_logits() {
            for (number, teacher) in teachers.iter().enumerate() {
                // Teachers may call their outputs by other names.
                let name = if term.taps.is_empty() {
                    teacher.first_output()?
                } else {
                    tap.teacher.clone()
                };
                teacher.check(&name)?;
                columns.push(names::teacher_column(number, &name));
            }
        } else {
            sole.check(&tap.teacher)?;
            columns.push(names::teacher_column(term.teacher, &tap.teacher));
        }
        pairs.push((tap, columns));
    }
    Ok(pairs)
}

impl Tapped {
    /// The name of the student's tensor with as many channels as the teacher's: its own, or that of its projection.
    fn project(
        &mut self,
        tap: &Tap,
        loss: &'static str,
        student: &Known,
        teacher: &Known,
        seed: u64,
    ) -> Result<String, DistillError> {
        let open = |model, name: &str| DistillError::OpenChannels {
            model,
            name: name.to_owned(),
            loss,
        };
        let own = student.channels(&tap.student);
        let (rank, from) = own.ok_or_else(|| open("student", &tap.student))?;
        let other = teacher.channels(&tap.teacher);
        let (_, to) = other.ok_or_else(|| open("teacher", &tap.teacher))?;
        if from == to {
            return Ok(tap.student.clone());
        }
        let number = self.projections.len();
        let graph = &mut self.model.graph;
        let x = graph.value_named(&tap.student)?;
        let mut random = Random::new(seed, Purpose::Custom(PROJECTIONS), 0, number as u64);
        let bound = 1.0 / (from.max(1) as f64).sqrt();
        let draw = |_| random.between(-bound, bound) as f32;
        let values: Vec<f32> = (0..from * to).map(draw).collect();
        let bias = Tensor::vector(vec![0f32; to]);
        let bias = graph.add_initializer(&names::projection(number, "bias"), bias)?;
        let weight = names::projection(number, "weight");
        let y = graph.fresh_value(&names::projection(number, "output"), onnx_ir::Fact::Unknown)?;
        let weight = if rank > 3 {
            let mut shape = vec![to, from];
            shape.resize(rank, 1);
            let weight = graph.add_initializer(&weight, Tensor::from_vec(&shape, values)?)?;
            graph.add_node(Node::new("Conv", [x, weight, bias], [y]))?;
            weight
        } else {
            let weight = graph.add_initializer(&weight, Tensor::from_vec(&[from, to], values)?)?;
            let base = names::projection(number, "product");
            let product = graph.fresh_value(&base, onnx_ir::Fact::Unknown)?;
            graph.add_node(Node::new("MatMul", [x, weight], [product]))?;
            graph.add_node(Node::new("Add", [product, bias], [y]))?;
            weight
        };
        let name = |id: ValueId| self.model.graph.name_of(id).to_owned();
        self.weights.extend([name(weight), name(bias)]);
        self.projections.push(ProjectionReport {
            student: tap.student.clone(),
            teacher: tap.teacher.clone(),
            from,
            to,
        });
        Ok(name(y))
    }
}

/// What the weights of projections are drawn for.
const PROJECTIONS: u32 = 0x6b64;
