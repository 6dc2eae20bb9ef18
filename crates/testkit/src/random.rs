//! Numbers that look random and are the same on every machine.

/// A linear congruential generator (Knuth's constants of 64 bits), of which the upper bits are used.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` starts.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of `0..1`.
    pub fn unit(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32
    }

    /// `count` numbers of `low..high`.
    pub fn numbers(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        let next = |_| low + (high - low) * self.unit();
        (0..count).map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fill_their_range() {
        let numbers = Random::new(1).numbers(10_000, -2.0, 4.0);
        assert!(numbers.iter().all(|x| (-2.0..4.0).contains(x)));
        let mean = numbers.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 1.0).abs() < 0.1, "{mean}");
        assert_ne!(numbers, Random::new(2).numbers(10_000, -2.0, 4.0));
    }
}
