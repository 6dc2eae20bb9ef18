//! Gradients of the losses on transformers, masks, and what holds between them.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::features::Projection;
use compress_kd::transformer::{
    Relations, attention_divergence, attention_regression, hidden_state,
};
use ndarray::{Array, Array2, Array3, Array4, Axis, Dimension, arr2, s};

fn mask() -> Array2<bool> {
    arr2(&[
        [true, true, false, true],
        [true, false, false, false],
        [false; 4],
    ])
}

#[test]
fn relations_have_their_gradients_by_queries_keys_and_values() {
    for (seed, (n, l, heads, d_s, d_t)) in [(1, 1, 1, 1, 1), (3, 4, 2, 4, 6), (3, 4, 3, 3, 6)]
        .into_iter()
        .enumerate()
    {
        let mut numbers = Numbers::new(80 + seed as u64);
        let mut vectors = |d| numbers.array((n, l, d), 2.0);
        let (q_s, k_s, q_t, k_t) = (vectors(d_s), vectors(d_s), vectors(d_t), vectors(d_t));
        let relations = Relations::new(heads);
        let masks = if l == 4 {
            vec![None, Some(mask())]
        } else {
            vec![None]
        };
        for mask in &masks {
            let mask = mask.as_deref();
            holds(&q_s, |q| {
                let (value, g) = relations.attention((q, &k_s), (&q_t, &k_t), mask)?;
                Ok((value, g.query))
            });
            holds(&k_s, |k| {
                let (value, g) = relations.attention((&q_s, k), (&q_t, &k_t), mask)?;
                Ok((value, g.key))
            });
            holds(&q_s, |v| relations.within(v, &q_t, mask));
        }
    }
}

#[test]
fn attention_scores_have_their_gradients() {
    let mut numbers = Numbers::new(90);
    let (student, teacher) = (
        numbers.array((3, 2, 4, 4), 3.0),
        numbers.array((3, 2, 4, 4), 3.0),
    );
    for mask in [None, Some(mask())] {
        let mask = mask.as_deref();
        holds(&student, |x| attention_divergence(x, &teacher, mask));
        holds(&student, |x| attention_regression(x, &teacher, mask));
    }
    let (student, teacher) = (
        numbers.array((1, 1, 2, 5), 3.0),
        numbers.array((1, 1, 2, 5), 3.0),
    );
    holds(&student, |x| attention_divergence(x, &teacher, None));
    holds(&student, |x| attention_regression(x, &teacher, None));
}

#[test]
fn hidden_states_have_their_gradients() {
    let mut numbers = Numbers::new(91);
    let (student, teacher) = (numbers.array((3, 4, 2), 2.0), numbers.array((3, 4, 5), 2.0));
    let weight = numbers.array((5, 2), 1.0);
    for mask in [None, Some(mask())] {
        let mask = mask.as_deref();
        let projection = Projection::new(weight.clone(), None).unwrap();
        holds(&student, |x| {
            let (value, g) = hidden_state(x, &teacher, Some(&projection), mask)?;
            Ok((value, g.student))
        });
        holds(&weight, |weight| {
            let projection = Projection::new(weight.clone(), None)?;
            let (value, g) = hidden_state(&student, &teacher, Some(&projection), mask)?;
            Ok((value, g.projection.unwrap().weight))
        });
    }
}

#[test]
fn the_relation_of_queries_and_keys_is_the_divergence_of_their_scores() {
    let mut numbers = Numbers::new(92);
    let (n, l, heads, d) = (2, 4, 2, 6);
    let mut vectors = || numbers.array((n, l, d), 2.0);
    let (q_s, k_s, q_t, k_t) = (vectors(), vectors(), vectors(), vectors());
    let scores = |q: &Array3<f64>, k: &Array3<f64>| {
        Array4::from_shape_fn((n, heads, l, l), |(i, a, x, y)| {
            let part = a * d / heads..(a + 1) * d / heads;
            let both = q
                .slice(s![i, x, part.clone()])
                .dot(&k.slice(s![i, y, part]));
            both / 3f64.sqrt()
        })
    };
    let mask = arr2(&[[true, true, true, false], [true; 4]]);
    for mask in [None, Some(&*mask)] {
        let (value, _) = Relations::new(heads)
            .attention((&q_s, &k_s), (&q_t, &k_t), mask)
            .unwrap();
        let (expected, _) =
            attention_divergence(&scores(&q_s, &k_s), &scores(&q_t, &k_t), mask).unwrap();
        close(value, expected, 1e-13);
    }
}

