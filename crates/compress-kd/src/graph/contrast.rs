//! Contrast as a term of the loss: the memory of all samples beside the embeddings of a batch.

use super::error::DistillError;
use super::names::rows_column;
use super::term::{foreign, matrix, told};
use crate::contrast::{Crd, CrdConfig, MemoryBank, Negatives};
use compress_tensor::Tensor;
use compress_train::data::{Batch, BatchPlan, Dataset, Values, read_batch};
use compress_train::loss::{Loss, LossError, LossValue, Outputs, Scores, Target, Targets};
use ndarray::{Array1, ArrayD};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pairs of embeddings with a memory each. The loss of a step is that before its memories move; samples without a place, those held
/// out, have a loss of 0.
pub(super) struct Contrast {
    pairs: Vec<Embedded>,
    config: CrdConfig,
    negatives: Negatives,
}

/// Outputs that embed one tensor of the student and one of the teacher.
struct Embedded {
    student: String,
    teacher: String,
    memory: Mutex<Crd<f32>>,
}

impl Contrast {
    /// Of pairs of outputs `[n, dimensions]`, student and teacher.
    pub(super) fn new(
        pairs: &[(String, String)],
        negatives: Negatives,
        dimensions: usize,
        seed: u64,
        config: CrdConfig,
    ) -> Result<Self, DistillError> {
        // More than there are samples say nothing new.
        let count = config.negatives.min(negatives.samples());
        let config = config.with_negatives(count);
        let embedded = pairs.iter().enumerate().map(|(number, (s, t))| {
            let seed = seed.wrapping_add(2 * number as u64);
            let memory = Crd::new(negatives.clone(), dimensions, seed, config)?;
            Ok(Embedded {
                student: s.clone(),
                teacher: t.clone(),
                memory: Mutex::new(memory),
            })
        });
        Ok(Self {
            pairs: embedded.collect::<Result<_, DistillError>>()?,
            config,
            negatives,
        })
    }
}

impl Embedded {
    fn memory(&self) -> MutexGuard<'_, Crd<f32>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loss for Contrast {
    fn scores(&self) -> Scores {
        Scores::AsGiven
    }

    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let mut gradients: Vec<Option<ArrayD<f32>>> = vec![None; outputs.len()];
        let mut value = 0.0;
        let Some(rows) = rows(targets)? else {
            return Ok(LossValue {
                value,
                gradients,
                parts: Vec::new(),
            });
        };
        for pair in &self.pairs {
            let places = [&pair.student, &pair.teacher].map(|name| outputs.position(name));
            let [student, teacher] = places;
            let (student, teacher) = (student?, teacher?);
            let (s, t) = (
                matrix(outputs.get(student)?.1)?,
                matrix(outputs.get(teacher)?.1)?,
            );
            let (found, by) = pair.memory().step(&s, &t, &rows).map_err(told)?;
            value += found;
            for (place, gradient) in [(student, by.student), (teacher, by.teacher)] {
                if let Some(to) = gradients.get_mut(place) {
                    *to = Some(gradient.into_dyn());
                }
            }
        }
        Ok(LossValue {
            value,
            gradients,
            parts: Vec::new(),
        })
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = BTreeMap::new();
        for (number, pair) in self.pairs.iter().enumerate() {
            let memory = pair.memory();
            for (side, bank) in SIDES.iter().zip(memory.memories()) {
                let rows = bank.embeddings().clone();
                state.insert(format!("{number}/{side}"), Tensor::from_array(rows));
            }
            let steps = memory.steps() as i64;
            state.insert(format!("{number}/steps"), Tensor::vector(vec![steps]));
            if let Some(log_z) = memory.log_partition() {
                let log_z = Tensor::vector(log_z.to_vec());
                state.insert(format!("{number}/log-partition"), log_z);
            }
        }
        state
    }

    fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        for (number, pair) in self.pairs.iter().enumerate() {
            let part = |name: &str| state.get(&format!("{number}/{name}"));
            let needed = |name: &str| {
                part(name).ok_or_else(|| {
                    foreign(&format!("the checkpoint has no `{name}` of the memories"))
                })
            };
            let bank = |name: &str| {
                let rows = needed(name)?.view::<f32>().map_err(unread)?;
                let rows = matrix(&rows)?.to_owned();
                Ok::<_, LossError>(MemoryBank::of_unit(rows))
            };
            let [student, teacher] = SIDES;
            let memories = [bank(student)?, bank(teacher)?];
            let steps = needed("steps")?.as_slice::<i64>().map_err(unread)?;
            let steps = match *steps {
                [steps] => u64::try_from(steps).ok(),
                _ => None,
            };
            let steps = steps.ok_or_else(|| {
                foreign("the checkpoint's `steps` of the memories is not one number of at least 0")
            })?;
            let log_z = match part("log-partition") {
                Some(tensor) => match *tensor.as_slice::<f64>().map_err(unread)? {
                    [a, b] => Some([a, b]),
                    ref other => {
                        let found = other.len();
                        return Err(foreign(&format!(
                            "the checkpoint's `log-partition` of the memories holds {found} numbers instead of 2"
                        )));
                    }
                },
                None => None,
            };
            let negatives = self.negatives.clone();
            let found = Crd::resume(negatives, memories, log_z, steps, self.config);
            *pair.memory() = found.map_err(told)?;
        }
        Ok(())
    }
}

/// What the memories are called in a checkpoint.
const SIDES: [&str; 2] = ["student", "teacher"];

