//! Relations between the queries, keys or values of a layer: MiniLM and MiniLMv2.

use super::counted;
use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use crate::rows;
use crate::softmax::{self, Distribution};
use ndarray::{Array2, Array3, ArrayRef2, ArrayRef3};
use num_traits::Float;

/// `1/n · Σ_x 1/(A |x|) Σ_a Σ_t KL(R_T ‖ R_S)` of relations `R = softmax(X_a Y_a' / √d)`, row by row, in `A` heads.
///
/// Wang et al. 2020, "MiniLM: deep self-attention distillation" (arXiv:2002.10957), sec. 3: the attention distributions are the
/// relation of queries with keys ([`Relations::attention`]), the value relation is that of values with values
/// ([`Relations::within`]), for the last layers of both. Wang et al. 2021, "MiniLMv2: multi-head self-attention relation
/// distillation" (arXiv:2012.15828), sec. 3: queries with queries, keys with keys and values with values, cut into `A` relation heads
/// that need not be the heads of either network, for one layer of each. `|x|` counts the tokens of a sample; mean over the
/// batch. `d` is the length of a head's vectors, which may differ between student and teacher.
///
/// Costs O(n·l²·d), and holds O(l² + l·d) numbers at a time.
///
/// # Examples
/// ```
/// use compress_kd::transformer::Relations;
/// use ndarray::Array3;
/// let student = Array3::from_shape_fn((2, 4, 6), |(n, t, d)| ((n + 2 * t + 3 * d) % 5) as f32);
/// let teacher = Array3::from_shape_fn((2, 4, 12), |(n, t, d)| ((n * t + d) % 7) as f32);
/// let (value, gradient) = Relations::new(3).within(&student, &teacher, None)?;
/// assert!(value > 0.0);
/// assert_eq!(gradient.shape(), student.shape());
/// # Ok::<(), compress_kd::KdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relations {
    /// `A`: at least 1; divides the features of a token.
    pub heads: usize,
}

/// The gradients of [`Relations::attention`], `[n, l, d_S]` each.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionGradients<F> {
    /// By the student's queries.
    pub query: Array3<F>,
    /// By the student's keys.
    pub key: Array3<F>,
}

impl Relations {
    /// In so many heads.
    pub fn new(heads: usize) -> Self {
        Self { heads }
    }

    /// The relation of queries with keys; the gradients are by the student's queries and by its keys.
    ///
    /// # Shapes
    /// `student`: queries and keys, both `[n, l, d_S]`; `teacher`: both `[n, l, d_T]`; the heads of a token stand one behind the
    /// other. `mask` `[n, l]`. All finite.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::Heads`], [`KdError::Setting`] for no heads,
    /// [`KdError::Overflow`].
    pub fn attention<F: Float>(
        &self,
        student: (&ArrayRef3<F>, &ArrayRef3<F>),
        teacher: (&ArrayRef3<F>, &ArrayRef3<F>),
        mask: Option<&ArrayRef2<bool>>,
    ) -> Result<(f64, AttentionGradients<F>), KdError> {
        const STUDENT: [&str; 2] = ["the student's queries", "the student's keys"];
        const TEACHER: [&str; 2] = ["the teacher's queries", "the teacher's keys"];
        check::alike((STUDENT[0], student.0), (STUDENT[1], student.1))?;
        check::alike((TEACHER[0], teacher.0), (TEACHER[1], teacher.1))?;
        let relation = Relation::of((STUDENT[0], student.0), (TEACHER[0], teacher.0), self.heads)?;
        let mut by_query = Array3::zeros(student.0.raw_dim());
        let mut by_key = Array3::zeros(student.1.raw_dim());
        let value = relation.sum(student, teacher, mask, |place, query, key| {
            place.add(&mut by_query, query);
            place.add(&mut by_key, key);
        })?;
        let gradients = AttentionGradients {
            query: check::gradient(by_query)?,
            key: check::gradient(by_key)?,
        };
        Ok((check::value(value)?, gradients))
    }

    /// The relation of queries with queries, keys with keys or values with values.
    ///
    /// # Shapes
    /// `student` `[n, l, d_S]`, `teacher` `[n, l, d_T]`, the heads of a token one behind the other; `mask` `[n, l]`. All finite.
    ///
    /// # Errors
    /// Those of [`Relations::attention`].
    pub fn within<F: Float>(
        &self,
        student: &ArrayRef3<F>,
        teacher: &ArrayRef3<F>,
        mask: Option<&ArrayRef2<bool>>,
    ) -> Result<(f64, Array3<F>), KdError> {
        const STUDENT: &str = "the student's vectors";
        const TEACHER: &str = "the teacher's vectors";
        check::readable(STUDENT, student)?;
        check::readable(TEACHER, teacher)?;
        let relation = Relation::of((STUDENT, student), (TEACHER, teacher), self.heads)?;
        let mut gradient = Array3::zeros(student.raw_dim());
        let both = ((student, student), (teacher, teacher));
        let value = relation.sum(both.0, both.1, mask, |place, left, right| {
            place.add(&mut gradient, &(left + right));
        })?;
        Ok((check::value(value)?, check::gradient(gradient)?))
    }
}

