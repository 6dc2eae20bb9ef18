//! Gradients of the losses on features, and what their settings mean.

use crate::differences::{close, holds};
use crate::samples::Numbers;
use compress_kd::features::{
    AttentionDistance, AttentionTransfer, CosineEmbedding, Projection, cosine_embedding, hint,
};
use ndarray::{Array1, Axis, arr1, arr2, arr3};

#[test]
fn hints_have_their_gradients_by_student_weight_and_bias() {
    for (seed, (n, d_s, d_t, h, w)) in [(1, 1, 1, 1, 1), (2, 3, 4, 2, 3), (3, 4, 2, 1, 2)]
        .into_iter()
        .enumerate()
    {
        let mut numbers = Numbers::new(seed as u64);
        let student = numbers.array((n, d_s, h, w), 2.0);
        let teacher = numbers.array((n, d_t, h, w), 2.0);
        let weight = numbers.array((d_t, d_s), 1.0);
        let bias: Array1<f64> = numbers.array(d_t, 1.0);
        for bias in [None, Some(bias)] {
            let with = |weight, bias| Projection::new(weight, bias).unwrap();
            let projection = with(weight.clone(), bias.clone());
            holds(&student, |x| {
                let (value, g) = hint(x, &teacher, Axis(1), Some(&projection))?;
                Ok((value, g.student))
            });
            holds(&weight, |weight| {
                let projection = with(weight.clone(), bias.clone());
                let (value, g) = hint(&student, &teacher, Axis(1), Some(&projection))?;
                Ok((value, g.projection.unwrap().weight))
            });
            if let Some(bias) = &bias {
                holds(bias, |bias| {
                    let projection = with(weight.clone(), Some(bias.clone()));
                    let (value, g) = hint(&student, &teacher, Axis(1), Some(&projection))?;
                    Ok((value, g.projection.unwrap().bias.unwrap()))
                });
            }
        }
    }
}

#[test]
fn hints_of_one_width_need_no_projection() {
    let mut numbers = Numbers::new(1);
    let (student, teacher) = (numbers.array((3, 5, 4), 2.0), numbers.array((3, 5, 4), 2.0));
    holds(&student, |x| {
        let (value, g) = hint(x, &teacher, Axis(2), None)?;
        assert!(g.projection.is_none());
        Ok((value, g.student))
    });
    let (value, _) = hint(&student, &teacher, Axis(2), None).unwrap();
    let squares = (&student - &teacher).mapv(|d| d * d).sum();
    close(value, squares / 6.0, 1e-14);
}

#[test]
fn a_projection_passes_gradients_of_any_loss_back() {
    let mut numbers = Numbers::new(2);
    let x = numbers.array((4, 3), 2.0);
    let teacher = numbers.array((4, 6), 2.0);
    let projection = Projection::random(3, 6, 5).unwrap();
    let projection = projection.with_bias(numbers.array(6, 1.0)).unwrap();
    holds(&x, |x| {
        let y = projection.forward(x, Axis(1))?;
        let (value, by_y) = cosine_embedding(&y, &teacher)?;
        Ok((value, projection.backward(x, &by_y, Axis(1))?.student))
    });
    holds(&projection.weight, |weight| {
        let projection = Projection::new(weight.clone(), projection.bias.clone())?;
        let y = projection.forward(&x, Axis(1))?;
        let (value, by_y) = cosine_embedding(&y, &teacher)?;
        let gradient = projection.backward(&x, &by_y, Axis(1))?.projection.unwrap();
        Ok((value, gradient.weight))
    });
}

#[test]
fn attention_transfer_has_its_gradient_for_every_power_and_norm() {
    for (seed, (n, c_s, c_t, h, w)) in [(1, 1, 1, 1, 2), (2, 3, 5, 2, 3), (3, 4, 1, 3, 1)]
        .into_iter()
        .enumerate()
    {
        let mut numbers = Numbers::new(20 + seed as u64);
        // Powers have no second derivative at zero, where differences hold nothing.
        let away = |x: f64| x + 0.1 * x.signum();
        let student = numbers.array((n, c_s, h, w), 2.0).mapv(away);
        let teacher = numbers.array((n, c_t, h, w), 2.0);
        for power in [1.0, 1.5, 2.0, 4.0] {
            for distance in [
                AttentionDistance::SquaredMean,
                AttentionDistance::Norm(1.0),
                AttentionDistance::Norm(2.0),
                AttentionDistance::Norm(3.0),
            ] {
                let transfer = AttentionTransfer::new(power, distance);
                holds(&student, |x| transfer.loss(x, &teacher));
            }
        }
    }
}

#[test]
fn attention_maps_are_the_papers() {
    // Q_S = (1 + 4, 9) = (5, 9), Q_T = (3, 4): by hand.
    let student = arr3(&[[[1.0, 0.0], [-2.0, 3.0]]]);
    let teacher = arr3(&[[[3f64.sqrt(), -2.0]]]);
    let length = 106f64.sqrt();
    let (a, b) = (5.0 / length - 0.6, 9.0 / length - 0.8);
    let norm = AttentionTransfer::new(2.0, AttentionDistance::Norm(2.0));
    close(
        norm.loss(&student, &teacher).unwrap().0,
        0.5 * a.hypot(b),
        1e-14,
    );
    let squares = AttentionTransfer::default();
    close(
        squares.loss(&student, &teacher).unwrap().0,
        (a * a + b * b) / 2.0,
        1e-13,
    );
}

#[test]
fn attention_maps_do_not_overflow() {
    let mut numbers = Numbers::new(3);
    let student = numbers.array((2, 3, 4), 1.0);
    let teacher = numbers.array((2, 2, 4), 1.0);
    let transfer = AttentionTransfer::new(4.0, AttentionDistance::SquaredMean);
    let (value, _) = transfer.loss(&student, &teacher).unwrap();
    for scale in [1e100, 1e-100] {
        let (found, gradient) = transfer.loss(&(&student * scale), &teacher).unwrap();
        close(found, value, 1e-12);
        assert!(gradient.iter().any(|&g| g != 0.0));
    }
}

#[test]
fn cosine_losses_have_their_gradients() {
    for (seed, shape) in [(1, 1), (1, 4), (5, 3), (4, 8)].into_iter().enumerate() {
        let mut numbers = Numbers::new(40 + seed as u64);
        let (student, teacher) = (numbers.array(shape, 3.0), numbers.array(shape, 3.0));
        holds(&student, |x| cosine_embedding(x, &teacher));
        let labels = Array1::from_shape_fn(shape.0, |i| if i % 2 == 0 { -1 } else { 1 });
        for margin in [-1.0, 0.0, 0.4] {
            let loss = CosineEmbedding::new(margin);
            holds(&student, |x| loss.loss(x, &teacher, &labels));
        }
    }
}

#[test]
fn cosines_are_of_known_angles() {
    let student = arr2(&[[3.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]);
    let teacher = arr2(&[[0.0, 2.0], [4.0, 4.0], [5.0, 0.0]]);
    close(cosine_embedding(&student, &teacher).unwrap().0, 1.0, 1e-15);
    let apart = CosineEmbedding::new(0.25).loss(&student, &teacher, &arr1(&[1, -1, -1]));
    close(apart.unwrap().0, (1.0 + 0.75) / 3.0, 1e-15);
}
