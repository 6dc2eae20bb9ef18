//! Elementwise work over threads: contiguous parts, so that no result depends on how many.

use super::Update;

/// Elements that are worth a thread of their own: about 0.1 ms of work.
const WORTH_A_THREAD: usize = 1 << 17;

/// Calls `job` with parts of `gradient` and the same parts of all `arrays`, which are as long.
///
/// On one thread, or where the arrays are small, `job` is called once, and nothing is allocated.
pub(super) fn over_threads<const N: usize>(
    threads: usize,
    gradient: &[f32],
    arrays: [&mut [f32]; N],
    job: impl Fn(&[f32], [&mut [f32]; N]) + Sync,
) {
    let parts = threads.min(gradient.len() / WORTH_A_THREAD);
    if parts < 2 {
        job(gradient, arrays);
        return;
    }
    let length = gradient.len().div_ceil(parts);
    let mut rest = arrays;
    std::thread::scope(|scope| {
        for part in gradient.chunks(length) {
            let arrays: [&mut [f32]; N] =
                std::array::from_fn(|k| rest[k].split_off_mut(..part.len()).unwrap_or_default());
            let job = &job;
            scope.spawn(move || job(part, arrays));
        }
    });
}

/// A parameter's part of a step: what it is made with, its gradient, and arrays that are as long.
pub(super) struct Piece<'a, C, const N: usize> {
    pub(super) settings: C,
    pub(super) gradient: &'a [f32],
    pub(super) arrays: [&'a mut [f32]; N],
}

impl<C: Copy, const N: usize> Piece<'_, C, N> {
    /// The first `count` elements; the others are left.
    fn split_off(&mut self, count: usize) -> Self {
        let (first, rest) = self.gradient.split_at(count);
        self.gradient = rest;
        Self {
            settings: self.settings,
            gradient: first,
            arrays: self
                .arrays
                .each_mut()
                .map(|array| array.split_off_mut(..count).unwrap_or_default()),
        }
    }
}

/// Parameters of a step: the value, and the first of their slots, as many as `job` works on.
pub(super) fn pieces<'a, C, const SLOTS: usize, const N: usize>(
    updates: Vec<Update<'a>>,
    settings: Vec<C>,
    slots: Vec<&'a mut [Vec<f32>; SLOTS]>,
) -> Vec<Piece<'a, C, N>> {
    let all = updates.into_iter().zip(settings).zip(slots);
    let piece = |((update, settings), slots): ((Update<'a>, C), &'a mut [Vec<f32>; SLOTS])| {
        let slots = slots.iter_mut().map(Vec::as_mut_slice);
        let mut arrays = std::iter::once(update.value).chain(slots);
        Piece {
            settings,
            gradient: update.gradient,
            arrays: std::array::from_fn(|_| arrays.next().unwrap_or_default()),
        }
    };
    all.map(piece).collect()
}

/// Calls `job` with all pieces, or parts of them, over threads that are started once and have as many elements each.
pub(super) fn over_threads_once<C: Copy + Send, const N: usize>(
    threads: usize,
    pieces: Vec<Piece<'_, C, N>>,
    job: impl Fn(C, &[f32], [&mut [f32]; N]) + Sync,
) {
    let run = |piece: Piece<'_, C, N>| job(piece.settings, piece.gradient, piece.arrays);
    let elements: usize = pieces.iter().map(|p| p.gradient.len()).sum();
    let parts = threads.min(elements / WORTH_A_THREAD);
    if parts < 2 {
        pieces.into_iter().for_each(run);
        return;
    }
    let loads = cut(pieces, elements.div_ceil(parts));
    std::thread::scope(|scope| {
        for load in loads {
            let run = &run;
            scope.spawn(move || load.into_iter().for_each(run));
        }
    });
}

/// Pieces put together, and cut where needed, to loads of `length` elements; the last one may have fewer.
fn cut<C: Copy, const N: usize>(
    pieces: Vec<Piece<'_, C, N>>,
    length: usize,
) -> Vec<Vec<Piece<'_, C, N>>> {
    let (mut loads, mut load, mut room) = (Vec::new(), Vec::new(), length);
    for mut piece in pieces {
        while piece.gradient.len() > room {
            load.push(piece.split_off(room));
            loads.push(std::mem::take(&mut load));
            room = length;
        }
        room -= piece.gradient.len();
        load.push(piece);
    }
    loads.push(load);
    loads
}

#[cfg(test)]
mod tests {
    use super::super::{
        Adam, AdamConfig, Lamb, LambConfig, Optimizer, OptimizerError, ParameterInfo, Plan, Sgd,
        SgdConfig, StepSettings, Update,
    };
    use super::*;

