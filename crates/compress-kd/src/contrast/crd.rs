//! The contrastive loss of CRD.

use super::{MemoryBank, Negatives};
use crate::KdError;
use crate::check;
use crate::element::{shaped_like, wide};
use crate::rows;
use crate::softmax::{log_sum_exp, sigmoid, softplus};
use ndarray::{Array2, ArrayRef1, ArrayRef2};
use num_traits::Float;

const STUDENT: &str = "the student's embeddings";
const TEACHER: &str = "the teacher's embeddings";

/// Settings of [`Crd`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrdConfig {
    /// `N`: negatives per sample, at least 1.
    pub negatives: usize,
    /// `τ`: positive.
    pub temperature: f64,
    /// `m`: how much of a memory stays in each step; 0 to 1.
    pub momentum: f64,
}

impl Default for CrdConfig {
    /// The authors' settings for CIFAR-100: `N = 16384`, `τ = 0.07`, `m = 0.5`.
    fn default() -> Self {
        Self {
            negatives: 16384,
            temperature: 0.07,
            momentum: 0.5,
        }
    }
}

impl CrdConfig {
    /// With so many negatives per sample.
    #[must_use]
    pub fn with_negatives(mut self, negatives: usize) -> Self {
        self.negatives = negatives;
        self
    }

    /// With this temperature `τ`.
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// With this momentum of the memories.
    #[must_use]
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`KdError::Setting`].
    pub fn validate(&self) -> Result<(), KdError> {
        let negatives = self.negatives as f64;
        let rule = "it must be at least 1";
        check::setting("the number of negatives", negatives, |n| n >= 1.0, rule)?;
        check::temperature(self.temperature)?;
        check::share("the momentum", self.momentum)
    }
}

/// Contrastive representation distillation.
///
/// Tian, Krishnan, Isola 2020, "Contrastive representation distillation" (arXiv:1910.10699), sec. 3: the embeddings of one sample
/// by both networks are told from those of two samples by a critic `h`. For the student as anchor, with the teacher's memory
/// `v_T`:
///
/// ```text
/// l_S = -log h(s, v_T[i]) - Σ_(j negative) log(1 - h(s, v_T[j]))
/// h(s, v) = x / (x + N/M),   x = exp(s'v / τ) / Z
/// ```
///
/// where `s` has length 1, `M` counts the samples of the data set and `N` the negatives. `l_T` is the same with the teacher as
/// anchor and the student's memory. The loss is `1/n · Σ (l_S + l_T)`, mean over the batch. `Z` is `M` times the mean of
/// `exp(s'v/τ)` over the first batch and a constant from then on, as in the authors' code, one for each anchor; their `1e-7` in the
/// denominator of `h` is not here, where logarithms are computed as such.
///
/// Both networks reach their embeddings through heads that are trained: put a [`Projection`](crate::features::Projection) behind
/// each and pass on the gradients, for the teacher to its head alone.
///
/// A step costs O(n·N·d).
///
/// # Examples
/// ```
/// use compress_kd::contrast::{Crd, CrdConfig, Negatives};
/// use ndarray::{arr1, arr2};
/// let labels = arr1(&[0, 1, 0, 1, 2]); // of the whole data set
/// let negatives = Negatives::of_other_classes(&labels, 1)?;
/// let mut crd = Crd::new(negatives, 2, 1, CrdConfig::default().with_negatives(3))?;
/// let student = arr2(&[[0.3f32, -0.4], [1.0, 0.2]]);
/// let teacher = arr2(&[[0.1f32, -0.9], [0.8, 0.8]]);
/// let (value, gradients) = crd.step(&student, &teacher, &arr1(&[4, 1]))?; // samples 4 and 1
/// assert!(value > 0.0);
/// assert_eq!(gradients.student.shape(), [2, 2]);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Crd<F> {
    config: CrdConfig,
    negatives: Negatives,
    student: MemoryBank<F>,
    teacher: MemoryBank<F>,
    /// `log Z` for the student and for the teacher as anchor.
    log_z: Option<[f64; 2]>,
    steps: u64,
}

/// The gradients of [`Crd`], `[n, d]` each.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrdGradients<F> {
    /// By the student's embeddings.
    pub student: Array2<F>,
    /// By the teacher's embeddings, for its head.
    pub teacher: Array2<F>,
}

impl<F: Float> Crd<F> {
    /// With random memories of `dimensions` numbers per sample, the same for the same seed.
    ///
    /// # Errors
    /// Those of [`CrdConfig::validate`]; [`KdError::Empty`] if there are no dimensions.
    pub fn new(
        negatives: Negatives,
        dimensions: usize,
        seed: u64,
        config: CrdConfig,
    ) -> Result<Self, KdError> {
        let samples = negatives.samples();
        let student = MemoryBank::random(samples, dimensions, seed)?;
        let teacher = MemoryBank::random(samples, dimensions, seed.wrapping_add(1))?;
        Self::resume(negatives, [student, teacher], None, 0, config)
    }

