//! Attention scores, before the softmax.

use super::counted;
use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use crate::softmax::{self, Distribution};
use ndarray::{Array4, ArrayRef2, ArrayRef4};
use num_traits::Float;

const STUDENT: &str = "the student's attention scores";
const TEACHER: &str = "the teacher's attention scores";

/// `1/n · Σ_x 1/(A |x|) Σ_a Σ_t KL(softmax(S_T) ‖ softmax(S_S))` of attention scores, row by row.
///
/// Wang et al. 2020, "MiniLM: deep self-attention distillation" (arXiv:2002.10957), sec. 3.1, for networks that give scores and not
/// queries and keys; `A` heads, `|x|` queries that count; mean over the batch. The gradient is by the student's scores. Scores
/// that are minus infinity for both are keys that are masked; of attention weights `p`, `log p` are scores.
///
/// # Shapes
/// `student`, `teacher`: one shape `[n, A, queries, keys]`; `mask` `[n, l]`, where queries and keys are the same `l` tokens. Scores that
/// count are finite or minus infinity for both.
///
/// # Errors
/// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::MaskedForOne`], [`KdError::Overflow`].
pub fn attention_divergence<F: Float>(
    student: &ArrayRef4<F>,
    teacher: &ArrayRef4<F>,
    mask: Option<&ArrayRef2<bool>>,
) -> Result<(f64, Array4<F>), KdError> {
    let scores = Scores::of(student, teacher, mask)?;
    let (n, heads, ..) = student.dim();
    let (mut q, mut p) = (Distribution::default(), Distribution::default());
    scores.sum(|queries, row, gradient| {
        let scale = 1.0 / (n * heads * queries) as f64;
        q.fill_from(row.student.iter().copied());
        p.fill_from(row.teacher.iter().copied());
        scale * softmax::forward_kl(&q, &p, scale, gradient)
    })
}

/// `1/h · Σ_i MSE(A_S,i, A_T,i)` of attention scores `A` before the softmax.
///
/// Jiao et al. 2020, "TinyBERT: distilling BERT for natural language understanding" (arXiv:1909.10351), sec. 3.1: mean over all
/// scores that count, of all heads and samples. The gradient is by the student's scores. Scores that are minus infinity for both
/// count for nothing.
///
/// Shapes and errors as for [`attention_divergence`].
///
/// # Errors
/// Those of [`attention_divergence`].
pub fn attention_regression<F: Float>(
    student: &ArrayRef4<F>,
    teacher: &ArrayRef4<F>,
    mask: Option<&ArrayRef2<bool>>,
) -> Result<(f64, Array4<F>), KdError> {
    let scores = Scores::of(student, teacher, mask)?;
    let mut count = 0usize;
    scores.for_each(|_, row| count += row.keys.len())?;
    scores.sum(|_, row, gradient| {
        let mut value = 0.0;
        for ((s, t), g) in row.student.iter().zip(&row.teacher).zip(gradient) {
            value += (s - t) * (s - t) / count as f64;
            *g = 2.0 * (s - t) / count as f64;
        }
        value
    })
}

struct Scores<'a, F> {
    student: &'a ArrayRef4<F>,
    teacher: &'a ArrayRef4<F>,
    queries: Vec<Vec<usize>>,
    keys: Vec<Vec<usize>>,
}

/// What one query gives to the keys that count.
#[derive(Default)]
struct Row {
    keys: Vec<usize>,
    student: Vec<f64>,
    teacher: Vec<f64>,
}

impl<'a, F: Float> Scores<'a, F> {
    fn of(
        student: &'a ArrayRef4<F>,
        teacher: &'a ArrayRef4<F>,
        mask: Option<&ArrayRef2<bool>>,
    ) -> Result<Self, KdError> {
        check::filled(STUDENT, student)?;
        check::shape(TEACHER, teacher.shape(), STUDENT, student.shape())?;
        let (n, _, queries, keys) = student.dim();
        Ok(Self {
            student,
            teacher,
            queries: counted(mask, (n, queries), STUDENT)?,
            keys: counted(mask, (n, keys), STUDENT)?,
        })
    }

    /// Calls with each `[sample, head, query]` that counts and its row.
    fn for_each(&self, mut visit: impl FnMut([usize; 3], &Row)) -> Result<(), KdError> {
        let (n, heads, ..) = self.student.dim();
        let mut row = Row::default();
        for sample in 0..n {
            for head in 0..heads {
                for &query in &self.queries[sample] {
                    let at = [sample, head, query];
                    self.read(at, &mut row)?;
                    visit(at, &row);
                }
            }
        }
        Ok(())
    }

    fn read(&self, [sample, head, query]: [usize; 3], row: &mut Row) -> Result<(), KdError> {
        let (_, heads, queries, keys) = self.student.dim();
        let start = ((sample * heads + head) * queries + query) * keys;
        row.keys.clear();
        row.student.clear();
        row.teacher.clear();
        for &key in &self.keys[sample] {
            let at = [sample, head, query, key];
            let (s, t) = (wide(self.student[at]), wide(self.teacher[at]));
            if counts(s, t, start + key)? {
                row.keys.push(key);
                row.student.push(s);
                row.teacher.push(t);
            }
        }
        Ok(())
    }

    /// The sum over all rows; `term` gets the number of queries of the sample, the row, and zeros for its gradient.
    fn sum(
        &self,
        mut term: impl FnMut(usize, &Row, &mut [f64]) -> f64,
    ) -> Result<(f64, Array4<F>), KdError> {
        let mut gradient = Array4::zeros(self.student.raw_dim());
        let mut by_row = Vec::new();
        let mut value = 0.0;
        self.for_each(|[sample, head, query], row| {
            by_row.clear();
            by_row.resize(row.keys.len(), 0.0);
            value += term(self.queries[sample].len(), row, &mut by_row);
            for (&key, &g) in row.keys.iter().zip(&by_row) {
                gradient[[sample, head, query, key]] = narrow(g);
            }
        })?;
        Ok((check::value(value)?, check::gradient(gradient)?))
    }
}

/// Whether a pair of scores counts: both finite, or both masked.
fn counts(student: f64, teacher: f64, index: usize) -> Result<bool, KdError> {
    const MASKED: f64 = f64::NEG_INFINITY;
    for (what, value) in [(STUDENT, student), (TEACHER, teacher)] {
        if !value.is_finite() && value != MASKED {
            return Err(KdError::NotFinite { what, index, value });
        }
    }
    match (student == MASKED, teacher == MASKED) {
        (false, false) => Ok(true),
        (true, true) => Ok(false),
        (true, false) => Err(KdError::MaskedForOne {
            index,
            masked: "student",
        }),
        (false, true) => Err(KdError::MaskedForOne {
            index,
            masked: "teacher",
        }),
    }
}