fn unread(error: compress_tensor::TensorError) -> LossError {
    foreign(&format!("the checkpoint's memories: {error}"))
}

/// The places of a batch in the data that are learned from; none of samples that are held out.
fn rows(targets: &Targets<'_>) -> Result<Option<Array1<usize>>, LossError> {
    let Ok(place) = targets.position(&rows_column()) else {
        return Ok(None);
    };
    match targets.get(place)? {
        (_, Target::Classes(rows)) => Ok(Some(rows.iter().map(|&row| row as usize).collect())),
        (name, Target::Values(_)) => Err(LossError::WrongKind {
            target: name.to_owned(),
            expected: "places of samples",
            found: "values",
        }),
    }
}

/// What samples are told apart from: those of other classes where the labels are classes, one for each sample; all others where not.
pub(super) fn negatives(
    data: &dyn Dataset,
    labels: Option<&str>,
    batch: usize,
    seed: u64,
) -> Result<Negatives, DistillError> {
    let all = || Ok(Negatives::among(data.len(), seed)?);
    let Some(labels) = labels else {
        return all();
    };
    let mut classes: Vec<i64> = Vec::with_capacity(data.len());
    let mut read = Batch::default();
    for start in (0..data.len()).step_by(batch) {
        let indices = (start..data.len().min(start + batch)).collect();
        let plan = BatchPlan {
            start,
            indices,
            ..BatchPlan::default()
        };
        read_batch(data, &plan, &mut read)?;
        let column = read.column(labels)?;
        match &column.values {
            _ if column.field.count() != 1 => return all(),
            Values::I64(values) => classes.extend(values),
            Values::U8(values) => classes.extend(values.iter().map(|&v| i64::from(v))),
            Values::F32(_) => return all(),
        }
    }
    Ok(Negatives::of_other_classes(&Array1::from(classes), seed)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contrast::CrdGradients;
    use ndarray::Array2;

    fn contrast() -> Contrast {
        let pairs = [("s".to_owned(), "t".to_owned())];
        let config = CrdConfig::default().with_negatives(3);
        let negatives = Negatives::among(4, 5).unwrap();
        Contrast::new(&pairs, negatives, 2, 7, config).unwrap()
    }

    fn step(contrast: &Contrast, at: f32, rows: Option<[i64; 2]>) -> LossValue {
        let s = Array2::from_shape_fn((2, 2), |(i, k)| at + i as f32 - 0.4 * k as f32).into_dyn();
        let t = Array2::from_shape_fn((2, 2), |(i, k)| at - i as f32 + 0.7 * k as f32).into_dyn();
        let outputs = Outputs::new([("s", s.view()), ("t", t.view())]);
        let rows = rows.map(|rows| ArrayD::from_shape_vec(vec![2], rows.to_vec()).unwrap());
        let name = rows_column();
        let targets = rows.iter();
        let targets = targets.map(|rows| (name.as_str(), Target::Classes(rows.view())));
        contrast.loss(&outputs, &Targets::new(targets)).unwrap()
    }

    #[test]
    fn a_step_is_that_of_the_array_level() {
        let found = step(&contrast(), 0.5, Some([3, 1]));
        let negatives = Negatives::among(4, 5).unwrap();
        let config = CrdConfig::default().with_negatives(3);
        let mut crd = Crd::<f32>::new(negatives, 2, 7, config).unwrap();
        let s = Array2::from_shape_fn((2, 2), |(i, k)| 0.5 + i as f32 - 0.4 * k as f32);
        let t = Array2::from_shape_fn((2, 2), |(i, k)| 0.5 - i as f32 + 0.7 * k as f32);
        let (value, CrdGradients { student, teacher }) =
            crd.step(&s, &t, &Array1::from(vec![3, 1])).unwrap();
        assert_eq!(found.value, value);
        assert_eq!(found.gradients[0], Some(student.into_dyn()));
        assert_eq!(found.gradients[1], Some(teacher.into_dyn()));
    }

    #[test]
    fn memories_go_on_to_the_bit() {
        let (whole, broken, resumed) = (contrast(), contrast(), contrast());
        for contrast in [&whole, &broken] {
            step(contrast, 0.5, Some([3, 1]));
        }
        resumed.restore(&broken.state()).unwrap();
        let (a, b) = (
            step(&whole, 0.1, Some([0, 3])),
            step(&resumed, 0.1, Some([0, 3])),
        );
        assert_eq!(a.value.to_bits(), b.value.to_bits());
        assert_eq!(a.gradients, b.gradients);
        assert!(contrast().restore(&BTreeMap::new()).is_err());
    }

    #[test]
    fn states_of_other_lengths_and_signs_are_refused() {
        let contrast = contrast();
        step(&contrast, 0.5, Some([3, 1]));
        let wrong = [
            ("0/steps", Tensor::vector(vec![-1i64]), "`steps`"),
            ("0/steps", Tensor::vector(vec![1i64, 2]), "`steps`"),
            (
                "0/log-partition",
                Tensor::vector(vec![1f64]),
                "holds 1 numbers",
            ),
        ];
        for (name, tensor, expected) in wrong {
            let mut state = contrast.state();
            assert!(state.insert(name.to_owned(), tensor).is_some(), "{name}");
            let error = contrast.restore(&state).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn samples_without_a_place_have_no_memory() {
        let contrast = contrast();
        let found = step(&contrast, 0.5, None);
        assert_eq!((found.value, found.gradients), (0.0, vec![None, None]));
        assert_eq!(contrast.pairs[0].memory().steps(), 0);
    }
}
