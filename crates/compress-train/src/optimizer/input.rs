//! Training a first layer as if its inputs were normalised.
//!
//! A layer `y = Wx + b` that reads raw inputs is trained in the parameters that it would have behind a normalisation `x̃ = (x − μ)/σ`:
//! `W̃ = W·σ`, `b̃ = b + Wμ`. Both compute the same for every `x`; the gradients are
//! `∂L/∂W̃ = (∂L/∂W − ∂L/∂b · μᵀ) / σ` and `∂L/∂b̃ = ∂L/∂b`. The optimizer works on `W̃` and `b̃`, the model keeps `W` and `b`, so that
//! its file needs no further node. This removes both what the scale of the inputs does to a step and what their mean does: with all
//! inputs positive one direction, their mean, is far steeper than all others. (LeCun et al. 1998, Efficient BackProp, sec. 4.3.)
//!
//! Keep `W̃` and `b̃` from step to step and derive `W` and `b` from them, not the other way: `b̃` is larger than `b` by what the means
//! contribute, so that there and back is not exact to the last bit of `b`.
//!
//! With zero padding the borders of a convolution read zeros instead of means; the map between the parameters stays exact.

use super::{OptimizerError, check_setting};

/// How the axes of a weight stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[outputs, inputs, …]`: `Conv`, `Gemm` with `transB`.
    OutputsFirst,
    /// `[inputs, outputs]`: `MatMul`, `Gemm`.
    InputsFirst,
}

/// The mean and deviation of each input channel of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct InputNormalization {
    mean: Vec<f64>,
    deviation: Vec<f64>,
    layout: WeightLayout,
    outputs: usize,
    /// Weights of one output for one input: the window of a convolution.
    window: usize,
}

impl InputNormalization {
    /// For a weight of `shape`, whose inputs have these means and standard deviations.
    ///
    /// A deviation of zero (a pixel that never changes) counts as 1.
    ///
    /// # Errors
    /// [`OptimizerError::Input`] where the counts do not fit the shape, [`OptimizerError::Setting`] for numbers that are not finite
    /// or negative deviations.
    pub fn new(
        shape: &[usize],
        layout: WeightLayout,
        mean: &[f64],
        deviation: &[f64],
    ) -> Result<Self, OptimizerError> {
        let (inputs, outputs, window) = match (layout, shape) {
            (WeightLayout::OutputsFirst, [outputs, inputs, window @ ..]) => {
                (*inputs, *outputs, window.iter().product())
            }
            (WeightLayout::InputsFirst, &[inputs, outputs]) => (inputs, outputs, 1),
            _ => {
                return Err(OptimizerError::Input {
                    what: "axes of the weight",
                    expected: 2,
                    found: shape.len(),
                });
            }
        };
        for (what, found) in [
            ("means of inputs", mean.len()),
            ("deviations of inputs", deviation.len()),
        ] {
            if found != inputs {
                return Err(OptimizerError::Input {
                    what,
                    expected: inputs,
                    found,
                });
            }
        }
        for &m in mean {
            check_setting(
                "the mean of an input",
                m,
                m.is_finite(),
                "it must be finite",
            )?;
        }
        for &d in deviation {
            let is_right = d.is_finite() && d >= 0.0;
            check_setting(
                "the deviation of an input",
                d,
                is_right,
                "it must be finite, 0 or more",
            )?;
        }
        Ok(Self {
            mean: mean.to_vec(),
            deviation: deviation
                .iter()
                .map(|&d| if d > 0.0 { d } else { 1.0 })
                .collect(),
            layout,
            outputs,
            window,
        })
    }

    /// From the model's `W`, `b` to the optimizer's `W̃`, `b̃`, in place. Without a bias only the scale is moved.
    ///
    /// # Errors
    /// [`OptimizerError::Input`] for slices of other lengths.
    pub fn normalize(
        &self,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), OptimizerError> {
        self.check(weight.len(), bias.as_ref().map(|b| b.len()))?;
        if let Some(bias) = bias {
            self.move_bias(weight, bias, 1.0, |_| 1.0);
        }
        self.scale(weight, |deviation| deviation);
        Ok(())
    }

    /// From the optimizer's `W̃`, `b̃` to the model's `W`, `b`, in place.
    ///
    /// # Errors
    /// [`OptimizerError::Input`] for slices of other lengths.
    pub fn denormalize(
        &self,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
    ) -> Result<(), OptimizerError> {
        self.check(weight.len(), bias.as_ref().map(|b| b.len()))?;
        if let Some(bias) = bias {
            self.move_bias(weight, bias, -1.0, |deviation| 1.0 / deviation);
        }
        self.scale(weight, |deviation| 1.0 / deviation);
        Ok(())
    }

    /// From `∂L/∂W` to `∂L/∂W̃`, in place; the gradient of the bias stays as it is.
    ///
    /// # Errors
    /// [`OptimizerError::Input`] for slices of other lengths.
    pub fn gradient(&self, weight: &mut [f32], bias: Option<&[f32]>) -> Result<(), OptimizerError> {
        self.check(weight.len(), bias.map(<[f32]>::len))?;
        for (at, g) in weight.iter_mut().enumerate() {
            let (input, output) = self.place(at);
            let shift = bias.map_or(0.0, |b| f64::from(b[output]) * self.mean[input]);
            *g = ((f64::from(*g) - shift) / self.deviation[input]) as f32;
        }
        Ok(())
    }

    /// The input and the output that an element of the weight joins.
    fn place(&self, at: usize) -> (usize, usize) {
        match self.layout {
            WeightLayout::OutputsFirst => {
                let channel = at / self.window;
                (channel % self.mean.len(), channel / self.mean.len())
            }
            WeightLayout::InputsFirst => (at / self.outputs, at % self.outputs),
        }
    }

