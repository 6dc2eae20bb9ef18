//! The table of what a machine does per second.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What this machine does per second with one instruction set and a number of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// The name of the processor.
    pub cpu: String,
    /// The instruction set of the kernels.
    pub isa: String,
    /// Threads of one run.
    pub threads: usize,
    /// The version of this crate, whose kernels were measured.
    pub version: String,
    /// Multiply-accumulates of f32 per second in a product of matrices of 512 x 512.
    pub f32_macs_per_second: f64,
    /// Multiply-accumulates of bytes per second in the same product.
    pub int8_macs_per_second: f64,
    /// How fast sums of two arrays stream, by the bytes of the three; the smallest first.
    pub bandwidths: Vec<Bandwidth>,
    /// Seconds of a step that does nothing.
    pub step_seconds: f64,
    /// Rates by class of steps: `kernel/kind`.
    pub rates: BTreeMap<String, Rate>,
}

/// How fast memory is that holds this much.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Bandwidth {
    /// Bytes that are read and written over and over again.
    pub working_set: u64,
    /// Bytes read and written per second.
    pub bytes_per_second: f64,
}

/// The rates of one class of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rate {
    /// Fitted to the sum of arithmetic and movement.
    pub sum: Line,
    /// Fitted to the greater of the two.
    pub overlapped: Line,
}

/// Seconds per unit: the inverse of the rates, so that what takes no time is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// Seconds per multiply-accumulate: `1 / F`.
    pub per_mac: f64,
    /// Seconds per byte of activations: `1 / B`.
    pub per_byte: f64,
    /// Seconds per call: `t₀`.
    pub per_call: f64,
}

/// The kind of numbers that are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32.
    Float,
    /// Bytes, with exact sums.
    Int8,
}

/// The roof over a step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Roof {
    /// Multiply-accumulates per byte moved.
    pub intensity: f64,
    /// Multiply-accumulates per second that the machine could do at this intensity.
    pub macs_per_second: f64,
}

impl Machine {
    /// The peak of arithmetic in multiply-accumulates per second.
    pub fn peak(&self, arithmetic: Arithmetic) -> f64 {
        match arithmetic {
            Arithmetic::Float => self.f32_macs_per_second,
            Arithmetic::Int8 => self.int8_macs_per_second,
        }
    }

    /// Bytes per second of memory that holds `working_set` bytes: those of the next larger array that was measured.
    pub fn bandwidth(&self, working_set: u64) -> f64 {
        let holds = |b: &&Bandwidth| b.working_set >= working_set;
        let found = self.bandwidths.iter().find(holds);
        found
            .or(self.bandwidths.last())
            .map_or(f64::INFINITY, |b| b.bytes_per_second)
    }

    /// The roof over a step that does `macs` and moves `bytes`: `min(peak, intensity · bandwidth)`, with the bandwidth of memory
    /// that holds those bytes. `None` of no arithmetic or no bytes.
    pub fn roof(&self, arithmetic: Arithmetic, macs: u64, bytes: u64) -> Option<Roof> {
        if macs == 0 || bytes == 0 {
            return None;
        }
        let intensity = macs as f64 / bytes as f64;
        let reached = intensity * self.bandwidth(bytes);
        Some(Roof {
            intensity,
            macs_per_second: reached.min(self.peak(arithmetic)),
        })
    }

    /// The rate of a class, or of the nearest one that was measured: of the same kernel, else the peaks.
    pub(super) fn rate(&self, class: &str) -> Rate {
        if let Some(rate) = self.rates.get(class) {
            return *rate;
        }
        let (kernel, kind) = class.split_once('/').unwrap_or((class, ""));
        // The slowest class of the kernel: what was not measured is rarely what was tuned.
        let of_kernel = self.rates.iter().filter(|(known, _)| {
            let known = known.split_once('/').map_or(known.as_str(), |(k, _)| k);
            known == kernel
        });
        let cost = |rate: &Rate| rate.sum.per_mac + rate.sum.per_byte;
        let slowest = of_kernel.max_by(|a, b| cost(a.1).total_cmp(&cost(b.1)));
        if let Some((_, rate)) = slowest {
            return *rate;
        }
        let integers = class.contains("int8") || kind.contains("Integer");
        let arithmetic = if integers {
            Arithmetic::Int8
        } else {
            Arithmetic::Float
        };
        let line = Line {
            per_mac: 1.0 / (self.peak(arithmetic) * UNMEASURED),
            per_byte: 1.0 / (self.bandwidth(0) * UNMEASURED),
            per_call: self.step_seconds,
        };
        Rate {
            sum: line,
            overlapped: line,
        }
    }

