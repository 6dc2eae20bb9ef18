//! Distillation with `compress-kd`'s array level and plain `ndarray`: no model file, no framework.
//!
//! ```sh
//! cargo run --release -p modelpress-example-distill
//! ```
//!
//! 200 images of handwritten digits have labels, 1,097 more have none. Large networks learn from the labelled ones, shifted about;
//! together they are the teacher. A small network learns from the labels alone, from labels and teacher on the same 200 images, and
//! from the teacher on all 1,297 images with the 200 labels. Seeds, steps and settings are the same each time; the 500 images of the
//! accuracies were never seen.

mod digits;
mod network;
mod training;

use compress_kd::KdError;
use compress_kd::logits::{CrossEntropy, KdLoss};
use compress_kd::teachers::{TeacherMean, ensemble};
use digits::Digits;
use ndarray::{Array1, Array2, Axis};
use network::Network;
use training::{Plan, Shift, accuracy, train};

const LABELLED: usize = 200;
/// The label of images that have none.
const NONE: i64 = -1;

fn main() -> Result<(), KdError> {
    let found = study(20)?;
    for accuracy in &found.teachers {
        println!("teacher, 256 hidden units            {accuracy:.2} %");
    }
    let [alone, same, more] = &found.students;
    println!("student, 16 hidden units, {} seeds", alone.len());
    println!("  labels alone                       {:.2} %", mean(alone));
    report("  labels and teacher, 200 images    ", same, alone);
    report("  labels and teacher, 1,297 images  ", more, alone);
    Ok(())
}

/// Accuracies on images that were never seen, in percent.
struct Found {
    teachers: Vec<f64>,
    /// By the way of training, seed by seed.
    students: [Vec<f64>; 3],
}

fn study(seeds: u64) -> Result<Found, KdError> {
    let (mut all, test) = digits::load();
    let few = first(&all, LABELLED);
    all.labels
        .iter_mut()
        .skip(LABELLED)
        .for_each(|label| *label = NONE);
    let teachers = (0..3).map(|seed| teacher(&few, 1000 + seed));
    let teachers = teachers.collect::<Result<Vec<_>, _>>()?;

    let hard = CrossEntropy::default();
    let loss = KdLoss::new(0.9, 4.0).with_cross_entropy(hard.clone().with_ignore_index(NONE));
    let taught = |logits: &Array2<f32>, images: &Array2<f32>, labels: &Array1<i64>| {
        loss.loss(
            logits,
            &taught_by(&teachers, images, loss.temperature)?,
            labels,
        )
    };
    let mut students = [Vec::new(), Vec::new(), Vec::new()];
    for seed in 0..seeds {
        let plan = Plan {
            hidden: 16,
            steps: 1000,
            shift: Shift::None,
            seed,
        };
        let ways = [
            train(plan, &few, |logits, _, labels| hard.loss(logits, labels))?,
            train(plan, &few, taught)?,
            train(plan, &all, taught)?,
        ];
        for (accuracies, student) in students.iter_mut().zip(&ways) {
            accuracies.push(accuracy(student, &test));
        }
    }
    let teachers = teachers
        .iter()
        .map(|teacher| accuracy(teacher, &test))
        .collect();
    Ok(Found { teachers, students })
}

fn first(data: &Digits, n: usize) -> Digits {
    let rows: Vec<usize> = (0..n).collect();
    Digits {
        images: data.images.select(Axis(0), &rows),
        labels: data.labels.select(Axis(0), &rows),
    }
}

fn teacher(data: &Digits, seed: u64) -> Result<Network, KdError> {
    let plan = Plan {
        hidden: 256,
        steps: 2000,
        shift: Shift::OnePixel,
        seed,
    };
    train(plan, data, |logits, _, labels| {
        CrossEntropy::default().loss(logits, labels)
    })
}

/// The logits of all teachers as those of one.
fn taught_by(
    teachers: &[Network],
    images: &Array2<f32>,
    temperature: f64,
) -> Result<Array2<f32>, KdError> {
    let logits: Vec<_> = teachers
        .iter()
        .map(|t| t.forward(images.view()).logits)
        .collect();
    let views: Vec<_> = logits.iter().map(|z| z.view()).collect();
    ensemble(&views, None, temperature, TeacherMean::Arithmetic)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean accuracy, and what it gained over the same seeds alone, with a 95 % interval (Student's t of 19 degrees of freedom).
fn report(name: &str, accuracies: &[f64], alone: &[f64]) {
    let gains: Vec<f64> = accuracies.iter().zip(alone).map(|(a, b)| a - b).collect();
    let (n, gain) = (gains.len() as f64, mean(&gains));
    let variance = gains.iter().map(|g| (g - gain).powi(2)).sum::<f64>() / (n - 1.0);
    let half = 2.093 * (variance / n).sqrt();
    println!("{name} {:.2} %   {gain:+.2} ± {half:.2}", mean(accuracies));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taught_student_is_better_than_the_same_student_alone() {
        let [alone, same, more] = study(4)
            .unwrap()
            .students
            .map(|accuracies| mean(&accuracies));
        assert!(
            same > alone + 0.5 && more > alone + 1.0,
            "{alone} {same} {more}"
        );
    }
}