    /// `b ← b + sign · Σ W · by(σ) · μ`, each sum in `f64`.
    fn move_bias(&self, weight: &[f32], bias: &mut [f32], sign: f64, by: impl Fn(f64) -> f64) {
        for (output, b) in bias.iter_mut().enumerate() {
            let mut sum = 0.0;
            let mut add = |at: usize, input: usize| {
                sum += f64::from(weight[at]) * by(self.deviation[input]) * self.mean[input];
            };
            for input in 0..self.mean.len() {
                match self.layout {
                    WeightLayout::OutputsFirst => {
                        let start = (output * self.mean.len() + input) * self.window;
                        (start..start + self.window).for_each(|at| add(at, input));
                    }
                    WeightLayout::InputsFirst => add(input * self.outputs + output, input),
                }
            }
            *b = (f64::from(*b) + sign * sum) as f32;
        }
    }

    fn scale(&self, weight: &mut [f32], by: impl Fn(f64) -> f64) {
        for (at, w) in weight.iter_mut().enumerate() {
            let (input, _) = self.place(at);
            *w = (f64::from(*w) * by(self.deviation[input])) as f32;
        }
    }

    fn check(&self, weight: usize, bias: Option<usize>) -> Result<(), OptimizerError> {
        let elements = self.mean.len() * self.outputs * self.window;
        let counts = [
            ("elements of the weight", elements, weight),
            (
                "elements of the bias",
                self.outputs,
                bias.unwrap_or(self.outputs),
            ),
        ];
        for (what, expected, found) in counts {
            if expected != found {
                return Err(OptimizerError::Input {
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: [f64; 3] = [120.0, 60.0, 0.0];
    const DEVIATION: [f64; 3] = [50.0, 20.0, 0.0];

    #[test]
    fn there_and_back_are_the_same_parameters() {
        for (layout, shape) in [
            (WeightLayout::OutputsFirst, vec![2, 3, 2, 2]),
            (WeightLayout::OutputsFirst, vec![2, 3]),
            (WeightLayout::InputsFirst, vec![3, 2]),
        ] {
            let map = InputNormalization::new(&shape, layout, &MEAN, &DEVIATION).unwrap();
            let n: usize = shape.iter().product();
            let weight: Vec<f32> = (0..n).map(|i| 0.01 * i as f32 - 0.05).collect();
            let (mut w, mut b) = (weight.clone(), vec![0.5f32, -0.5]);
            map.normalize(&mut w, Some(&mut b)).unwrap();
            assert_ne!(w, weight);
            // The bias takes in what the means contribute, and is rounded with it.
            let largest = b.iter().fold(1f32, |m, b| m.max(b.abs()));
            map.denormalize(&mut w, Some(&mut b)).unwrap();
            for (found, expected) in w.iter().zip(&weight).chain(b.iter().zip(&[0.5, -0.5])) {
                assert!(
                    (found - expected).abs() <= largest * f32::EPSILON,
                    "{found} {expected}"
                );
            }
        }
    }

    #[test]
    fn both_sets_of_parameters_compute_the_same() {
        let map = InputNormalization::new(&[1, 3], WeightLayout::OutputsFirst, &MEAN, &DEVIATION)
            .unwrap();
        let (mut w, mut b) = (vec![0.02f32, -0.01, 0.5], vec![0.25f32]);
        let x = [200.0f32, 10.0, 3.0];
        let dot = |w: &[f32], x: &[f32]| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
        let expected = dot(&w, &x) + b[0];
        map.normalize(&mut w, Some(&mut b)).unwrap();
        let normalized = [(200.0 - 120.0) / 50.0, (10.0 - 60.0) / 20.0, 3.0];
        assert!((dot(&w, &normalized) + b[0] - expected).abs() < 1e-5);
    }

    #[test]
    fn the_gradient_is_that_of_the_normalised_layer() {
        // L = y: dL/dW̃ = x̃ and dL/dW = x, dL/db = 1.
        let x = [200.0f32, 10.0, 3.0];
        for layout in [WeightLayout::OutputsFirst, WeightLayout::InputsFirst] {
            let shape = if layout == WeightLayout::OutputsFirst {
                [1, 3]
            } else {
                [3, 1]
            };
            let map = InputNormalization::new(&shape, layout, &MEAN, &DEVIATION).unwrap();
            let mut g = x;
            map.gradient(&mut g, Some(&[1.0])).unwrap();
            assert_eq!(g, [1.6, -2.5, 3.0]);
        }
    }

    #[test]
    fn counts_that_do_not_fit_are_told() {
        let error =
            InputNormalization::new(&[4, 3], WeightLayout::OutputsFirst, &MEAN[..2], &DEVIATION)
                .unwrap_err();
        assert_eq!(error.to_string(), "means of inputs: expected 3, found 2");
        assert!(
            InputNormalization::new(&[4], WeightLayout::OutputsFirst, &MEAN, &DEVIATION).is_err()
        );
        assert!(
            InputNormalization::new(
                &[4, 3],
                WeightLayout::OutputsFirst,
                &[f64::NAN; 3],
                &DEVIATION
            )
            .is_err()
        );
        let map = InputNormalization::new(&[4, 3], WeightLayout::OutputsFirst, &MEAN, &DEVIATION)
            .unwrap();
        assert!(map.normalize(&mut [0.0; 11], None).is_err());
        assert!(map.gradient(&mut [0.0; 12], Some(&[0.0; 3])).is_err());
    }
}
