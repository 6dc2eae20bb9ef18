//! Values and gradients of PyTorch (`tests/goldens/make.py`), to 1e-11.

use compress_kd::contrast::{Crd, CrdConfig, MemoryBank, Negatives};
use compress_kd::features::{
    AttentionDistance, AttentionTransfer, CosineEmbedding, Projection, hint,
};
use compress_kd::logits::{
    BinaryKdLoss, CrossEntropy, DecoupledKd, KdLoss, kl_divergence, logit_regression,
    reverse_kl_divergence,
};
use compress_kd::relations::{
    CorrelationCongruence, CorrelationKernel, probabilistic_transfer, rkd_angle, rkd_distance,
    similarity_preserving,
};
use compress_kd::transformer::{
    Relations, attention_divergence, attention_regression, hidden_state,
};
use ndarray::{Array, Array1, Array2, ArrayD, Axis, Dimension, Ix1, Ix2, Ix3, Ix4};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Goldens {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    loss: String,
    settings: Settings,
    inputs: BTreeMap<String, Values>,
    value: f64,
    gradients: BTreeMap<String, Values>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    data: Vec<f64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Settings {
    t: f64,
    alpha: f64,
    beta: f64,
    gamma: f64,
    power: f64,
    p: f64,
    margin: f64,
    tau: f64,
    smoothing: f64,
    ignore: i64,
    heads: usize,
    weights: Option<Vec<f64>>,
    labels: Vec<i64>,
    mask: Vec<Vec<u8>>,
    entries: Vec<Vec<usize>>,
}

impl Case {
    fn input<D: Dimension>(&self, name: &str) -> Array<f64, D> {
        self.inputs[name].array().into_dimensionality().unwrap()
    }

    fn rows(&self) -> [Array2<f64>; 2] {
        ["student", "teacher"].map(|name| self.input::<Ix2>(name))
    }

    fn images(&self) -> [Array<f64, Ix4>; 2] {
        ["student", "teacher"].map(|name| self.input::<Ix4>(name))
    }

    fn tokens(&self) -> [Array<f64, Ix3>; 2] {
        ["student", "teacher"].map(|name| self.input::<Ix3>(name))
    }

    fn labels(&self) -> Array1<i64> {
        Array1::from(self.settings.labels.clone())
    }

    fn mask(&self) -> Array2<bool> {
        let mask = &self.settings.mask;
        Array2::from_shape_fn((mask.len(), mask[0].len()), |(i, t)| mask[i][t] == 1)
    }

    fn cross_entropy(&self) -> CrossEntropy {
        let settings = &self.settings;
        let loss = CrossEntropy::default().with_label_smoothing(settings.smoothing);
        let loss = loss.with_ignore_index(settings.ignore);
        match &settings.weights {
            Some(weights) => loss.with_class_weights(weights.clone()),
            None => loss,
        }
    }
}

impl Values {
    fn array(&self) -> ArrayD<f64> {
        ArrayD::from_shape_vec(self.shape.clone(), self.data.clone()).unwrap()
    }
}

/// A value and its gradients by name.
type Found = (f64, Vec<(&'static str, ArrayD<f64>)>);

fn by_student<D: Dimension>((value, gradient): (f64, Array<f64, D>)) -> Found {
    (value, vec![("student", gradient.into_dyn())])
}

fn of_logits(case: &Case) -> Option<Found> {
    let Settings { t, alpha, .. } = case.settings;
    let found = match case.loss.as_str() {
        "kl" | "reverse_kl" => {
            let [student, teacher] = case.rows();
            let loss = if case.loss == "kl" {
                kl_divergence
            } else {
                reverse_kl_divergence
            };
            loss(&student, &teacher, t)
        }
        "regression" => {
            let [student, teacher] = case.rows();
            logit_regression(&student, &teacher)
        }
        "cross_entropy" => case
            .cross_entropy()
            .loss(&case.input::<Ix2>("student"), &case.labels()),
        "cross_entropy_soft" => {
            let [student, targets] = ["student", "targets"].map(|name| case.input::<Ix2>(name));
            case.cross_entropy().loss_soft(&student, &targets)
        }
        "mixed" => {
            let [student, teacher] = case.rows();
            let loss = KdLoss::new(alpha, t).with_cross_entropy(case.cross_entropy());
            loss.loss(&student, &teacher, &case.labels())
        }
        "binary" => {
            let [student, teacher] = case.rows();
            let weights = case.settings.weights.clone().unwrap();
            let loss = BinaryKdLoss::new(alpha, t).with_positive_weights(weights);
            loss.loss(&student, &teacher, &case.input::<Ix2>("targets"))
        }
        "decoupled" => {
            let [student, teacher] = case.rows();
            let loss = DecoupledKd::new(alpha, case.settings.beta, t);
            loss.loss(&student, &teacher, &case.labels())
        }
        _ => return None,
    };
    Some(by_student(found.unwrap()))
}

fn of_features(case: &Case) -> Option<Found> {
    let Settings {
        power, p, margin, ..
    } = case.settings;
    Some(match case.loss.as_str() {
        "hint" => {
            let [student, teacher] = case.images();
            let bias = case.input::<Ix1>("bias");
            let projection = Projection::new(case.input("weight"), Some(bias)).unwrap();
            let (value, g) = hint(&student, &teacher, Axis(1), Some(&projection)).unwrap();
            let by_projection = g.projection.unwrap();
            let gradients = vec![
                ("student", g.student.into_dyn()),
                ("weight", by_projection.weight.into_dyn()),
                ("bias", by_projection.bias.unwrap().into_dyn()),
            ];
            (value, gradients)
        }
        "attention_squares" | "attention_norm" => {
            let [student, teacher] = case.images();
            let distance = if case.loss == "attention_norm" {
                AttentionDistance::Norm(p)
            } else {
                AttentionDistance::SquaredMean
            };
            let transfer = AttentionTransfer::new(power, distance);
            by_student(transfer.loss(&student, &teacher).unwrap())
        }
        "cosine" => {
            let [student, teacher] = case.rows();
            let loss = CosineEmbedding::new(margin);
            by_student(loss.loss(&student, &teacher, &case.labels()).unwrap())
        }
        _ => return None,
    })
}

fn of_relations(case: &Case) -> Option<Found> {
    let congruence = |kernel| {
        let [student, teacher] = case.rows();
        CorrelationCongruence::new(kernel).loss(&student, &teacher)
    };
    let of = |loss: fn(&Array2<f64>, &Array2<f64>) -> _| {
        let [student, teacher] = case.rows();
        loss(&student, &teacher)
    };
    let found = match case.loss.as_str() {
        "rkd_distance" => of(|s, t| rkd_distance(s, t)),
        "rkd_angle" => of(|s, t| rkd_angle(s, t)),
        "similarity" => of(|s, t| similarity_preserving(s, t)),
        "pkt" => of(|s, t| probabilistic_transfer(s, t)),
        "correlation_bilinear" => congruence(CorrelationKernel::Bilinear),
        "correlation_gaussian" => congruence(CorrelationKernel::Gaussian(case.settings.gamma)),
        _ => return None,
    };
    Some(by_student(found.unwrap()))
}

fn of_transformer(case: &Case) -> Option<Found> {
    let relations = Relations::new(case.settings.heads);
    Some(match case.loss.as_str() {
        "relation" => {
            let [q_s, k_s, q_t, k_t] =
                ["q_s", "k_s", "q_t", "k_t"].map(|name| case.input::<Ix3>(name));
            let mask = case.mask();
            let found = relations.attention((&q_s, &k_s), (&q_t, &k_t), Some(&mask));
            let (value, g) = found.unwrap();
            (
                value,
                vec![("q_s", g.query.into_dyn()), ("k_s", g.key.into_dyn())],
            )
        }
        "relation_within" => {
            let [student, teacher] = case.tokens();
            by_student(
                relations
                    .within(&student, &teacher, Some(&case.mask()))
                    .unwrap(),
            )
        }
        "attention_divergence" => {
            let [student, teacher] = case.images();
            by_student(attention_divergence(&student, &teacher, Some(&case.mask())).unwrap())
        }
        "attention_regression" => {
            let [student, teacher] = case.images();
            by_student(attention_regression(&student, &teacher, Some(&case.mask())).unwrap())
        }
        "hidden_state" => {
            let [student, teacher] = case.tokens();
            let projection = Projection::new(case.input("weight"), None).unwrap();
            let mask = case.mask();
            let found = hidden_state(&student, &teacher, Some(&projection), Some(&mask));
            let (value, g) = found.unwrap();
            let weight = g.projection.unwrap().weight.into_dyn();
            (
                value,
                vec![("student", g.student.into_dyn()), ("weight", weight)],
            )
        }
        _ => return None,
    })
}

fn of_contrast(case: &Case) -> Option<Found> {
    if case.loss != "crd" {
        return None;
    }
    let [student, teacher] = case.rows();
    let memories = ["memory_s", "memory_t"]
        .map(|name| MemoryBank::from_embeddings(&case.input::<Ix2>(name)).unwrap());
    let samples = memories[0].embeddings().nrows();
    let entries = &case.settings.entries;
    let contrast = Array2::from_shape_fn((entries.len(), entries[0].len()), |(i, j)| entries[i][j]);
    let config = CrdConfig::default().with_temperature(case.settings.tau);
    let negatives = Negatives::among(samples, 0).unwrap();
    let mut crd = Crd::resume(negatives, memories, None, 0, config).unwrap();
    crd.fit_partition(&student, &teacher, &contrast).unwrap();
    let (value, g) = crd.loss(&student, &teacher, &contrast).unwrap();
    let gradients = [("student", g.student), ("teacher", g.teacher)];
    Some((
        value,
        gradients.map(|(name, g)| (name, g.into_dyn())).to_vec(),
    ))
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let goldens: Goldens = serde_json::from_str(include_str!("../goldens/goldens.json")).unwrap();
    let mut families = [0; 5];
    for case in &goldens.cases {
        let all = [
            of_logits,
            of_features,
            of_relations,
            of_transformer,
            of_contrast,
        ];
        let (family, (value, gradients)) = all
            .iter()
            .enumerate()
            .find_map(|(family, of)| Some((family, of(case)?)))
            .unwrap_or_else(|| panic!("{}: no such loss", case.loss));
        families[family] += 1;
        let near = |a: f64, b: f64, size: f64| (a - b).abs() <= 1e-11 * size;
        let loss = &case.loss;
        assert!(
            near(value, case.value, case.value),
            "{loss}: {value} instead of {}",
            case.value
        );
        assert_eq!(gradients.len(), case.gradients.len(), "{loss}");
        for (name, gradient) in gradients {
            let expected = case.gradients[name].array();
            assert_eq!(gradient.shape(), expected.shape(), "{loss} by {name}");
            let greatest = expected.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            for (index, (&g, &e)) in gradient.iter().zip(&expected).enumerate() {
                assert!(
                    near(g, e, greatest),
                    "{loss} by {name}, {index}: {g} instead of {e}"
                );
            }
        }
    }
    assert_eq!(families, [16, 16, 6, 5, 1]);
}
