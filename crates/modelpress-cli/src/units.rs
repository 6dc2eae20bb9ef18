//! Numbers as people read them.

use std::time::Duration;

/// As in `312.3 kB`; 1 kB is 1,000 bytes.
pub(crate) fn bytes(n: u64) -> String {
    scaled(n as f64, &["B", "kB", "MB", "GB", "TB"])
}

/// As in `12.5 M`.
pub(crate) fn count(n: u64) -> String {
    scaled(n as f64, &["", "k", "M", "G", "T"])
        .trim_end()
        .to_owned()
}

/// As in `4.21 ms`.
pub(crate) fn time(t: Duration) -> String {
    let s = t.as_secs_f64();
    match s {
        _ if s >= 1.0 => format!("{s:.2} s"),
        _ if s >= 1e-3 => format!("{:.3} ms", s * 1e3),
        _ => format!("{:.1} µs", s * 1e6),
    }
}

/// As in `75.48 % [74.63, 76.31]`.
pub(crate) fn share(value: f64, [low, high]: [f64; 2]) -> String {
    format!(
        "{:.2} % [{:.2}, {:.2}]",
        value * 100.0,
        low * 100.0,
        high * 100.0
    )
}

/// As in `41.2 dB`, `exact` where there is no noise.
pub(crate) fn decibel(value: f64) -> String {
    if value == f64::INFINITY {
        "exact".to_owned()
    } else {
        format!("{value:.1} dB")
    }
}

pub(crate) fn milliseconds(t: Duration) -> f64 {
    t.as_secs_f64() * 1e3
}

fn scaled(n: f64, units: &[&str]) -> String {
    let (mut n, mut at) = (n, 0);
    while n >= 999.95 && at + 1 < units.len() {
        n /= 1000.0;
        at += 1;
    }
    match at {
        0 => format!("{n} {}", units[at]),
        _ => format!("{n:.1} {}", units[at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_the_unit_that_leaves_three_digits() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(312_345), "312.3 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(count(12_500_000), "12.5 M");
        assert_eq!(count(7), "7");
        assert_eq!(time(Duration::from_micros(4210)), "4.210 ms");
        assert_eq!(share(0.7548, [0.7463, 0.7631]), "75.48 % [74.63, 76.31]");
        assert_eq!(decibel(f64::INFINITY), "exact");
    }
}
