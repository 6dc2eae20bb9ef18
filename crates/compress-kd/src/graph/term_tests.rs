//! Terms: gradients against differences, names of columns, pooling and masks.

use super::config::{Ensemble, LossTerm, Pooling};
use super::kinds::KdTerm;
use super::names::{mask_column, teacher_column};
use super::term::{Pair, Term};
use compress_train::loss::{Loss, LossValue, Outputs, Target, Targets};
use compress_train::random::{Purpose, Random};
use ndarray::{ArrayD, IxDyn};

fn noise(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut random = Random::new(seed, Purpose::Custom(0), 0, 0);
    let value = || random.between(-1.0, 1.0) as f32;
    ArrayD::from_shape_simple_fn(IxDyn(shape), value)
}

/// A term over outputs of these shapes, each held against a column of its own.
struct Case {
    term: Term,
    outputs: Vec<(String, ArrayD<f32>)>,
    columns: Vec<(String, ArrayD<f32>)>,
    mask: Option<ArrayD<i64>>,
    labels: ArrayD<i64>,
}

impl Case {
    fn new(term: LossTerm, shapes: &[&[usize]], teacher: &[&[usize]], teachers: usize) -> Self {
        let mut case = Self {
            term: Term {
                term,
                pairs: Vec::new(),
                ensemble: Ensemble::default(),
                labels: Some("labels".into()),
            },
            outputs: Vec::new(),
            columns: Vec::new(),
            mask: None,
            labels: ArrayD::from_shape_vec(IxDyn(&[3]), vec![2i64, 0, 1]).unwrap(),
        };
        for (place, (student, taught)) in shapes.iter().zip(teacher).enumerate() {
            let name = format!("output {place}");
            let names = (0..teachers).map(|t| teacher_column(t, &name));
            let names: Vec<String> = names.collect();
            for (t, column) in names.iter().enumerate() {
                let values = noise(taught, 100 + (10 * t + place) as u64);
                case.columns.push((column.clone(), values));
            }
            case.outputs
                .push((name.clone(), noise(student, place as u64)));
            case.term.pairs.push(Pair {
                student: name,
                teachers: names,
            });
        }
        case
    }

    fn loss(&self) -> LossValue {
        let outputs = self.outputs.iter().map(|(n, a)| (n.as_str(), a.view()));
        let mask_name = mask_column();
        let mut targets = vec![("labels", Target::Classes(self.labels.view()))];
        for (name, values) in &self.columns {
            targets.push((name, Target::Values(values.view())));
        }
        if let Some(mask) = &self.mask {
            targets.push((&mask_name, Target::Classes(mask.view())));
        }
        self.term
            .loss(&Outputs::new(outputs), &Targets::new(targets))
            .unwrap()
    }

    /// The largest difference of a gradient from central differences, relative to its largest element.
    fn error(&mut self) -> f64 {
        let found = self.loss();
        let mut worst = 0f64;
        for place in 0..self.outputs.len() {
            let gradient = found.gradients[place].clone().unwrap();
            assert_eq!(gradient.shape(), self.outputs[place].1.shape());
            let largest = gradient.iter().fold(0f32, |m, g| m.max(g.abs()));
            assert!(largest > 0.0, "the gradient is zero");
            for index in 0..gradient.len() {
                let mut at = |step: f32| {
                    let values = self.outputs[place].1.as_slice_mut().unwrap();
                    let before = values[index];
                    values[index] = before + step;
                    let moved = f64::from(values[index]);
                    let value = self.loss().value;
                    self.outputs[place].1.as_slice_mut().unwrap()[index] = before;
                    (value, moved)
                };
                let ((up, high), (down, low)) = (at(4e-3), at(-4e-3));
                let slope = (up - down) / (high - low);
                let own = f64::from(gradient.as_slice().unwrap()[index]);
                worst = worst.max((slope - own).abs() / f64::from(largest));
            }
        }
        worst
    }
}

/// Samples, classes.
const LOGITS: &[usize] = &[3, 4];
const IMAGE: &[usize] = &[3, 2, 3, 3];
const WIDE_IMAGE: &[usize] = &[3, 5, 3, 3];
/// Samples, tokens, width.
const TOKENS: &[usize] = &[3, 4, 6];
/// Samples, heads, queries, keys.
const SCORES: &[usize] = &[3, 2, 4, 4];

