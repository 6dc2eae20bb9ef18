//! The student as it is trained: with the projections of its features appended, under private names, which are trained along and left
//! behind.

use super::checks::nearest;
use super::config::{KdConfig, LossTerm, Pooling, Tap};
use super::error::DistillError;
use super::kinds::KdTerm;
use super::names;
use super::store::Marked;
use super::term::{Pair, channel_axis};
use compress_tensor::{DType, Tensor};
use compress_train::data::Dataset;
use compress_train::loss::Scores;
use compress_train::random::{Purpose, Random};
use compress_train::trainer::{Trainer, ancestors, scored};
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Catalog, Dim, Fact, Model, Node, ValueId};
use serde::Serialize;
use std::sync::Arc;

/// A learned layer from the student's channels to the teacher's, or from those of one of them to an embedding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectionReport {
    /// The student's tensor; empty for the embedding of the teacher's.
    pub student: String,
    /// The teacher's; empty for the embedding of the student's.
    pub teacher: String,
    /// Channels of the tensor.
    pub from: usize,
    /// Channels of what it is made to.
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
    /// The inputs that teachers' tensors feed where they are embedded, and the columns that they come from.
    pub(super) inputs: Vec<(String, String)>,
}

/// A model whose shapes are known, and what to call it.
pub(super) struct Known {
    model: Model,
    what: String,
}

