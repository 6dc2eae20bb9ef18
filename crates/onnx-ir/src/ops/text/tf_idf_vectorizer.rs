//! `TfIdfVectorizer`: counts the n-grams of a pool in each row, with up to `max_skip_count` items
//! skipped between the items of an n-gram; the counts may be weighted.
//! <https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html>

use crate::operator::prelude::*;
use std::collections::HashMap;

/// What stands for an n-gram in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// How often it occurs.
    Tf,
    /// Its weight, where it occurs.
    Idf,
    /// How often it occurs, times its weight.
    TfIdf,
}

/// An item of an n-gram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// For integer inputs.
    Int(i64),
    /// For string inputs.
    Text(String),
}

/// The attributes of `TfIdfVectorizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct TfIdfVectorizer {
    /// What stands for an n-gram in the output.
    pub weighting: Weighting,
    /// Lengths of the n-grams that count.
    pub lengths: std::ops::RangeInclusive<usize>,
    /// The greatest number of items skipped between two items.
    pub max_skip: usize,
    /// N-gram to its position in the output and its weight.
    pub pool: HashMap<Vec<Item>, (usize, f32)>,
    /// Length of an output row.
    pub width: usize,
}

const RULE: &str = "the input must be [c] or [n, c] of integers or strings";

impl Operator for TfIdfVectorizer {
    const SIGNATURE: Signature = Signature::onnx("TfIdfVectorizer", &[9]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string("mode")?;
        let weighting = match mode.as_str() {
            "TF" => Weighting::Tf,
            "IDF" => Weighting::Idf,
            "TFIDF" => Weighting::TfIdf,
            _ => return Err(invalid("mode", mode, "it must be TF, IDF or TFIDF")),
        };
        let least = attrs.size_or("min_gram_length", 1)?;
        let greatest = attrs.size_or("max_gram_length", 1)?;
        let max_skip = attrs.size_or("max_skip_count", 0)?;
        let items: Vec<Item> = match (
            attrs.ints_opt("pool_int64s")?,
            attrs.strings_opt("pool_strings")?,
        ) {
            (Some(ints), None) => ints.into_iter().map(Item::Int).collect(),
            (None, Some(strings)) => strings.into_iter().map(Item::Text).collect(),
            (None, None) => {
                return Err(AttrError::Missing {
                    name: "pool_strings",
                });
            }
            (Some(_), Some(_)) => {
                let found = "both pools".to_owned();
                return Err(invalid(
                    "pool_strings",
                    found,
                    "one of the two pools must be given",
                ));
            }
        };
        let starts = attrs.ints("ngram_counts")?;
        let indexes = attrs.ints("ngram_indexes")?;
        let weights = attrs.floats_opt("weights")?;
        let places: Option<Vec<usize>> = indexes
            .iter()
            .map(|&i| usize::try_from(i).ok().filter(|&i| i < MAX_WIDTH))
            .collect();
        let places = places.ok_or_else(|| {
            invalid(
                "ngram_indexes",
                format!("{indexes:?}"),
                "indexes must be positions in a row",
            )
        })?;
        let grams = grams(&items, &starts)
            .filter(|g| g.len() == places.len())
            .ok_or_else(|| {
                invalid(
                    "ngram_counts",
                    format!("{starts:?}"),
                    "the pool must hold n-grams by these starts",
                )
            })?;
        if weights.as_ref().is_some_and(|w| w.len() != places.len()) {
            let found = "another number of weights".to_owned();
            return Err(invalid(
                "weights",
                found,
                "there must be one for each n-gram",
            ));
        }
        let width = places.iter().max().map_or(0, |&m| m + 1);
        let weight = |i: usize| {
            weights
                .as_ref()
                .and_then(|w| w.get(i).copied())
                .unwrap_or(1.0)
        };
        let entries = grams.into_iter().zip(places).enumerate();
        let pool = entries
            .map(|(i, (gram, place))| (gram, (place, weight(i))))
            .collect();
        Ok(Self {
            weighting,
            lengths: least..=greatest,
            max_skip,
            pool,
            width,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let width = Dim::from(self.width);
        let shape = match x.shape.as_deref() {
            None => None,
            Some([_]) => Some(vec![width]),
            Some([n, _]) => Some(vec![n.clone(), width]),
            Some(_) => return Err(InferError::rule(RULE, &x)),
        };
        Ok(vec![TensorFact::with_shape(Some(DType::F32), shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let items: Vec<Item> = match x.strings() {
            Ok(strings) => strings.iter().cloned().map(Item::Text).collect(),
            Err(_) => cx
                .ints(0)?
                .unwrap_or_default()
                .into_iter()
                .map(Item::Int)
                .collect(),
        };
        let (shape, rows, columns) = match *x.shape() {
            [c] => (vec![self.width], 1, c),
            [n, c] => (vec![n, self.width], n, c),
            _ => return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape()))),
        };
        let mut out = vec![0f32; cx.check_size(&shape, DType::F32)?];
        for row in 0..rows {
            let counts = &mut out[row * self.width..(row + 1) * self.width];
            self.count(&items[row * columns..(row + 1) * columns], counts);
        }
        Ok(vec![Tensor::from_vec(&shape, out)?.into()])
    }
}

impl TfIdfVectorizer {
    fn count(&self, row: &[Item], out: &mut [f32]) {
        let mut weights = vec![0f32; out.len()];
        // No n-gram of the pool is longer than its longest, so neither need be those looked up.
        let longest = self.pool.keys().map(Vec::len).max().unwrap_or(0);
        for length in (*self.lengths.start()).max(1)..=longest.min(*self.lengths.end()) {
            // Single items have nothing to skip between them.
            let skips = if length == 1 {
                0
            } else {
                self.max_skip.min(row.len())
            };
            for step in 1..=skips + 1 {
                let span = (length - 1).saturating_mul(step);
                for first in 0..row.len().saturating_sub(span) {
                    let gram: Vec<Item> =
                        (0..length).map(|i| row[first + i * step].clone()).collect();
                    if let Some(&(place, weight)) = self.pool.get(&gram) {
                        out[place] += 1.0;
                        weights[place] = weight;
                    }
                }
            }
        }
        for (count, weight) in out.iter_mut().zip(weights) {
            *count = match self.weighting {
                Weighting::Tf => *count,
                Weighting::Idf => count.min(1.0) * weight,
                Weighting::TfIdf => *count * weight,
            };
        }
    }
}

/// Output positions beyond which an index in a file is not believed.
const MAX_WIDTH: usize = 1 << 28;

/// The n-grams of a pool: those of length `n` from `starts[n - 1]` on.
fn grams(items: &[Item], starts: &[i64]) -> Option<Vec<Vec<Item>>> {
    let starts: Option<Vec<usize>> = starts.iter().map(|&s| usize::try_from(s).ok()).collect();
    let starts = starts?;
    let mut grams = Vec::new();
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(items.len());
        let part = items.get(start..end)?;
        if part.len() % (i + 1) != 0 {
            return None;
        }
        grams.extend(part.chunks_exact(i + 1).map(<[Item]>::to_vec));
    }
    Some(grams)
}

fn invalid(name: &'static str, found: String, rule: &'static str) -> AttrError {
    AttrError::Invalid { name, found, rule }
}