    /// As [`Crd::memories`], [`Crd::log_partition`] and [`Crd::steps`] said before: what a checkpoint holds.
    ///
    /// # Errors
    /// Those of [`CrdConfig::validate`]; [`KdError::Shape`] for memories that do not fit the samples or one another.
    pub fn resume(
        negatives: Negatives,
        [student, teacher]: [MemoryBank<F>; 2],
        log_partition: Option<[f64; 2]>,
        steps: u64,
        config: CrdConfig,
    ) -> Result<Self, KdError> {
        config.validate()?;
        let found = student.embeddings().shape();
        let expected = [negatives.samples(), found[1]];
        check::shape("the student's memory", found, "the samples", &expected)?;
        let other = teacher.embeddings().shape();
        check::shape("the teacher's memory", other, "the student's memory", found)?;
        for log_z in log_partition.into_iter().flatten() {
            let rule = "it must be finite";
            check::setting("the partition constant", log_z, f64::is_finite, rule)?;
        }
        Ok(Self {
            config,
            negatives,
            student,
            teacher,
            log_z: log_partition,
            steps,
        })
    }

    /// The memories of student and teacher.
    pub fn memories(&self) -> [&MemoryBank<F>; 2] {
        [&self.student, &self.teacher]
    }

    /// `log Z` for the student and for the teacher as anchor, once it is known.
    pub fn log_partition(&self) -> Option<[f64; 2]> {
        self.log_z
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One step of training: draws negatives, fits `Z` in the first step, computes value and gradients, moves the memories.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, d]`, finite, of any length (they are normalized here); `samples` `[n]`: which samples of the data
    /// set they are.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NoSuchSample`], [`KdError::Overflow`]; the
    /// memories are then as before.
    pub fn step(
        &mut self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        samples: &ArrayRef1<usize>,
    ) -> Result<(f64, CrdGradients<F>), KdError> {
        let contrast = self.draw(samples)?;
        if self.log_z.is_none() {
            self.fit_partition(student, teacher, &contrast)?;
        }
        let result = self.loss(student, teacher, &contrast)?;
        self.update(student, teacher, samples)?;
        Ok(result)
    }

    /// Each sample and its negatives for the next step: `[n, 1 + N]`.
    ///
    /// # Errors
    /// [`KdError::NoSuchSample`].
    pub fn draw(&self, samples: &ArrayRef1<usize>) -> Result<Array2<usize>, KdError> {
        self.negatives
            .draw(samples, self.config.negatives, self.steps)
    }

    /// Takes `Z` from a batch and what it is contrasted with.
    ///
    /// # Errors
    /// Those of [`Crd::loss`].
    pub fn fit_partition(
        &mut self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        contrast: &ArrayRef2<usize>,
    ) -> Result<(), KdError> {
        let batch = self.batch(student, teacher, contrast)?;
        let log_z = |side: &Side| {
            let scores = self.scores(side, contrast);
            let mean = log_sum_exp(&scores) - (scores.len() as f64).ln();
            mean + (self.negatives.samples() as f64).ln()
        };
        self.log_z = Some([log_z(&batch[0]), log_z(&batch[1])]);
        Ok(())
    }

    /// Value and gradients against this contrast, as [`Crd::draw`] gives it; the memories stay.
    ///
    /// # Shapes
    /// `student`, `teacher` `[n, d]`, finite; `contrast` `[n, 1 + N]`: the sample itself, then its negatives.
    ///
    /// # Errors
    /// [`KdError::NoPartition`], [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NoSuchSample`],
    /// [`KdError::Overflow`].
    pub fn loss(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        contrast: &ArrayRef2<usize>,
    ) -> Result<(f64, CrdGradients<F>), KdError> {
        let log_z = self.log_z.ok_or(KdError::NoPartition)?;
        let negatives = contrast.ncols().saturating_sub(1) as f64;
        let what = "the number of negatives";
        check::setting(what, negatives, |n| n >= 1.0, "it must be at least 1")?;
        let [ours, theirs] = self.batch(student, teacher, contrast)?;
        let (of_student, by_student) = self.anchored(&ours, contrast, log_z[0]);
        let (of_teacher, by_teacher) = self.anchored(&theirs, contrast, log_z[1]);
        let gradients = CrdGradients {
            student: check::gradient(shaped_like(student, &by_student))?,
            teacher: check::gradient(shaped_like(teacher, &by_teacher))?,
        };
        Ok((check::value(of_student + of_teacher)?, gradients))
    }

    /// Moves the memories of these samples towards their embeddings, and counts a step.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NoSuchSample`].
    pub fn update(
        &mut self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        samples: &ArrayRef1<usize>,
    ) -> Result<(), KdError> {
        check::shape("the indices", samples.shape(), STUDENT, &[student.nrows()])?;
        // Nothing but the samples: checks that they are there.
        let samples_alone = self.negatives.draw(samples, 0, 0)?;
        let [ours, theirs] = self.batch(student, teacher, &samples_alone)?;
        let momentum = self.config.momentum;
        self.student.follow(samples, &ours.unit, momentum);
        self.teacher.follow(samples, &theirs.unit, momentum);
        self.steps += 1;
        Ok(())
    }

    fn batch(
        &self,
        student: &ArrayRef2<F>,
        teacher: &ArrayRef2<F>,
        contrast: &ArrayRef2<usize>,
    ) -> Result<[Side; 2], KdError> {
        check::alike((STUDENT, student), (TEACHER, teacher))?;
        let (n, d) = student.dim();
        let memory = self.student.embeddings().ncols();
        check::shape(STUDENT, &[n, d], "the memory", &[n, memory])?;
        check::filled("the contrast", contrast)?;
        let expected = [n, contrast.ncols()];
        check::shape("the contrast", contrast.shape(), STUDENT, &expected)?;
        let samples = self.negatives.samples();
        match contrast.iter().enumerate().find(|(_, s)| **s >= samples) {
            None => Ok([
                Side::of(STUDENT, student, Anchor::Student)?,
                Side::of(TEACHER, teacher, Anchor::Teacher)?,
            ]),
            Some((index, &found)) => Err(KdError::NoSuchSample {
                what: "contrast entry",
                index,
                found,
                samples,
            }),
        }
    }

    /// The memory that an anchor is held against: that of the other network.
    fn memory_against(&self, side: &Side) -> &MemoryBank<F> {
        match side.anchor {
            Anchor::Student => &self.teacher,
            Anchor::Teacher => &self.student,
        }
    }

    /// `s'v/τ` of each anchor with each memory that it is contrasted with, row by row.
    fn scores(&self, side: &Side, contrast: &ArrayRef2<usize>) -> Vec<f64> {
        let memory = self.memory_against(side);
        let mut scores = Vec::with_capacity(contrast.len());
        for (anchor, samples) in rows::slices(&side.unit).zip(contrast.rows()) {
            let of = |&sample| self.score(anchor, memory.row(sample));
            scores.extend(samples.iter().map(of));
        }
        scores
    }

    fn score(&self, anchor: &[f64], memory: &[F]) -> f64 {
        dot(anchor, memory) / self.config.temperature
    }

    /// `1/n · Σ l` for one side as anchor, and its gradient by that side's embeddings. Each memory is looked up once.
    fn anchored(&self, side: &Side, contrast: &ArrayRef2<usize>, log_z: f64) -> (f64, Array2<f64>) {
        let memory = self.memory_against(side);
        let (n, entries) = contrast.dim();
        let negatives = (entries - 1) as f64;
        // log(x / (N/M)) is a score less this.
        let offset = log_z + (negatives / self.negatives.samples() as f64).ln();
        let mut value = 0.0;
        let mut gradient = Array2::zeros(side.unit.raw_dim());
        let anchors = rows::slices(&side.unit).zip(rows::slices_mut(&mut gradient));
        for ((anchor, by_anchor), samples) in anchors.zip(contrast.rows()) {
            for (place, &sample) in samples.iter().enumerate() {
                let memory = memory.row(sample);
                let odds = self.score(anchor, memory) - offset;
                // h = sigmoid(odds): the positive wants it at 1, the negatives at 0.
                let (term, slope) = if place == 0 {
                    (softplus(-odds), -sigmoid(-odds))
                } else {
                    (softplus(odds), sigmoid(odds))
                };
                value += term / n as f64;
                let scale = slope / (self.config.temperature * n as f64);
                for (g, &v) in by_anchor.iter_mut().zip(memory) {
                    *g += scale * wide(v);
                }
            }
        }
        rows::through_unit(&side.unit, &side.lengths, &mut gradient);
        (value, gradient)
    }
}

/// `a'b` in eight sums, which compilers turn into vectors.
fn dot<F: Float>(a: &[f64], b: &[F]) -> f64 {
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let ends = left.remainder().iter().zip(right.remainder());
    let end: f64 = ends.map(|(a, &b)| a * wide(b)).sum();
    let mut sums = [0.0; 8];
    for (a, b) in left.zip(right) {
        for (sum, (a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * wide(b);
        }
    }
    sums.iter().sum::<f64>() + end
}

/// The embeddings of one network for a batch.
struct Side {
    anchor: Anchor,
    unit: Array2<f64>,
    lengths: Vec<f64>,
}

enum Anchor {
    Student,
    Teacher,
}

impl Side {
    fn of<F: Float>(
        what: &'static str,
        embeddings: &ArrayRef2<F>,
        anchor: Anchor,
    ) -> Result<Self, KdError> {
        let (unit, lengths) = rows::unit(rows::samples(what, embeddings)?);
        Ok(Self {
            anchor,
            unit,
            lengths,
        })
    }
}
