//! Losses made of losses.

use super::{Loss, LossError, LossValue, Outputs, Scores, Targets};
use compress_tensor::Tensor;
use ndarray::ArrayD;
use std::collections::BTreeMap;

/// A loss on outputs and targets that are picked by name.
///
/// The inner loss sees the picked ones, in the order of the names, as its first, second …; an empty list stands for all.
pub struct OnNamed<L> {
    /// The inner loss.
    pub loss: L,
    /// Names of outputs.
    pub outputs: Vec<String>,
    /// Names of targets.
    pub targets: Vec<String>,
}

impl<L: Loss> Loss for OnNamed<L> {
    fn scores(&self) -> Scores {
        self.loss.scores()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        self.loss.state()
    }

    fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        self.loss.restore(state)
    }

    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let places = picked(&self.outputs, outputs.len(), |name| outputs.position(name))?;
        let target_places = picked(&self.targets, targets.len(), |name| targets.position(name))?;
        let seen = Outputs(places.iter().map(|&i| outputs.0[i].clone()).collect());
        let seen_targets = Targets(
            target_places
                .iter()
                .map(|&i| targets.0[i].clone())
                .collect(),
        );
        let found = self.loss.loss(&seen, &seen_targets)?;
        let mut gradients: Vec<Option<ArrayD<f32>>> = vec![None; outputs.len()];
        for (place, gradient) in places.into_iter().zip(found.gradients) {
            if let Some(gradient) = gradient {
                let name = outputs.0[place].0;
                add(name, &mut gradients[place], gradient, 1.0)?;
            }
        }
        Ok(LossValue { gradients, ..found })
    }
}

fn picked(
    names: &[String],
    count: usize,
    place: impl Fn(&str) -> Result<usize, LossError>,
) -> Result<Vec<usize>, LossError> {
    if names.is_empty() {
        return Ok((0..count).collect());
    }
    names.iter().map(|name| place(name)).collect()
}

/// `Σₖ wₖ Lₖ`; the terms are told apart in [`LossValue::parts`].
#[derive(Default)]
pub struct WeightedSum {
    terms: Vec<(String, f64, Box<dyn Loss>)>,
}

impl WeightedSum {
    /// This sum and a term of a name and weight.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, weight: f64, loss: impl Loss + 'static) -> Self {
        self.terms.push((name.into(), weight, Box::new(loss)));
        self
    }
}

impl Loss for WeightedSum {
    /// Those of the first term that asks for other than the given ones.
    fn scores(&self) -> Scores {
        let asked = self.terms.iter().map(|(_, _, loss)| loss.scores());
        asked
            .into_iter()
            .find(|&scores| scores != Scores::AsGiven)
            .unwrap_or_default()
    }

    /// That of all terms, under their places and names.
    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut all = BTreeMap::new();
        for (place, (term, _, loss)) in self.terms.iter().enumerate() {
            let state = loss.state().into_iter();
            all.extend(
                state.map(|(name, tensor)| (format!("{}{name}", prefix(place, term)), tensor)),
            );
        }
        all
    }

    fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        for (place, (term, _, loss)) in self.terms.iter().enumerate() {
            let prefix = prefix(place, term);
            let own = state.iter().filter_map(|(name, tensor)| {
                let name = name.strip_prefix(&prefix)?;
                Some((name.to_owned(), tensor.clone()))
            });
            loss.restore(&own.collect())?;
        }
        Ok(())
    }

    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let mut whole = LossValue {
            value: 0.0,
            gradients: vec![None; outputs.len()],
            parts: Vec::with_capacity(self.terms.len()),
        };
        for (name, weight, loss) in &self.terms {
            let found = loss.loss(outputs, targets)?;
            whole.value += weight * found.value;
            whole.parts.push((name.clone(), weight * found.value));
            let sums = whole.gradients.iter_mut().zip(outputs.names());
            for ((sum, name), gradient) in sums.zip(found.gradients) {
                if let Some(gradient) = gradient {
                    add(name, sum, gradient, *weight as f32)?;
                }
            }
        }
        Ok(whole)
    }
}

/// What the names of a term's state begin with; terms may have one name.
fn prefix(place: usize, term: &str) -> String {
    format!("{place}/{term}/")
}

/// Adds to a sum; losses of the same output should agree on its shape.
fn add(
    output: &str,
    sum: &mut Option<ArrayD<f32>>,
    gradient: ArrayD<f32>,
    weight: f32,
) -> Result<(), LossError> {
    match sum {
        Some(sum) if sum.shape() != gradient.shape() => {
            return Err(LossError::Shape {
                what: "the gradient of output",
                name: output.to_owned(),
                found: gradient.shape().to_vec(),
                expected: format!("{:?}", sum.shape()),
            });
        }
        Some(sum) => sum.scaled_add(weight, &gradient),
        None => *sum = Some(gradient * weight),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// A number that stays from step to step.
    struct Counted(AtomicI64);

    impl Loss for Counted {
        fn loss(&self, _: &Outputs<'_>, _: &Targets<'_>) -> Result<LossValue, LossError> {
            Ok(LossValue {
                value: self.0.load(Ordering::Relaxed) as f64,
                gradients: Vec::new(),
                parts: Vec::new(),
            })
        }

        fn state(&self) -> BTreeMap<String, Tensor> {
            let count = vec![self.0.load(Ordering::Relaxed)];
            BTreeMap::from([("count".to_owned(), Tensor::vector(count))])
        }

        fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
            let count = state["count"].as_slice::<i64>().unwrap()[0];
            self.0.store(count, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn terms_of_one_name_have_states_of_their_own() {
        let sum = |counts: [i64; 2]| {
            let [a, b] = counts.map(|count| Counted(AtomicI64::new(count)));
            WeightedSum::default().with("a", 1.0, a).with("a", 1.0, b)
        };
        let state = sum([3, 5]).state();
        assert_eq!(state.len(), 2);
        let other = sum([0, 0]);
        other.restore(&state).unwrap();
        let values = Targets::new([]);
        let found = other.loss(&Outputs::new([]), &values).unwrap();
        let parts: Vec<f64> = found.parts.iter().map(|(_, value)| *value).collect();
        assert_eq!(parts, [3.0, 5.0]);
    }
}
