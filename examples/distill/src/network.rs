//! A network of one hidden layer, trained by stochastic gradient descent with momentum.

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};

/// `z = relu(x W1 + b1) W2 + b2`.
pub(crate) struct Network {
    parameters: Parameters,
    velocity: Parameters,
}

struct Parameters {
    w1: Array2<f32>,
    b1: Array1<f32>,
    w2: Array2<f32>,
    b2: Array1<f32>,
}

/// What the backward pass needs of the forward pass.
pub(crate) struct Pass {
    pub(crate) logits: Array2<f32>,
    hidden: Array2<f32>,
}

impl Network {
    pub(crate) fn new(inputs: usize, hidden: usize, classes: usize, random: &mut Random) -> Self {
        let mut layer = |inputs: usize, outputs: usize| {
            let bound = (6.0 / inputs as f32).sqrt(); // He et al. 2015, uniform
            Array2::from_shape_simple_fn((inputs, outputs), || bound * random.signed())
        };
        let (w1, w2) = (layer(inputs, hidden), layer(hidden, classes));
        let velocity = Parameters {
            w1: Array2::zeros(w1.raw_dim()),
            b1: Array1::zeros(hidden),
            w2: Array2::zeros(w2.raw_dim()),
            b2: Array1::zeros(classes),
        };
        let (b1, b2) = (Array1::zeros(hidden), Array1::zeros(classes));
        let parameters = Parameters { w1, b1, w2, b2 };
        Self {
            parameters,
            velocity,
        }
    }

    pub(crate) fn forward(&self, x: ArrayView2<'_, f32>) -> Pass {
        let Parameters { w1, b1, w2, b2 } = &self.parameters;
        let hidden = (x.dot(w1) + b1).mapv(|h| h.max(0.0));
        let logits = hidden.dot(w2) + b2;
        Pass { logits, hidden }
    }

    /// One step down the gradient of a loss by the logits.
    pub(crate) fn descend(
        &mut self,
        x: ArrayView2<'_, f32>,
        pass: &Pass,
        by_logits: &Array2<f32>,
        rate: f32,
    ) {
        let mut by_hidden = by_logits.dot(&self.parameters.w2.t());
        by_hidden.zip_mut_with(&pass.hidden, |g, &h| *g = if h > 0.0 { *g } else { 0.0 });
        let gradient = Parameters {
            w1: x.t().dot(&by_hidden),
            b1: by_hidden.sum_axis(Axis(0)),
            w2: pass.hidden.t().dot(by_logits),
            b2: by_logits.sum_axis(Axis(0)),
        };
        let (p, v, g) = (&mut self.parameters, &mut self.velocity, &gradient);
        let step = |p: &mut f32, v: &mut f32, g: &f32| {
            *v = 0.9 * *v + g;
            *p -= rate * *v;
        };
        Zip::from(&mut p.w1)
            .and(&mut v.w1)
            .and(&g.w1)
            .for_each(step);
        Zip::from(&mut p.b1)
            .and(&mut v.b1)
            .and(&g.b1)
            .for_each(step);
        Zip::from(&mut p.w2)
            .and(&mut v.w2)
            .and(&g.w2)
            .for_each(step);
        Zip::from(&mut p.b2)
            .and(&mut v.b2)
            .and(&g.b2)
            .for_each(step);
    }
}

/// Numbers that are the same in every run (Marsaglia 2003, "Xorshift RNGs").
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            random.next(); // seeds that are near each other part ways
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In [-1, 1).
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 32) as usize % bound
    }

    /// The numbers below `n` in a random order (Fisher, Yates).
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}