    const LENGTHS: [usize; 5] = [3, WORTH_A_THREAD + 5, 1, 2 * WORTH_A_THREAD - 2, 40];

    fn optimizers(threads: usize) -> Vec<Box<dyn Optimizer>> {
        let names = ["a", "b", "c", "d", "e"].into_iter().zip(LENGTHS);
        let parameters = names.map(|(name, n)| ParameterInfo::new(name, &[n, 1]));
        let plan = Plan::new(parameters.collect(), &[]).unwrap();
        let sgd = |momentum, nesterov| {
            let config = SgdConfig {
                momentum,
                nesterov,
                threads,
                ..SgdConfig::default()
            };
            Box::new(Sgd::new(plan.clone(), config).unwrap()) as Box<dyn Optimizer>
        };
        let adam = |amsgrad| {
            let config = AdamConfig {
                amsgrad,
                threads,
                ..AdamConfig::default()
            };
            Box::new(Adam::new(plan.clone(), config).unwrap()) as Box<dyn Optimizer>
        };
        let config = LambConfig {
            threads,
            ..LambConfig::default()
        };
        let lamb = Box::new(Lamb::new(plan.clone(), config).unwrap());
        vec![
            sgd(0.0, false),
            sgd(0.9, true),
            adam(false),
            adam(true),
            lamb,
        ]
    }

    fn values(salt: usize) -> Vec<Vec<f32>> {
        let of = |n: usize| (0..n).map(|i| ((i * 7 + salt) % 23) as f32 * 0.1 - 1.0);
        LENGTHS.iter().map(|&n| of(n).collect()).collect()
    }

    fn updates<'a>(values: &'a mut [Vec<f32>], gradients: &'a [Vec<f32>]) -> Vec<Update<'a>> {
        let pairs = values.iter_mut().zip(gradients).enumerate();
        pairs
            .map(|(index, (value, gradient))| Update {
                index,
                value,
                gradient,
            })
            .collect()
    }

    #[test]
    fn parameters_changed_together_have_the_same_bits_as_one_by_one() {
        for threads in [1, 2, 3, 16] {
            for (mut single, mut shared) in optimizers(1).into_iter().zip(optimizers(threads)) {
                let (mut one, mut all) = (values(1), values(1));
                for step in 0..3 {
                    let gradients = values(5 + step);
                    for optimizer in [&mut single, &mut shared] {
                        optimizer.begin_step(StepSettings::new(0.1)).unwrap();
                    }
                    for (index, value) in one.iter_mut().enumerate() {
                        single.update(index, value, &gradients[index]).unwrap();
                    }
                    shared.update_all(updates(&mut all, &gradients)).unwrap();
                }
                assert!(one == all, "{} at {threads} threads", single.kind());
            }
        }
    }

    #[test]
    fn parameters_that_do_not_fit_leave_all_as_they_are() {
        let mut sgd = optimizers(2).remove(1);
        sgd.begin_step(StepSettings::new(0.1)).unwrap();
        let (mut changed, gradients) = (values(1), values(2));
        let mut twice = updates(&mut changed, &gradients);
        twice[4].index = 0;
        twice[4].value = &mut [];
        assert!(matches!(
            sgd.update_all(twice),
            Err(OptimizerError::Length { .. })
        ));
        let (mut a, mut b) = ([1.0f32; 3], [1.0f32; 3]);
        let of = |value| Update {
            index: 0,
            value,
            gradient: &[1.0; 3],
        };
        let error = sgd.update_all(vec![of(&mut a), of(&mut b)]).unwrap_err();
        assert_eq!(error.to_string(), "parameter `a` is listed twice");
        assert!(changed == values(1) && (a, b) == ([1.0; 3], [1.0; 3]));
        assert!(sgd.state().updates.values().all(|&count| count == 0));
    }

    #[test]
    fn every_element_is_worked_on_once_at_any_thread_count() {
        let n = 5 * WORTH_A_THREAD + 3;
        let gradient: Vec<f32> = (0..n).map(|i| i as f32).collect();
        for threads in [0, 1, 2, 3, 16] {
            let (mut a, mut b) = (vec![1.0f32; n], vec![2.0f32; n]);
            over_threads(threads, &gradient, [&mut a, &mut b], |g, [a, b]| {
                for ((g, a), b) in g.iter().zip(a).zip(b) {
                    *a += g;
                    *b -= g;
                }
            });
            for (i, g) in gradient.iter().enumerate() {
                assert_eq!((a[i], b[i]), (1.0 + g, 2.0 - g));
            }
        }
    }
}
