//! The one generator behind everything that is drawn: ChaCha with 8 rounds (Bernstein 2008), a function of a key and a counter.
//!
//! A stream is named by `(seed, purpose, epoch, index)`, which together are its 256-bit key (the nonce counts repetitions): no stream depends on how much was drawn
//! from another, so that sample 17 of epoch 3 is augmented alike whoever asks for it, and when. The conversions to numbers are
//! written here, so that they do not change with a library.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::{Rng, SeedableRng};

/// What a stream is drawn for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The order of samples within an epoch.
    Shuffle,
    /// The order in which a mixture takes its sources.
    Mixture,
    /// Which samples are held out.
    Split,
    /// The step of this number of an augmentation.
    Augment(u32),
    /// Values that parameters begin with.
    Initialize,
    /// Dropout masks and other draws within the model.
    Model,
    /// Whatever a caller numbers.
    Custom(u32),
}

impl Purpose {
    fn code(self) -> u64 {
        let (kind, number) = match self {
            Self::Shuffle => (1, 0),
            Self::Mixture => (2, 0),
            Self::Split => (3, 0),
            Self::Augment(step) => (4, step),
            Self::Initialize => (5, 0),
            Self::Model => (6, 0),
            Self::Custom(number) => (7, number),
        };
        (kind << 32) | u64::from(number)
    }
}

/// A stream of random numbers.
///
/// # Examples
/// ```
/// use compress_train::random::{Purpose, Random};
/// let mut a = Random::new(7, Purpose::Shuffle, 0, 0);
/// let mut b = Random::new(7, Purpose::Shuffle, 0, 0);
/// assert_eq!(a.below(1000), b.below(1000));
/// ```
#[derive(Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a seed for a purpose, an epoch and an index within it.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Self {
        let mut key = [0; 32];
        let words = [seed, purpose.code(), epoch, index];
        for (part, word) in key.chunks_exact_mut(8).zip(words) {
            part.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The stream of the same name for repetition `number` of what it is drawn for, independent of that of the others; 0 is this one.
    ///
    /// It starts at its beginning, whatever was drawn from this one.
    #[must_use]
    pub fn repetition(mut self, number: u32) -> Self {
        self.0.set_stream(number.into());
        self
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number of `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of `[low, high)`; `low` where the range is empty.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low).max(0.0) * self.unit()
    }

    /// Whether an event of probability `p` occurs.
    pub fn coin(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A whole number of `0..n`, all equally probable (Lemire 2019, arXiv:1805.10941); 0 for `n = 0`.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// A whole number of `low..=high`; `low` where the range is empty.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let span = high.wrapping_sub(low) as u64;
        if high < low {
            low
        } else if span == u64::MAX {
            self.next_u64() as i64
        } else {
            low.wrapping_add(self.below(span + 1) as i64)
        }
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A number of the gamma distribution of shape `alpha > 0` and scale 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            let boost = (1.0 - self.unit()).powf(1.0 / alpha);
            return self.gamma(alpha + 1.0) * boost;
        }
        let d = alpha - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = 1.0 - self.unit();
            if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A number of the beta distribution of two positive shapes.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let (x, y) = (self.gamma(a), self.gamma(b));
        if x + y > 0.0 { x / (x + y) } else { 0.5 }
    }

    /// Puts a slice into a random order (Fisher and Yates, as Durstenfeld 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// The numbers `0..n` in a random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(index: u64) -> Random {
        Random::new(3, Purpose::Custom(9), 5, index)
    }

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / 40_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 40_000.0;
        (mean, variance)
    }

    #[test]
    fn the_stream_of_the_zero_key_is_chacha8() {
        // Key and nonce of zeros (draft-strombergson-chacha-test-vectors-01, TC1, 8 rounds): 3e 00 ef 2f 89 5f 40 d6 …
        let mut random = Random(ChaCha8Rng::from_seed([0; 32]));
        assert_eq!(random.next_u32(), 0x2fef_003e);
        assert_eq!(random.next_u32(), 0xd640_5f89);
    }

    #[test]
    fn every_part_of_the_name_gives_another_stream() {
        let first =
            |seed, purpose, epoch, index| Random::new(seed, purpose, epoch, index).next_u64();
        let base = first(1, Purpose::Split, 1, 1);
        assert_eq!(base, first(1, Purpose::Split, 1, 1));
        for other in [
            first(2, Purpose::Split, 1, 1),
            first(1, Purpose::Shuffle, 1, 1),
            first(1, Purpose::Split, 2, 1),
            first(1, Purpose::Split, 1, 2),
        ] {
            assert_ne!(base, other);
        }
        let repeated = |n| {
            Random::new(1, Purpose::Split, 1, 1)
                .repetition(n)
                .next_u64()
        };
        assert_eq!(repeated(0), base);
        assert!(repeated(1) != base && repeated(1) != repeated(2));
        assert_ne!(
            first(1, Purpose::Augment(0), 0, 0),
            first(1, Purpose::Augment(1), 0, 0)
        );
    }

    #[test]
    fn integers_fill_their_range_evenly() {
        let mut random = stream(0);
        let mut counts = [0; 7];
        for _ in 0..70_000 {
            counts[(random.integer(-3, 3) + 3) as usize] += 1;
        }
        // Six degrees of freedom: 22.5 is exceeded once in a thousand.
        let chi2: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(chi2 < 22.5, "{counts:?}");
        assert_eq!(
            (random.below(0), random.below(1), random.integer(4, 2)),
            (0, 0, 4)
        );
        assert!((i64::MIN..=i64::MAX).contains(&random.integer(i64::MIN, i64::MAX)));
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut random = stream(1);
        let (mean, variance) = moments(|| random.normal());
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "{mean} {variance}"
        );
        for alpha in [0.4, 1.0, 5.0] {
            let (mean, variance) = moments(|| random.gamma(alpha));
            assert!((mean / alpha - 1.0).abs() < 0.04, "{alpha}: {mean}");
            assert!((variance / alpha - 1.0).abs() < 0.1, "{alpha}: {variance}");
        }
        let (mean, variance) = moments(|| random.beta(0.2, 0.2));
        assert!((mean - 0.5).abs() < 0.01 && (variance - 0.25 / 1.4).abs() < 0.01);
    }

    #[test]
    fn a_permutation_holds_each_number_once() {
        let mut order = stream(2).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