/// The first sample alone, cut to its first `l` tokens along these axes.
fn cut<D: Dimension>(x: &Array<f64, D>, axes: &[usize], l: usize) -> Array<f64, D> {
    let mut view = x.view();
    view.slice_axis_inplace(Axis(0), (..1).into());
    for &axis in axes {
        view.slice_axis_inplace(Axis(axis), (..l).into());
    }
    view.to_owned()
}

#[test]
fn a_mask_is_a_shorter_sample() {
    let mut numbers = Numbers::new(93);
    let (student, teacher) = (numbers.array((1, 5, 4), 2.0), numbers.array((1, 5, 6), 2.0));
    let mask = arr2(&[[true, true, true, false, false]]);
    let short = |x: &Array3<f64>| cut(x, &[1], 3);
    let relations = Relations::new(2);
    let (value, gradient) = relations.within(&student, &teacher, Some(&mask)).unwrap();
    let (expected, expected_gradient) = relations
        .within(&short(&student), &short(&teacher), None)
        .unwrap();
    assert_eq!(value, expected);
    assert_eq!(short(&gradient), expected_gradient);
    assert!(gradient.slice(s![.., 3.., ..]).iter().all(|&g| g == 0.0));

    let (student, teacher) = (
        numbers.array((1, 2, 5, 5), 2.0),
        numbers.array((1, 2, 5, 5), 2.0),
    );
    let short = |x: &Array4<f64>| cut(x, &[2, 3], 3);
    for loss in [attention_divergence, attention_regression] {
        let (value, gradient) = loss(&student, &teacher, Some(&mask)).unwrap();
        let (expected, expected_gradient) = loss(&short(&student), &short(&teacher), None).unwrap();
        assert_eq!(value, expected);
        assert_eq!(short(&gradient), expected_gradient);
    }
    let (student, teacher) = (numbers.array((1, 5, 3), 2.0), numbers.array((1, 5, 3), 2.0));
    let short = |x: &Array3<f64>| cut(x, &[1], 3);
    let (value, gradient) = hidden_state(&student, &teacher, None, Some(&mask)).unwrap();
    let (expected, expected_gradient) =
        hidden_state(&short(&student), &short(&teacher), None, None).unwrap();
    assert_eq!(value, expected);
    assert_eq!(short(&gradient.student), expected_gradient.student);
}

#[test]
fn scores_of_minus_infinity_are_masked_keys() {
    let mut numbers = Numbers::new(94);
    let (mut student, mut teacher) = (
        numbers.array((1, 1, 3, 3), 2.0),
        numbers.array((1, 1, 3, 3), 2.0),
    );
    // A causal mask: no token looks ahead.
    for x in [&mut student, &mut teacher] {
        for (query, key) in [(0, 1), (0, 2), (1, 2)] {
            x[[0, 0, query, key]] = f64::NEG_INFINITY;
        }
    }
    let (value, gradient) = attention_divergence(&student, &teacher, None).unwrap();
    let row =
        |x: &Array4<f64>, query: usize| x.slice(s![.., .., query..query + 1, ..=query]).to_owned();
    let rows: f64 = (0..3)
        .map(|q| {
            attention_divergence(&row(&student, q), &row(&teacher, q), None)
                .unwrap()
                .0
        })
        .sum();
    close(value, rows / 3.0, 1e-14);
    assert!(gradient.iter().all(|g| g.is_finite()));
    assert_eq!(gradient[[0, 0, 0, 2]], 0.0);
    let (value, _) = attention_regression(&student, &teacher, None).unwrap();
    let both = student.iter().zip(&teacher).filter(|(s, _)| s.is_finite());
    let squares: f64 = both.map(|(s, t)| (s - t) * (s - t)).sum();
    close(value, squares / 6.0, 1e-14);
}

#[test]
fn a_batch_of_which_nothing_counts_has_no_loss() {
    let mut numbers = Numbers::new(95);
    let x = numbers.array((1, 2, 4), 2.0);
    let y = numbers.array((1, 2, 4), 2.0);
    let nothing = Array2::from_elem((1, 2), false);
    let zeros = Array3::<f64>::zeros((1, 2, 4));
    let found = Relations::new(2).within(&x, &y, Some(&nothing)).unwrap();
    assert_eq!(found, (0.0, zeros.clone()));
    let (value, gradients) = hidden_state(&x, &y, None, Some(&nothing)).unwrap();
    assert_eq!((value, gradients.student), (0.0, zeros));
    let scores = numbers.array((1, 1, 2, 2), 2.0);
    for loss in [attention_divergence, attention_regression] {
        let found = loss(&scores, &(&scores + 1.0), Some(&nothing)).unwrap();
        assert_eq!(found, (0.0, Array4::zeros((1, 1, 2, 2))));
    }
}
