//! Rates from measured steps.
//!
//! Fitted is `t = a C + b M + t₀` with `a, b, t₀ ≥ 0` by least squares of the relative errors: each sample is divided by its time. With three
//! unknowns, the best of the seven subsets that may be positive is the solution (of a convex problem, whose optimum has some set of
//! positive unknowns and is their free optimum).

use super::machine::{Line, Rate};

/// What one step did, and the time it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) macs: f64,
    pub(super) bytes: f64,
    pub(super) seconds: f64,
}

/// Times that the greater of two terms is told from the lesser one, and both are fitted again.
const ROUNDS: usize = 8;

/// The rates of the samples of one class; `None` without samples.
pub(super) fn rate(samples: &[Sample]) -> Option<Rate> {
    let sum = least_squares(samples)?;
    Some(Rate {
        sum,
        overlapped: overlapped(samples, sum),
    })
}

/// `t = max(a C, b M) + t₀`: the term that is greater is taken as the whole, and the terms are fitted to the samples so divided.
fn overlapped(samples: &[Sample], start: Line) -> Line {
    let mut best = (error(samples, start, Line::overlapped), start);
    let mut line = start;
    for _ in 0..ROUNDS {
        let divided: Vec<Sample> = samples
            .iter()
            .map(|s| match line.per_mac * s.macs >= line.per_byte * s.bytes {
                true => Sample { bytes: 0.0, ..*s },
                false => Sample { macs: 0.0, ..*s },
            })
            .collect();
        let Some(mut next) = least_squares(&divided) else {
            break;
        };
        // A term that is nowhere the greater one is as it was.
        if divided.iter().all(|s| s.macs == 0.0) {
            next.per_mac = line.per_mac;
        }
        if divided.iter().all(|s| s.bytes == 0.0) {
            next.per_byte = line.per_byte;
        }
        line = next;
        let found = error(samples, line, Line::overlapped);
        if found < best.0 {
            best = (found, line);
        }
    }
    best.1
}

fn error(samples: &[Sample], line: Line, form: fn(&Line, f64, f64) -> f64) -> f64 {
    let errors = samples.iter().map(|s| {
        let relative = form(&line, s.macs, s.bytes) / s.seconds - 1.0;
        relative * relative
    });
    errors.sum()
}

impl Line {
    /// `max(a C, b M) + t₀`.
    pub(super) fn overlapped(&self, macs: f64, bytes: f64) -> f64 {
        (self.per_mac * macs).max(self.per_byte * bytes) + self.per_call
    }
}

fn least_squares(samples: &[Sample]) -> Option<Line> {
    let rows: Vec<[f64; 3]> = samples
        .iter()
        .filter(|s| s.seconds > 0.0)
        .map(|s| [s.macs / s.seconds, s.bytes / s.seconds, 1.0 / s.seconds])
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut best: Option<(f64, [f64; 3])> = None;
    for subset in 1..8u8 {
        let members: Vec<usize> = (0..3).filter(|i| subset >> i & 1 == 1).collect();
        let Some(x) = solve(&rows, &members) else {
            continue;
        };
        if x.iter().any(|&v| v < 0.0 || !v.is_finite()) {
            continue;
        }
        let residual = rows.iter().map(|row| {
            let found: f64 = row.iter().zip(&x).map(|(a, x)| a * x).sum();
            (found - 1.0) * (found - 1.0)
        });
        let residual: f64 = residual.sum();
        if best.is_none_or(|(least, _)| residual < least) {
            best = Some((residual, x));
        }
    }
    let (_, [per_mac, per_byte, per_call]) = best?;
    Some(Line {
        per_mac,
        per_byte,
        per_call,
    })
}

/// The free optimum over the columns `members`, by the normal equations of columns of length 1; `None` where they do not determine it.
fn solve(rows: &[[f64; 3]], members: &[usize]) -> Option<[f64; 3]> {
    let norm = |i: usize| rows.iter().map(|r| r[i] * r[i]).sum::<f64>().sqrt();
    let norms: Vec<f64> = members.iter().map(|&i| norm(i)).collect();
    if norms.iter().any(|n| *n <= 0.0 || !n.is_finite()) {
        return None;
    }
    let n = members.len();
    let mut system = [[0.0f64; 4]; 3];
    for (r, (&i, ni)) in members.iter().zip(&norms).enumerate() {
        for (c, (&j, nj)) in members.iter().zip(&norms).enumerate() {
            system[r][c] = rows.iter().map(|row| row[i] / ni * row[j] / nj).sum();
        }
        system[r][3] = rows.iter().map(|row| row[i] / ni).sum();
    }
    for pivot in 0..n {
        let largest = (pivot..n).max_by(|&a, &b| {
            let at = |r: usize| system[r][pivot].abs();
            at(a).total_cmp(&at(b))
        })?;
        system.swap(pivot, largest);
        if system[pivot][pivot].abs() < 1e-9 {
            return None;
        }
        for r in (0..n).filter(|&r| r != pivot) {
            let factor = system[r][pivot] / system[pivot][pivot];
            let line = system[pivot];
            let reduced = system[r].iter_mut().zip(line);
            reduced.for_each(|(a, b)| *a -= factor * b);
        }
    }
    let mut x = [0.0; 3];
    for (r, (&i, ni)) in members.iter().zip(&norms).enumerate() {
        x[i] = system[r][3] / system[r][r] / ni;
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(time: impl Fn(f64, f64) -> f64) -> Vec<Sample> {
        let sizes = [(1e3, 2e3), (1e6, 1e3), (1e4, 8e6), (5e6, 5e6), (2e7, 1e5)];
        let sample = |(macs, bytes)| Sample {
            macs,
            bytes,
            seconds: time(macs, bytes),
        };
        sizes.into_iter().map(sample).collect()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} and {b}");
    }

    #[test]
    fn a_sum_is_found_again() {
        let rate = rate(&samples(|c, m| 2e-10 * c + 5e-11 * m + 3e-7)).unwrap();
        close(rate.sum.per_mac, 2e-10);
        close(rate.sum.per_byte, 5e-11);
        close(rate.sum.per_call, 3e-7);
    }

    #[test]
    fn the_greater_term_is_found_again() {
        let rate = rate(&samples(|c, m| (2e-10 * c).max(5e-11 * m) + 3e-7)).unwrap();
        close(rate.overlapped.per_mac, 2e-10);
        close(rate.overlapped.per_byte, 5e-11);
        close(rate.overlapped.per_call, 3e-7);
    }

    #[test]
    fn no_rate_is_negative() {
        // The time falls with the bytes.
        let rate = rate(&samples(|c, m| 1e-6 + 1e-10 * c + 1e-9 / m)).unwrap();
        let all = [rate.sum, rate.overlapped];
        for line in all {
            assert!(line.per_mac >= 0.0 && line.per_byte >= 0.0 && line.per_call >= 0.0);
        }
        assert_eq!(super::rate(&[]), None);
    }

    #[test]
    fn one_sample_is_met() {
        let one = Sample {
            macs: 0.0,
            bytes: 1e6,
            seconds: 1e-4,
        };
        let line = rate(&[one]).unwrap().sum;
        close(1e6 * line.per_byte + line.per_call, 1e-4);
    }
}
