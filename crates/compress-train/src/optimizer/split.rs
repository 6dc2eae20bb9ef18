//! Elementwise work over threads: contiguous parts, so that no result depends on how many.

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

#[cfg(test)]
mod tests {
    use super::*;

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
