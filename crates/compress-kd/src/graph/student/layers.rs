//! Shallower students: repeated blocks of the teacher are left out.

use super::error::StudentError;
use super::stream::{Segment, stream};
use super::{inferred, validate};
use onnx_ir::{Catalog, Graph, Model, ValueId};
use serde::{Deserialize, Serialize};

/// Blocks of the same operators and weight shapes, one behind the other: the layers of a transformer, the blocks of a stage of a
/// residual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BlockRow {
    /// The blocks, from the input to the output.
    pub blocks: Vec<Block>,
    /// Elements of the weights of all blocks.
    pub parameters: usize,
}

/// One block of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Block {
    /// The value that it changes.
    pub input: String,
    /// The value that it makes of it, of the same shape.
    pub output: String,
    /// Its nodes.
    pub nodes: Vec<String>,
}

/// Which blocks of a row stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum KeepBlocks {
    /// So many, evenly spaced: the first, the last, and what lies between (block `round(i (L-1)/(k-1))` of `L`); the last one where
    /// it is one alone.
    Evenly(usize),
    /// Those of these numbers, from 0, rising.
    These(Vec<usize>),
}

impl KeepBlocks {
    /// The numbers of the blocks that stay of `blocks`.
    ///
    /// # Errors
    /// [`StudentError::TooMany`]; [`StudentError::Keep`] for none, or numbers that are not there or do not rise.
    pub fn of(&self, blocks: usize) -> Result<Vec<usize>, StudentError> {
        let kept = match self {
            Self::Evenly(1) => vec![blocks.saturating_sub(1)],
            Self::Evenly(count) if *count <= blocks => (0..*count)
                .map(|i| {
                    let (ends, steps) = (blocks - 1, count - 1);
                    (2 * i * ends + steps) / (2 * steps)
                })
                .collect(),
            Self::Evenly(count) => {
                return Err(StudentError::TooMany {
                    count: *count,
                    blocks,
                });
            }
            Self::These(kept) => kept.clone(),
        };
        let rule = if kept.is_empty() {
            "one at least must stay"
        } else if kept.windows(2).any(|pair| pair[0] >= pair[1]) {
            "their numbers must rise"
        } else if kept.last().is_some_and(|&last| last >= blocks) {
            "there are not as many"
        } else {
            return Ok(kept);
        };
        Err(StudentError::Keep { kept, blocks, rule })
    }
}

/// The rows of blocks of a model, those with most weights first.
///
/// A block is what lies between two values that all paths go through (the stream of residual sums, normalisations and
/// activations), a row the longest run of equal ones. Where a run begins with a part of a block, as the normalisation behind the
/// embeddings of BERT, that part is not counted: rows end where the run ends.
///
/// # Errors
/// [`StudentError::Graph`] for a graph with a cycle.
///
/// # Examples
/// ```
/// use compress_kd::graph::student::find_blocks;
/// # use onnx_ir::{Fact, Graph, Model, Node};
/// # use compress_tensor::{DType, Tensor};
/// # let mut graph = Graph::new("tower");
/// # let mut at = graph.add_value("x", Fact::tensor(DType::F32, [1usize, 2]))?;
/// # graph.add_input(at);
/// # for layer in 0..3 {
/// #     let w = graph.add_initializer(&format!("w{layer}"), Tensor::full(&[2, 2], 0.5f32)?)?;
/// #     let h = graph.add_value(format!("h{layer}"), Fact::Unknown)?;
/// #     let y = graph.add_value(format!("y{layer}"), Fact::Unknown)?;
/// #     graph.add_node(Node::new("MatMul", [at, w], [h]))?;
/// #     graph.add_node(Node::new("Relu", [h], [y]))?;
/// #     at = y;
/// # }
/// # graph.add_output(at);
/// # let model = Model::new(graph, 17);
/// let rows = find_blocks(&model)?;
/// assert_eq!((rows.len(), rows[0].blocks.len()), (1, 3));
/// assert_eq!((&*rows[0].blocks[1].input, &*rows[0].blocks[1].output), ("y0", "y1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn find_blocks(model: &Model) -> Result<Vec<BlockRow>, StudentError> {
    let model = inferred(model)?;
    let graph = &model.graph;
    let found = Rows::of(graph)?;
    let describe = |row: &Row| {
        let blocks = (0..row.count).map(|number| {
            let (first, end) = row.segments_of(number);
            let nodes = found.stream[first..end].iter().flat_map(|s| &s.nodes);
            Block {
                input: graph.name_of(found.stream[first - 1].value).to_owned(),
                output: graph.name_of(found.stream[end - 1].value).to_owned(),
                nodes: nodes.map(|&id| graph.label(id).to_owned()).collect(),
            }
        });
        BlockRow {
            blocks: blocks.collect(),
            parameters: row.parameters,
        }
    };
    Ok(found.rows.iter().map(describe).collect())
}

