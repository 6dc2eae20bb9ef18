//! MT19937 with the derived streams of NumPy's `RandomState`, so that the same seed gives the numbers of
//! ONNX's own reference implementation.
//! Matsumoto and Nishimura, ACM TOMACS 8(1), 1998; <https://numpy.org/doc/stable/reference/random/legacy.html>.

const N: usize = 624;
const M: usize = 397;

/// The generator.
#[derive(Clone, Debug)]
pub struct MersenneTwister {
    state: Vec<u32>,
    next: usize,
    /// The second number of the last pair of [`MersenneTwister::normal`].
    spare: Option<f64>,
}

impl MersenneTwister {
    /// A generator with this seed.
    pub fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(N);
        let mut x = seed;
        for i in 1..=N as u32 {
            state.push(x);
            x = 1_812_433_253u32.wrapping_mul(x ^ (x >> 30)).wrapping_add(i);
        }
        Self {
            state,
            next: N,
            spare: None,
        }
    }

    /// Uniform in `[0, 1)`, with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let high = f64::from(self.bits() >> 5);
        let low = f64::from(self.bits() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// Normal with mean 0 and variance 1, by Marsaglia's polar method.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let a = 2.0 * self.uniform() - 1.0;
            let b = 2.0 * self.uniform() - 1.0;
            let square = a * a + b * b;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(factor * a);
                return factor * b;
            }
        }
    }

    fn bits(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % N] & 0x7fff_ffff;
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ y >> 1 ^ twist;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_those_of_numpy() {
        let mut uniform = MersenneTwister::new(0);
        assert_eq!(uniform.uniform(), 0.548_813_503_927_324_8);
        assert_eq!(uniform.uniform(), 0.715_189_366_372_419_5);
        let mut normal = MersenneTwister::new(0);
        let drawn = [normal.normal(), normal.normal(), normal.normal()];
        let expected = [
            1.764_052_345_967_664,
            0.400_157_208_367_223_3,
            0.978_737_984_105_739_2,
        ];
        for (d, e) in drawn.iter().zip(expected) {
            assert!((d - e).abs() < 1e-15, "{d} {e}");
        }
    }
}
