//! Splits: validation parts and folds, of all samples or within each class.

use super::{DataError, check_setting};
use crate::random::{Purpose, Random};
use std::collections::BTreeMap;

/// One fold: what is trained on, and what is held out. Indices are in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Samples to train on.
    pub train: Vec<usize>,
    /// Samples held out.
    pub validation: Vec<usize>,
}

/// Holds out `round(share · n)` of `n` samples, drawn by a seed.
///
/// # Errors
/// [`DataError::Setting`] for a share outside of `[0, 1]`.
pub fn split(samples: usize, share: f64, seed: u64) -> Result<Fold, DataError> {
    check_share(share)?;
    let order = Random::new(seed, Purpose::Split, 0, 0).permutation(samples);
    let held_out = (share * samples as f64).round() as usize;
    let is_held_out = marks(samples, order.into_iter().take(held_out));
    Ok(fold(&is_held_out))
}

/// Holds out the same share of each class, `round(share · n)` samples altogether: what rounding leaves over in one class is made up
/// for in the next.
///
/// # Errors
/// [`DataError::Setting`] for a share outside of `[0, 1]`.
pub fn stratified_split(labels: &[i64], share: f64, seed: u64) -> Result<Fold, DataError> {
    check_share(share)?;
    let mut chosen = Vec::new();
    let mut seen = 0;
    for class in shuffled_classes(labels, seed) {
        seen += class.len();
        let wanted = (share * seen as f64).round() as usize;
        let count = wanted.saturating_sub(chosen.len()).min(class.len());
        chosen.extend_from_slice(&class[..count]);
    }
    Ok(fold(&marks(labels.len(), chosen.into_iter())))
}

/// `k` folds of all samples, each held out once; their sizes differ by one at most.
///
/// # Errors
/// [`DataError::Setting`] for `k` below 2 or above the number of samples.
pub fn k_folds(samples: usize, k: usize, seed: u64) -> Result<Vec<Fold>, DataError> {
    let order = Random::new(seed, Purpose::Split, 0, 0).permutation(samples);
    deal(&order, k)
}

/// `k` folds that hold the same share of each class, as near as whole samples allow.
///
/// # Errors
/// [`DataError::Setting`] for `k` below 2 or above the number of samples.
pub fn stratified_k_folds(labels: &[i64], k: usize, seed: u64) -> Result<Vec<Fold>, DataError> {
    // Classes are dealt one after the other without a new start, so that the folds stay of one size.
    deal(&shuffled_classes(labels, seed).concat(), k)
}

fn check_share(share: f64) -> Result<(), DataError> {
    let is_share = (0.0..=1.0).contains(&share);
    check_setting(
        "the share held out",
        share,
        is_share,
        "it must lie in [0, 1]",
    )
}

/// The samples of each class, by class, in an order drawn by the seed.
fn shuffled_classes(labels: &[i64], seed: u64) -> Vec<Vec<usize>> {
    let mut classes: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    for (&label, class) in &mut classes {
        Random::new(seed, Purpose::Split, 1, label as u64).shuffle(class);
    }
    classes.into_values().collect()
}

/// Sample `i` of the order is held out in fold `i mod k`.
fn deal(order: &[usize], k: usize) -> Result<Vec<Fold>, DataError> {
    let is_right = k >= 2 && k <= order.len();
    let rule = "it must be 2 or more, and no more than there are samples";
    check_setting("the number of folds", k as f64, is_right, rule)?;
    let of = |number| {
        let held_out = order.iter().skip(number).step_by(k).copied();
        fold(&marks(order.len(), held_out))
    };
    Ok((0..k).map(of).collect())
}

fn marks(samples: usize, chosen: impl Iterator<Item = usize>) -> Vec<bool> {
    let mut marks = vec![false; samples];
    chosen.for_each(|index| marks[index] = true);
    marks
}

fn fold(is_held_out: &[bool]) -> Fold {
    let (validation, train) = (0..is_held_out.len()).partition(|&i| is_held_out[i]);
    Fold { train, validation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(fold: &Fold) -> Vec<usize> {
        let mut all = [fold.train.clone(), fold.validation.clone()].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn each_class_gives_its_share() {
        // 60 of class 3, 30 of class −1, 10 of class 7.
        let labels: Vec<i64> = (0..100)
            .map(|i| [3, 3, 3, 3, 3, 3, -1, -1, -1, 7][i % 10])
            .collect();
        let fold = stratified_split(&labels, 0.2, 5).unwrap();
        let count = |class| {
            fold.validation
                .iter()
                .filter(|&&i| labels[i] == class)
                .count()
        };
        assert_eq!([count(3), count(-1), count(7)], [12, 6, 2]);
        for fold in stratified_k_folds(&labels, 5, 5).unwrap() {
            let count = |class| {
                fold.validation
                    .iter()
                    .filter(|&&i| labels[i] == class)
                    .count()
            };
            assert_eq!([count(3), count(-1), count(7)], [12, 6, 2]);
        }
    }

    #[test]
    fn settings_out_of_range_are_told() {
        assert!(split(10, 1.5, 0).is_err() && split(10, f64::NAN, 0).is_err());
        assert!(k_folds(10, 1, 0).is_err() && k_folds(3, 4, 0).is_err());
        assert_eq!(
            split(0, 0.5, 0).unwrap(),
            Fold {
                train: vec![],
                validation: vec![]
            }
        );
    }

    proptest! {
        #[test]
        fn parts_hold_each_sample_once(
            labels in prop::collection::vec(-2i64..3, 2..60), share in 0.0..=1.0f64, k in 2usize..6, seed: u64,
        ) {
            let n = labels.len();
            let all: Vec<usize> = (0..n).collect();
            for fold in [split(n, share, seed).unwrap(), stratified_split(&labels, share, seed).unwrap()] {
                prop_assert_eq!(joined(&fold), all.clone());
                prop_assert_eq!(fold.validation.len(), (share * n as f64).round() as usize);
            }
            if k <= n {
                for folds in [k_folds(n, k, seed).unwrap(), stratified_k_folds(&labels, k, seed).unwrap()] {
                    let mut held_out: Vec<usize> = folds.iter().flat_map(|f| f.validation.clone()).collect();
                    held_out.sort_unstable();
                    prop_assert_eq!(held_out, all.clone());
                    for fold in &folds {
                        prop_assert_eq!(joined(fold), all.clone());
                        prop_assert!((n / k..=n.div_ceil(k)).contains(&fold.validation.len()));
                    }
                }
            }
        }
    }
}
