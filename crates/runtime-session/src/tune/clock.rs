//! Times of steps that do the same, taken in turns.

use crate::error::StepError;
use crate::execute::RunState;
use crate::step::{Inputs, Outputs, Step, StepContext};
use onnx_ir::Value;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds of turns at least and at most.
const ROUNDS: std::ops::Range<usize> = 3..30;
/// A way that takes so many times as long as the best is not tried again.
const HOPELESS: f64 = 1.4;

/// Bytes that are more than a core's own cache holds.
const LARGE: usize = 4 << 20;
/// Bytes of weights of a model from which on those of a step have left the cache when it runs next.
const MANY_WEIGHTS: u64 = 512 << 10;

/// Takes the times of steps as they run in a model: where its weights are more than a cache holds, with the weights of the step out of it.
pub(super) struct Clock {
    evicts: Option<Vec<u64>>,
    outputs: Vec<Option<Value>>,
}

impl Clock {
    /// For a model with so many bytes of weights.
    pub(super) fn new(weights: u64) -> Self {
        Self {
            evicts: (weights > MANY_WEIGHTS).then(|| vec![0; LARGE / size_of::<u64>()]),
            outputs: Vec::new(),
        }
    }

    /// The least time of each step on the same inputs, in as many rounds as fit `limit`. Steps that are far behind the best drop out.
    ///
    /// # Errors
    /// That of the first step; others that fail drop out, and have no time.
    pub(super) fn least(
        &mut self,
        steps: &[Arc<dyn Step>],
        inputs: &[Option<&Value>],
        state: &mut RunState,
        limit: Duration,
    ) -> Result<Vec<f64>, StepError> {
        let mut least = vec![f64::INFINITY; steps.len()];
        let mut racing = vec![true; steps.len()];
        let started = Instant::now();
        for round in 0..ROUNDS.end {
            for (i, step) in steps.iter().enumerate() {
                if !racing[i] {
                    continue;
                }
                match self.once(step.as_ref(), inputs, state) {
                    // The first one fills buffers and finds its code.
                    Ok(_) if round == 0 => {}
                    Ok(time) => least[i] = least[i].min(time.as_secs_f64()),
                    Err(error) if i == 0 => return Err(error),
                    Err(_) => (racing[i], least[i]) = (false, f64::INFINITY),
                }
            }
            let best = least.iter().copied().fold(f64::INFINITY, f64::min);
            for i in 1..steps.len() {
                racing[i] &= round < 2 || least[i] <= HOPELESS * best;
            }
            let left = racing.iter().filter(|racing| **racing).count();
            let rounds = round >= ROUNDS.start;
            if rounds && (left < 2 || started.elapsed() > limit) {
                break;
            }
        }
        Ok(least)
    }

    fn once(
        &mut self,
        step: &dyn Step,
        inputs: &[Option<&Value>],
        state: &mut RunState,
    ) -> Result<Duration, StepError> {
        if let Some(memory) = &mut self.evicts {
            for line in memory.chunks_mut(8) {
                line[0] = line[0].wrapping_add(1);
            }
            // The step before it has just written the inputs.
            black_box(
                inputs
                    .iter()
                    .flatten()
                    .map(|value| touched(value))
                    .sum::<u64>(),
            );
        }
        self.outputs.clear();
        let started = Instant::now();
        let done = step.run(&mut StepContext {
            inputs: Inputs { values: inputs },
            outputs: Outputs {
                values: &mut self.outputs,
            },
            state,
            reuse: None,
        });
        let time = started.elapsed();
        for value in self.outputs.drain(..).flatten() {
            state.memory.recycle(value);
        }
        done.map(|()| time)
    }
}

/// Reads a byte of each cache line.
fn touched(value: &Value) -> u64 {
    let Value::Tensor(tensor) = value else {
        return 0;
    };
    let bytes = tensor.bytes();
    bytes.iter().step_by(64).map(|&byte| u64::from(byte)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Runs well so many times.
    struct Wearing {
        runs: AtomicUsize,
        well: usize,
    }

    impl Wearing {
        fn step(well: usize) -> Arc<dyn Step> {
            Arc::new(Self {
                runs: AtomicUsize::new(0),
                well,
            })
        }
    }

    impl Step for Wearing {
        fn kernel(&self) -> &'static str {
            "wearing"
        }

        fn run(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
            match self.runs.fetch_add(1, Ordering::Relaxed) < self.well {
                true => Ok(()),
                false => Err(StepError::TooFewOutputs { index: 0, given: 0 }),
            }
        }
    }

    #[test]
    fn a_way_that_fails_has_no_time_whenever_it_fails() {
        let always = usize::MAX;
        let steps = [always, 0, 1, 2, always].map(Wearing::step);
        let mut state = RunState::default();
        let least = |steps: &[Arc<dyn Step>], state: &mut RunState| {
            Clock::new(0).least(steps, &[], state, Duration::ZERO)
        };
        let found = least(&steps, &mut state).unwrap();
        assert!(found[0].is_finite());
        assert_eq!(found[1..4], [f64::INFINITY; 3]);
        assert!(least(&[0, always].map(Wearing::step), &mut state).is_err());
    }
}