impl Known {
    pub(super) fn new(model: &Model, what: String) -> Result<Self, DistillError> {
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
            model: self.what.clone(),
            name: name.to_owned(),
            near: nearest(name, graph.values().map(|(id, _)| graph.name_of(id))),
            outputs: outputs.map(|&id| graph.name_of(id).to_owned()).collect(),
        }
    }

    /// The name of the scores of a tensor, before its softmax or sigmoid where it has one.
    fn scored(&self, name: &str, scores: Scores) -> Result<String, DistillError> {
        let graph = &self.model.graph;
        let id = graph.value_by_name(name);
        let id = id.ok_or_else(|| self.missing(name))?;
        Ok(graph.name_of(scored(graph, id, scores)).to_owned())
    }

    fn dims(&self, name: &str) -> Option<&[Dim]> {
        self.model.fact(name)?.as_tensor()?.shape.as_deref()
    }

    /// Axes and channels of what can be embedded: a vector or an image.
    fn embedded(&self, name: &str) -> Result<(usize, usize), DistillError> {
        let dims = self.dims(name);
        let sizes = dims.filter(|dims| dims.len() == 2 || dims.len() > 3);
        let channels = sizes.and_then(|dims| Some((dims.len(), dims.get(1)?.as_size()?)));
        channels.ok_or_else(|| DistillError::NoEmbedding {
            model: self.what.clone(),
            name: name.to_owned(),
            shape: dims.map_or("unknown".to_owned(), |dims| {
                let dims = dims.iter().map(ToString::to_string);
                format!("[{}]", dims.collect::<Vec<_>>().join(", "))
            }),
        })
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
    config: &KdConfig,
) -> Result<Tapped, DistillError> {
    let (terms, seed) = (&config.losses, config.trainer.seed);
    let known = Known::new(student, "the student".to_owned())?;
    let known_teachers = teachers.iter().enumerate();
    let known_teachers: Vec<Known> = known_teachers
        .map(|(number, model)| Known::new(model, config.teacher_name(number, teachers.len())))
        .collect::<Result<_, _>>()?;
    let mut tapped = Tapped {
        model: student.clone(),
        pairs: Vec::with_capacity(terms.len()),
        observed: vec![known.scored(&known.first_output()?, config.scores())?],
        projections: Vec::new(),
        weights: Vec::new(),
        inputs: Vec::new(),
    };
    for term in terms {
        let pairs = pairs_of(term, &known, &known_teachers, config.scores())?;
        let mut found = Vec::with_capacity(pairs.len());
        for (tap, columns) in pairs {
            if let (KdTerm::Crd { dimensions, .. }, Some(teacher)) =
                (&term.loss, known_teachers.get(term.teacher))
            {
                found.push(tapped.embed(&tap, columns, *dimensions, &known, teacher, seed)?);
                continue;
            }
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
    scores: Scores,
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
                student: student.scored(name, scores)?,
                teacher: String::new(),
            };
            Ok::<_, DistillError>((tap, Vec::new()))
        };
        return outputs.iter().map(exit).collect();
    }
    if !term.loss.has_teacher() {
        if !term.taps.is_empty() {
            return Err(taps("and looks at no teacher"));
        }
        let tap = Tap {
            student: student.scored(&student.first_output()?, scores)?,
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
    if matches!(term.loss, KdTerm::Crd { .. }) {
        if term.taps.is_empty() {
            return Err(taps("it needs the tensors to embed"));
        }
        if term.pool != Pooling::None {
            return Err(taps(
                "whose images it takes the means of itself: leave `pool` out",
            ));
        }
    }
    let of_outputs = if term.taps.is_empty() {
        vec![Tap {
            student: student.first_output()?,
            teacher: sole.first_output()?,
        }]
    } else {
        term.taps.clone()
    };
    // Features that are given are taken as they are.
    let scores = match term.loss.is_on_logits() || term.taps.is_empty() {
        true => scores,
        false => Scores::AsGiven,
    };
    let mut pairs = Vec::with_capacity(of_outputs.len());
    for mut tap in of_outputs {
        let mut columns = Vec::new();
        if term.loss.is_on_logits() {
            for (number, teacher) in teachers.iter().enumerate() {
                // Teachers may call their outputs by other names.
                let name = if term.taps.is_empty() {
                    teacher.first_output()?
                } else {
                    tap.teacher.clone()
                };
                let name = teacher.scored(&name, scores)?;
                columns.push(names::teacher_column(number, &name));
            }
        } else {
            tap.teacher = sole.scored(&tap.teacher, scores)?;
            columns.push(names::teacher_column(term.teacher, &tap.teacher));
        }
        tap.student = student.scored(&tap.student, scores)?;
        pairs.push((tap, columns));
    }
    Ok(pairs)
}

impl Tapped {
    /// The weights and running statistics that would change and that no term leads to, projections among them; terms of weight 0 lead
    /// nowhere.
    pub(super) fn unreached(&self, trainer: &Trainer, terms: &[LossTerm]) -> Vec<String> {
        let graph = &self.model.graph;
        let terms = terms.iter().zip(&self.pairs);
        let looked_at = terms.filter(|(term, _)| term.weight.0 > 0.0);
        let looked_at = looked_at.flat_map(|(_, pairs)| pairs);
        // Of embeddings both sides are outputs.
        let names = looked_at.flat_map(|pair| std::iter::once(&pair.student).chain(&pair.teachers));
        let looked_at: Vec<ValueId> = names.filter_map(|name| graph.value_by_name(name)).collect();
        let reached = ancestors(graph, &looked_at);
        let names = trainer.network().state().map(|(name, _)| name.to_owned());
        let is_reached = |name: &String| graph.value_by_name(name).map(|id| reached.contains(&id));
        names
            .filter(|name| is_reached(name) == Some(false))
            .collect()
    }

    /// The samples with what embeddings need beside them: room for the teachers' tensors, and places of those that are learned from.
    pub(super) fn marked(&self, data: Arc<dyn Dataset>, is_trained_on: bool) -> Arc<dyn Dataset> {
        if self.inputs.is_empty() {
            return data;
        }
        let later: Vec<String> = self.inputs.iter().map(|(input, _)| input.clone()).collect();
        Arc::new(Marked::new(data, &later, is_trained_on))
    }

    /// The name of the student's tensor with as many channels as the teacher's: its own, or that of its projection.
    fn project(
        &mut self,
        tap: &Tap,
        loss: &'static str,
        student: &Known,
        teacher: &Known,
        seed: u64,
    ) -> Result<String, DistillError> {
        let open = |known: &Known, name: &str| DistillError::OpenChannels {
            model: known.what.clone(),
            name: name.to_owned(),
            loss,
        };
        let own = student.channels(&tap.student);
        let (rank, from) = own.ok_or_else(|| open(student, &tap.student))?;
        let other = teacher.channels(&tap.teacher);
        let (_, to) = other.ok_or_else(|| open(teacher, &tap.teacher))?;
        if from == to {
            return Ok(tap.student.clone());
        }
        let x = self.model.graph.value_named(&tap.student)?;
        let y = self.linear(x, rank, (from, to), seed)?;
        self.projections.push(ProjectionReport {
            student: tap.student.clone(),
            teacher: tap.teacher.clone(),
            from,
            to,
        });
        Ok(self.model.graph.name_of(y).to_owned())
    }

    /// Embeds the tensors of student and teacher, each through a layer of its own; the teacher's comes in as an input.
    fn embed(
        &mut self,
        tap: &Tap,
        columns: Vec<String>,
        dimensions: usize,
        student: &Known,
        teacher: &Known,
        seed: u64,
    ) -> Result<Pair, DistillError> {
        let column = columns.into_iter().next().unwrap_or_default();
        let (rank, own) = student.embedded(&tap.student)?;
        let (their_rank, theirs) = teacher.embedded(&tap.teacher)?;
        let x = self.model.graph.value_named(&tap.student)?;
        let s = self.embedding(x, rank, (own, dimensions), seed)?;
        let shape = teacher.dims(&tap.teacher).unwrap_or_default().to_vec();
        let input = names::embedded_input(self.inputs.len());
        let graph = &mut self.model.graph;
        let mut shape: Vec<Dim> = shape.into_iter().skip(1).collect();
        shape.insert(0, Dim::symbol(&format!("{input}/batch")));
        let x = graph.add_value(input.as_str(), Fact::tensor(DType::F32, shape))?;
        graph.add_input(x);
        self.inputs.push((input, column));
        let t = self.embedding(x, their_rank, (theirs, dimensions), seed)?;
        self.projections.push(ProjectionReport {
            student: tap.student.clone(),
            teacher: String::new(),
            from: own,
            to: dimensions,
        });
        self.projections.push(ProjectionReport {
            student: String::new(),
            teacher: tap.teacher.clone(),
            from: theirs,
            to: dimensions,
        });
        let name = |id: ValueId| self.model.graph.name_of(id).to_owned();
        let (student, teacher) = (name(s), name(t));
        self.observed.extend([student.clone(), teacher.clone()]);
        Ok(Pair {
            student,
            teachers: vec![teacher],
        })
    }

    /// A linear layer behind the vectors of a tensor, which are the means of images over their places.
    fn embedding(
        &mut self,
        x: ValueId,
        rank: usize,
        extents: (usize, usize),
        seed: u64,
    ) -> Result<ValueId, DistillError> {
        let mut x = x;
        if rank > 2 {
            let number = self.weights.len();
            let graph = &mut self.model.graph;
            let mean = graph.fresh_value(&names::projection(number, "mean"), Fact::Unknown)?;
            let flat = graph.fresh_value(&names::projection(number, "flat"), Fact::Unknown)?;
            graph.add_node(Node::new("GlobalAveragePool", [x], [mean]))?;
            graph.add_node(Node::new("Flatten", [mean], [flat]))?;
            x = flat;
        }
        self.linear(x, 2, extents, seed)
    }

    /// A linear layer of channels behind a tensor of so many axes, drawn anew.
    fn linear(
        &mut self,
        x: ValueId,
        rank: usize,
        (from, to): (usize, usize),
        seed: u64,
    ) -> Result<ValueId, DistillError> {
        // Each has a weight and a bias.
        let number = self.weights.len() / 2;
        let graph = &mut self.model.graph;
        let mut random = Random::new(seed, Purpose::Custom(PROJECTIONS), 0, number as u64);
        let bound = 1.0 / (from.max(1) as f64).sqrt();
        let draw = |_| random.between(-bound, bound) as f32;
        let values: Vec<f32> = (0..from * to).map(draw).collect();
        let bias = Tensor::vector(vec![0f32; to]);
        let bias = graph.add_initializer(&names::projection(number, "bias"), bias)?;
        let weight = names::projection(number, "weight");
        let y = graph.fresh_value(&names::projection(number, "output"), Fact::Unknown)?;
        let weight = if rank > 3 {
            let mut shape = vec![to, from];
            shape.resize(rank, 1);
            let weight = graph.add_initializer(&weight, Tensor::from_vec(&shape, values)?)?;
            graph.add_node(Node::new("Conv", [x, weight, bias], [y]))?;
            weight
        } else {
            let weight = graph.add_initializer(&weight, Tensor::from_vec(&[from, to], values)?)?;
            let base = names::projection(number, "product");
            let product = graph.fresh_value(&base, Fact::Unknown)?;
            graph.add_node(Node::new("MatMul", [x, weight], [product]))?;
            graph.add_node(Node::new("Add", [product, bias], [y]))?;
            weight
        };
        let name = |id: ValueId| self.model.graph.name_of(id).to_owned();
        self.weights.extend([name(weight), name(bias)]);
        Ok(y)
    }
}

/// What the weights of projections are drawn for.
const PROJECTIONS: u32 = 0x6b64;