/// A model with fewer blocks: those that stay keep their weights and names.
///
/// The row is the `row`-th of [`find_blocks`]. As in DistilBERT (Sanh et al. 2019, arXiv:1910.01108, sec. 3), every so many-th layer of
/// the teacher begins the student. What only the left-out blocks computed goes with them.
///
/// # Errors
/// [`StudentError::NoBlocks`], [`StudentError::NoSuchRow`], [`StudentError::Keep`]; [`StudentError::Invalid`] if what is left breaks a rule.
pub fn drop_layers(model: &Model, row: usize, keep: &KeepBlocks) -> Result<Model, StudentError> {
    let known = inferred(model)?;
    let found = Rows::of(&known.graph)?;
    let Some(longest) = found.rows.first() else {
        return Err(StudentError::NoBlocks);
    };
    let Some(chosen) = found.rows.get(row) else {
        return Err(StudentError::NoSuchRow {
            row,
            rows: found.rows.len(),
            blocks: longest.count,
        });
    };
    let kept = keep.of(chosen.count)?;
    let mut student = model.clone();
    let graph = &mut student.graph;
    // Ids are those of `known`, of which nothing but facts differs.
    let mut at = found.stream[chosen.start - 1].value;
    let last = found.stream[chosen.end() - 1].value;
    for number in 0..chosen.count {
        let (_, end) = chosen.segments_of(number);
        let value = found.stream[end - 1].value;
        if kept.contains(&number) {
            at = value;
        } else if value != last {
            graph.replace_uses(value, at);
        }
    }
    if at != last {
        write_as(graph, at, last)?;
    }
    remove_unused(&mut student)?;
    validate(student)
}

/// Lets the node that writes `from` write `to`, whose name others know.
fn write_as(graph: &mut Graph, from: ValueId, to: ValueId) -> Result<(), StudentError> {
    if let Some(old) = graph.producer(to) {
        graph.remove_node(old);
    }
    graph.replace_uses(from, to);
    let Some(id) = graph.producer(from) else {
        // The row begins with an input of the model.
        graph.add_node(onnx_ir::Node::new("Identity", [from], [to]))?;
        return Ok(());
    };
    let mut node = graph.node(id).clone();
    let outputs = node.outputs().iter();
    let outputs = outputs.map(|&o| if o == Some(from) { Some(to) } else { o });
    node = node.clone().with_outputs(outputs.collect());
    graph.replace_node(id, node)?;
    Ok(())
}

/// Takes away what nothing that is left depends on.
pub(super) fn remove_unused(model: &mut Model) -> Result<(), StudentError> {
    use onnx_ir::passes::{Pass, PassContext, RemoveUnused};
    let context = PassContext {
        catalog: Catalog::standard(),
    };
    RemoveUnused
        .run(model, &context)
        .map_err(|failed| failed.error)?;
    Ok(())
}

/// Equal blocks within the stream.
struct Row {
    /// The first segment of the first block.
    start: usize,
    /// The segments of a block.
    period: usize,
    count: usize,
    parameters: usize,
}

impl Row {
    fn end(&self) -> usize {
        self.start + self.period * self.count
    }

    fn segments_of(&self, number: usize) -> (usize, usize) {
        let first = self.start + number * self.period;
        (first, first + self.period)
    }

    fn overlaps(&self, other: &Row) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Segments of a block beyond which none is looked for.
const LONGEST_BLOCK: usize = 256;

struct Rows {
    stream: Vec<Segment>,
    rows: Vec<Row>,
}

impl Rows {
    fn of(graph: &Graph) -> Result<Self, StudentError> {
        let stream = stream(graph, &graph.topological_order()?);
        let mut found = Vec::new();
        for period in 1..=LONGEST_BLOCK.min(stream.len() / 2) {
            candidates(&stream, period, &mut found);
        }
        // Most weights, then the shortest period: the largest number of blocks.
        found.sort_by_key(|row: &Row| (usize::MAX - row.parameters, row.period, row.start));
        let mut rows: Vec<Row> = Vec::new();
        for row in found {
            if row.parameters > 0 && !rows.iter().any(|other| other.overlaps(&row)) {
                rows.push(row);
            }
        }
        Ok(Self { stream, rows })
    }
}

/// The runs of equal blocks of so many segments.
fn candidates(stream: &[Segment], period: usize, found: &mut Vec<Row>) {
    // The first segment depends on nothing before it.
    let mut first = 1;
    while first + 2 * period <= stream.len() {
        let alike = |at: &usize| stream[*at].signature == stream[at + period].signature;
        let run = (first..stream.len() - period).take_while(alike).count();
        if run >= period {
            let count = (run + period) / period;
            let start = first + run + period - count * period;
            let parameters = stream[start..start + count * period].iter();
            found.push(Row {
                start,
                period,
                count,
                parameters: parameters.map(|s| s.parameters).sum(),
            });
        }
        first += run + 1;
    }
}