#[test]
fn gradients_of_all_terms_agree_with_differences() {
    let exits = KdTerm::Exits {
        outputs: vec!["output 0".into(), "output 1".into()],
        alpha: 0.0,
        temperature: 1.0,
        weights: Some(vec![0.5, 1.0]),
    };
    let dkd = KdTerm::Dkd {
        alpha: 1.0,
        beta: 8.0,
        temperature: 2.0,
    };
    let one =
        |term: KdTerm, student, teacher| Case::new(LossTerm::new(term), &[student], &[teacher], 1);
    let temperature = 2.0;
    let mut many = one(KdTerm::binary_kd(0.7, 3.0), LOGITS, LOGITS);
    many.labels = ArrayD::from_shape_fn(IxDyn(LOGITS), |i| ((i[0] + i[1]) % 2) as i64);
    let cases = [
        many,
        one(
            KdTerm::CrossEntropy {
                label_smoothing: 0.1,
            },
            LOGITS,
            LOGITS,
        ),
        one(KdTerm::kd(0.7, 3.0), LOGITS, LOGITS),
        one(KdTerm::Kl { temperature }, LOGITS, LOGITS),
        one(KdTerm::ReverseKl { temperature }, LOGITS, LOGITS),
        one(KdTerm::Regression {}, LOGITS, LOGITS),
        one(dkd, LOGITS, LOGITS),
        Case::new(
            LossTerm::new(exits),
            &[LOGITS, LOGITS],
            &[LOGITS, LOGITS],
            0,
        ),
        one(KdTerm::Hint {}, IMAGE, IMAGE),
        one(KdTerm::Attention { power: 2.0 }, IMAGE, WIDE_IMAGE),
        one(KdTerm::Cosine {}, LOGITS, LOGITS),
        one(KdTerm::Cosine {}, TOKENS, TOKENS),
        one(KdTerm::RkdDistance {}, IMAGE, LOGITS),
        one(KdTerm::RkdAngle {}, LOGITS, WIDE_IMAGE),
        one(KdTerm::Similarity {}, IMAGE, WIDE_IMAGE),
        one(KdTerm::Correlation { gamma: 0.4 }, LOGITS, IMAGE),
        one(KdTerm::Correlation { gamma: 0.0 }, LOGITS, IMAGE),
        one(KdTerm::Pkt {}, LOGITS, WIDE_IMAGE),
        one(KdTerm::Relation { heads: 2 }, TOKENS, &[3, 4, 8]),
        one(KdTerm::AttentionDivergence {}, SCORES, SCORES),
        one(KdTerm::AttentionRegression {}, SCORES, SCORES),
        one(KdTerm::HiddenState {}, TOKENS, TOKENS),
        Case::new(
            LossTerm::new(KdTerm::QueryKey { heads: 3 }),
            &[TOKENS, TOKENS],
            &[&[3, 4, 9], &[3, 4, 9]],
            1,
        ),
        Case::new(LossTerm::new(KdTerm::kd(0.7, 3.0)), &[LOGITS], &[LOGITS], 2),
    ];
    for mut case in cases {
        let name = case.term.term.loss.name();
        let error = case.error();
        assert!(error < 5e-3, "{name}: {error}");
    }
}

#[test]
fn masked_and_pooled_terms_have_the_gradients_of_the_tokens_that_count() {
    let mask = ArrayD::from_shape_fn(IxDyn(&[3, 4]), |i| i64::from(i[1] < 4 - i[0]));
    let terms = [
        LossTerm::new(KdTerm::Cosine {}).pooled(),
        LossTerm::new(KdTerm::Regression {}).pooled(),
        LossTerm::new(KdTerm::RkdDistance {}).pooled(),
        LossTerm::new(KdTerm::Similarity {}).pooled(),
        LossTerm::new(KdTerm::Cosine {}),
        LossTerm::new(KdTerm::HiddenState {}),
        LossTerm::new(KdTerm::Relation { heads: 2 }),
    ];
    for term in terms {
        let mut case = Case::new(term, &[TOKENS], &[TOKENS], 1);
        case.mask = Some(mask.clone());
        let name = case.term.term.loss.name();
        let error = case.error();
        assert!(error < 5e-3, "{name}: {error}");
        let gradient = case.loss().gradients[0].clone().unwrap();
        for (index, value) in gradient.indexed_iter() {
            assert!(
                index[1] < 4 - index[0] || *value == 0.0,
                "{name}: a masked token has a gradient"
            );
        }
    }
}

#[test]
fn a_mean_of_tokens_is_that_of_those_that_count() {
    let mut case = Case::new(
        LossTerm::new(KdTerm::Regression {}).pooled(),
        &[TOKENS],
        &[TOKENS],
        1,
    );
    case.mask = Some(ArrayD::from_shape_fn(IxDyn(&[3, 4]), |i| {
        i64::from(i[1] < 2)
    }));
    let (student, teacher) = (&case.outputs[0].1, &case.columns[0].1);
    let mut expected = 0.0;
    for i in 0..3 {
        for k in 0..6 {
            let mean = |of: &ArrayD<f32>| f64::from(of[[i, 0, k]] + of[[i, 1, k]]) / 2.0;
            expected += (mean(student) - mean(teacher)).powi(2) / 6.0;
        }
    }
    assert!((case.loss().value - expected).abs() < 1e-6);
    assert_eq!(case.term.term.pool, Pooling::Mean);
}

#[test]
fn several_teachers_are_one() {
    let mut two = Case::new(LossTerm::new(KdTerm::kd(0.7, 3.0)), &[LOGITS], &[LOGITS], 2);
    let other = two.columns[1].1.clone();
    // All weight on the second teacher.
    two.term.ensemble.weights = Some(vec![0.0, 1.0]);
    let mut one = Case::new(LossTerm::new(KdTerm::kd(0.7, 3.0)), &[LOGITS], &[LOGITS], 1);
    one.columns[0].1 = other;
    assert!((two.loss().value - one.loss().value).abs() < 1e-6);
    two.term.term.loss = KdTerm::Regression {};
    one.term.term.loss = KdTerm::Regression {};
    assert!((two.loss().value - one.loss().value).abs() < 1e-6);
}