/// Heads that fit one another.
struct Relation {
    heads: usize,
    reference: &'static str,
    dim: (usize, usize),
}

/// One head of one sample.
struct Place<'a> {
    sample: usize,
    head: usize,
    tokens: &'a [usize],
}

impl Relation {
    fn of<F: Float>(
        student: (&'static str, &ArrayRef3<F>),
        teacher: (&'static str, &ArrayRef3<F>),
        heads: usize,
    ) -> Result<Self, KdError> {
        let setting = "the number of heads";
        check::setting(setting, heads as f64, |h| h >= 1.0, "it must be at least 1")?;
        for (what, array) in [student, teacher] {
            let features = array.dim().2;
            if !features.is_multiple_of(heads) {
                return Err(KdError::Heads {
                    what,
                    features,
                    heads,
                });
            }
        }
        let (n, l, _) = student.1.dim();
        let expected = [n, l, teacher.1.dim().2];
        check::shape(teacher.0, teacher.1.shape(), student.0, &expected)?;
        Ok(Self {
            heads,
            reference: student.0,
            dim: (n, l),
        })
    }

    /// The sum over all heads of all samples; `add` gets the gradients of each by both sides of the relation.
    fn sum<F: Float>(
        &self,
        student: (&ArrayRef3<F>, &ArrayRef3<F>),
        teacher: (&ArrayRef3<F>, &ArrayRef3<F>),
        mask: Option<&ArrayRef2<bool>>,
        mut add: impl FnMut(&Place<'_>, &Array2<f64>, &Array2<f64>),
    ) -> Result<f64, KdError> {
        let counted = counted(mask, self.dim, self.reference)?;
        let mut value = 0.0;
        for (sample, tokens) in counted.iter().enumerate() {
            let scale = 1.0 / (self.dim.0 * self.heads * tokens.len().max(1)) as f64;
            for head in 0..self.heads {
                let place = Place {
                    sample,
                    head,
                    tokens,
                };
                let of = |x| place.vectors(x, self.heads);
                let ours = (of(student.0), of(student.1));
                let theirs = (of(teacher.0), of(teacher.1));
                let (term, left, right) = divergence(&ours, &theirs, scale);
                value += term;
                add(&place, &left, &right);
            }
        }
        Ok(value)
    }
}

impl Place<'_> {
    /// The vectors `[tokens, d]` of the tokens that count.
    fn vectors<F: Float>(&self, x: &ArrayRef3<F>, heads: usize) -> Array2<f64> {
        let d = x.dim().2 / heads;
        let start = self.head * d;
        let at = |(t, k)| wide(x[[self.sample, self.tokens[t], start + k]]);
        Array2::from_shape_fn((self.tokens.len(), d), at)
    }

    /// Puts a gradient of these vectors where it belongs.
    fn add<F: Float>(&self, gradient: &mut Array3<F>, by_vectors: &Array2<f64>) {
        let d = by_vectors.ncols();
        for (&token, row) in self.tokens.iter().zip(by_vectors.rows()) {
            for (k, &g) in row.iter().enumerate() {
                gradient[[self.sample, token, self.head * d + k]] = narrow(g);
            }
        }
    }
}

/// `scale · Σ_t KL(R_T ‖ R_S)` and its gradients by both sides of the student's relation.
fn divergence(
    student: &(Array2<f64>, Array2<f64>),
    teacher: &(Array2<f64>, Array2<f64>),
    scale: f64,
) -> (f64, Array2<f64>, Array2<f64>) {
    let scores = student.0.dot(&student.1.t());
    let targets = teacher.0.dot(&teacher.1.t());
    let mut by_score = Array2::zeros(scores.raw_dim());
    let (mut q, mut p) = (Distribution::default(), Distribution::default());
    let mut value = 0.0;
    let rows = scores.rows().into_iter().zip(targets.rows());
    for ((s, t), g) in rows.zip(rows::slices_mut(&mut by_score)) {
        q.fill(s, (student.0.ncols() as f64).sqrt());
        p.fill(t, (teacher.0.ncols() as f64).sqrt());
        value += scale * softmax::forward_kl(&q, &p, scale, g);
    }
    by_score /= (student.0.ncols() as f64).sqrt();
    let left = by_score.dot(&student.1);
    let right = by_score.t().dot(&student.0);
    (value, left, right)
}