    /// Whether all numbers are such as were measured.
    pub(super) fn is_sound(&self) -> bool {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let line = |l: &Line| {
            let all = [l.per_mac, l.per_byte, l.per_call];
            all.iter().all(|x| x.is_finite() && *x >= 0.0)
        };
        positive(self.f32_macs_per_second)
            && positive(self.int8_macs_per_second)
            && positive(self.step_seconds)
            && !self.bandwidths.is_empty()
            && self.bandwidths.is_sorted_by_key(|b| b.working_set)
            && self.bandwidths.iter().all(|b| positive(b.bytes_per_second))
            && !self.rates.is_empty()
            && self
                .rates
                .values()
                .all(|r| line(&r.sum) && line(&r.overlapped))
    }
}

/// The part of the peaks that a kernel is taken to reach of which nothing was measured.
const UNMEASURED: f64 = 0.5;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 10⁹ f32 and 4·10⁹ int8 per second, 10¹⁰ bytes per second in 1,000 bytes, 10⁹ beyond.
    pub(in crate::roofline) fn machine() -> Machine {
        let bandwidth = |working_set, bytes_per_second| Bandwidth {
            working_set,
            bytes_per_second,
        };
        let line = Line {
            per_mac: 2e-9,
            per_byte: 1e-10,
            per_call: 1e-6,
        };
        let rate = Rate {
            sum: line,
            overlapped: line,
        };
        Machine {
            cpu: "made up".to_owned(),
            isa: "scalar".to_owned(),
            threads: 1,
            version: "0".to_owned(),
            f32_macs_per_second: 1e9,
            int8_macs_per_second: 4e9,
            bandwidths: vec![bandwidth(1000, 1e10), bandwidth(1_000_000, 1e9)],
            step_seconds: 1e-7,
            rates: [("gemm.f32/product".to_owned(), rate)].into(),
        }
    }

    #[test]
    fn the_roof_is_the_lesser_of_peak_and_bandwidth() {
        let machine = machine();
        // One per byte: 10¹⁰ would stream out of the cache, the peak is 10⁹.
        let roof = machine.roof(Arithmetic::Float, 500, 500).unwrap();
        assert_eq!((roof.intensity, roof.macs_per_second), (1.0, 1e9));
        // A hundredth per byte from memory: 10⁷.
        let roof = machine.roof(Arithmetic::Int8, 1000, 100_000).unwrap();
        assert_eq!(roof.macs_per_second, 1e7);
        assert_eq!(machine.roof(Arithmetic::Float, 0, 5), None);
        assert_eq!(machine.roof(Arithmetic::Float, 5, 0), None);
        // Beyond what was measured, the largest array counts.
        assert_eq!(machine.bandwidth(u64::MAX), 1e9);
    }

    #[test]
    fn a_class_that_was_not_measured_takes_the_nearest() {
        let machine = machine();
        assert_eq!(machine.rate("gemm.f32/row").sum.per_mac, 2e-9);
        let other = machine.rate("conv.int8/depthwise").sum;
        assert!((other.per_mac / (1.0 / (4e9 * UNMEASURED)) - 1.0).abs() < 1e-12);
        assert_eq!(other.per_call, 1e-7);
    }

    #[test]
    fn numbers_that_nobody_measures_are_unsound() {
        assert!(machine().is_sound());
        for spoil in [
            |m: &mut Machine| m.f32_macs_per_second = 0.0,
            |m: &mut Machine| m.bandwidths.clear(),
            |m: &mut Machine| m.bandwidths[0].bytes_per_second = f64::NAN,
            |m: &mut Machine| m.rates.clear(),
            |m: &mut Machine| m.step_seconds = f64::INFINITY,
        ] {
            let mut machine = machine();
            spoil(&mut machine);
            assert!(!machine.is_sound(), "{machine:?}");
        }
    }
}
