//! The learning rates of the first steps, of a base of 0.2.

use super::Goldens;
use compress_train::schedule::Schedule;

#[test]
fn learning_rates_are_those_of_torch() {
    let goldens: Goldens<Vec<Schedule>> = Goldens::read("schedules");
    assert_eq!(goldens.cases.len(), 13);
    for (index, schedule) in goldens.cases.iter().enumerate() {
        schedule.validate().unwrap();
        let rates = goldens.f64(&format!("rates-{index}"));
        assert!(rates.len() >= 20);
        for (step, expected) in rates.into_iter().enumerate() {
            let found = schedule.learning_rate(0.2, step as u64);
            // PyTorch computes most of them from step to step, and rounds in each.
            assert!(
                (found - expected).abs() < 1e-14,
                "{schedule:?} at {step}: {found} {expected}"
            );
        }
    }
}

#[test]
fn momenta_are_those_of_torch() {
    let goldens: Goldens<Vec<Schedule>> = Goldens::read("schedules");
    let mut moved = 0;
    for (index, schedule) in goldens.cases.iter().enumerate() {
        for (step, expected) in goldens
            .f64(&format!("momenta-{index}"))
            .into_iter()
            .enumerate()
        {
            if let Some(found) = schedule.momentum(step as u64) {
                assert!(
                    (found - expected).abs() < 1e-14,
                    "{schedule:?} at {step}: {found} {expected}"
                );
                moved += 1;
            }
        }
    }
    assert_eq!(moved, 37 + 50);
}
