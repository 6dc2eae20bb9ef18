//! Times from work and rates.

use super::machine::{Line, Machine};
use super::work::StepWork;
use crate::{Session, SessionError};
use std::time::Duration;

/// How long a model is expected to take for one set of input shapes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The steps, in the order in which they run; those of subgraphs are within the step of their node.
    pub steps: Vec<StepPrediction>,
    /// The time by the sum of arithmetic and movement.
    pub sum: Duration,
    /// The time by the greater of the two.
    pub overlapped: Duration,
    /// Steps of which nothing is known but that they run: shapes that depend on data, loops. The time is then too short.
    pub unknown: usize,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepPrediction {
    /// The node (the last one of those that the step fuses), as in the profile.
    pub node: String,
    /// What runs it, as in the profile.
    pub kernel: &'static str,
    /// Multiply-accumulates, where they are known.
    pub macs: Option<u64>,
    /// Bytes read and written, weights included, where they are known.
    pub bytes: Option<u64>,
    /// The time by the sum of arithmetic and movement.
    pub sum: Duration,
    /// The time by the greater of the two.
    pub overlapped: Duration,
}

impl Session {
    /// How long a run on inputs of these shapes is expected to take, without running it.
    ///
    /// Arithmetic and bytes come from the plan for these shapes, rates from `machine`; see
    /// [`roofline`](crate::roofline) for the formulas. Of an `If`, the branch that takes longer counts.
    ///
    /// ```
    /// # use compress_tensor::{DType, Tensor};
    /// # use onnx_ir::{Fact, Graph, Model, Node};
    /// # use runtime_session::{Session, SessionOptions, roofline::Machine};
    /// # let mut graph = Graph::new("layer");
    /// # let x = graph.add_value("x", Fact::tensor(DType::F32, [128usize, 64]))?;
    /// # let w = graph.add_initializer("w", Tensor::full(&[64, 32], 0.5f32)?)?;
    /// # let y = graph.add_value("y", Fact::Unknown)?;
    /// # graph.add_input(x);
    /// # graph.add_node(Node::new("MatMul", [x, w], [y]))?;
    /// # graph.add_output(y);
    /// # let model = Model::new(graph, 17);
    /// let options = SessionOptions::default();
    /// let (session, machine) = (Session::new(model, &options)?, Machine::measure(&options)?);
    /// let predicted = session.predict(&machine, &[("x", &[128, 64])])?;
    /// assert_eq!(predicted.steps[0].macs, Some(128 * 64 * 32));
    /// assert!(predicted.sum.as_nanos() > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::run`]: an input is missing, not known or of a wrong shape.
    pub fn predict(
        &self,
        machine: &Machine,
        inputs: &[(&str, &[usize])],
    ) -> Result<Prediction, SessionError> {
        Ok(predict(&self.works(inputs)?, machine))
    }
}

fn predict(works: &[StepWork], machine: &Machine) -> Prediction {
    let footprint = footprint(works);
    let mut prediction = Prediction::default();
    let mut total = Times::default();
    for work in works {
        let mut unknown = 0;
        let times = times(work, machine, footprint, &mut unknown);
        prediction.unknown += unknown;
        total.sum += times.sum;
        total.overlapped += times.overlapped;
        prediction.steps.push(StepPrediction {
            node: work.node.clone(),
            kernel: work.kernel,
            macs: work.macs,
            bytes: work.bytes,
            sum: duration(times.sum),
            overlapped: duration(times.overlapped),
        });
    }
    prediction.sum = duration(total.sum);
    prediction.overlapped = duration(total.overlapped);
    prediction
}

/// Bytes that a run goes through: all weights, and the most that one step moves.
pub(super) fn footprint(works: &[StepWork]) -> u64 {
    let all = || {
        let inner = works.iter().flat_map(|w| &w.branches).flatten();
        works.iter().chain(inner)
    };
    let weights = all().fold(0u64, |sum, w| sum.saturating_add(w.weights));
    weights.saturating_add(all().filter_map(|w| w.bytes).max().unwrap_or(0))
}

/// Seconds by both forms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Times {
    sum: f64,
    overlapped: f64,
}

fn times(work: &StepWork, machine: &Machine, footprint: u64, unknown: &mut usize) -> Times {
    let mut times = Times {
        sum: machine.step_seconds,
        overlapped: machine.step_seconds,
    };
    if work.repeats || (work.bytes.is_none() && work.branches.is_empty()) {
        *unknown += 1;
        return times;
    }
    let mut longest = Times::default();
    for branch in &work.branches {
        let mut all = Times::default();
        for step in branch {
            let step = self::times(step, machine, footprint, unknown);
            all.sum += step.sum;
            all.overlapped += step.overlapped;
        }
        longest.sum = longest.sum.max(all.sum);
        longest.overlapped = longest.overlapped.max(all.overlapped);
    }
    times.sum += longest.sum;
    times.overlapped += longest.overlapped;
    if work.pieces.is_empty() {
        return times;
    }
    let farther = beyond_cache(work, machine, footprint);
    let lines = |form: fn(&super::Rate) -> Line| -> Vec<(Line, &super::work::Piece)> {
        let rate = |piece: &super::work::Piece| form(&machine.rate(&piece.class));
        work.pieces.iter().map(|p| (rate(p), p)).collect()
    };
    let per_call = |lines: &[(Line, &super::work::Piece)]| {
        let calls = lines.iter().map(|(line, _)| line.per_call);
        calls.fold(0.0, f64::max)
    };
    let sums = lines(|rate| rate.sum);
    let sum = sums
        .iter()
        .map(|(l, p)| l.per_mac * p.macs + l.per_byte * p.bytes);
    times.sum = sum.sum::<f64>() + farther + per_call(&sums);
    let greater = lines(|rate| rate.overlapped);
    // What lies farther away than the cache is moved while the pieces compute.
    let share = |bytes: f64, of: f64| if of > 0.0 { bytes / of } else { 0.0 };
    let all: f64 = work.pieces.iter().map(|p| p.bytes).sum();
    let pieces = greater.iter().map(|(l, p)| {
        let moved = l.per_byte * p.bytes + farther * share(p.bytes, all);
        (l.per_mac * p.macs).max(moved)
    });
    times.overlapped = pieces.sum::<f64>() + per_call(&greater);
    times
}

/// The bytes from which rates by class are fitted.
const CACHED: u64 = 512 << 10;

/// Seconds that a step takes longer because its activations, or the weights of the model, lie beyond the cache that the rates by class
/// are of.
pub(super) fn beyond_cache(work: &StepWork, machine: &Machine, footprint: u64) -> f64 {
    let near = 1.0 / machine.bandwidth(CACHED);
    let longer = |bytes: u64, working_set: u64| {
        let far = 1.0 / machine.bandwidth(working_set);
        bytes as f64 * (far - near).max(0.0)
    };
    let activations = work.bytes.unwrap_or(0).saturating_sub(work.weights);
    longer(activations, activations) + longer(work.weights, footprint)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::machine::tests::machine;
    use super::super::work::Piece;
    use super::*;

    fn product(macs: f64, bytes: u64, weights: u64) -> StepWork {
        StepWork {
            row: 0,
            node: "product".to_owned(),
            kernel: "gemm.f32",
            macs: Some(macs as u64),
            bytes: Some(bytes + weights),
            weights,
            pieces: vec![Piece {
                class: "gemm.f32/product".to_owned(),
                macs,
                bytes: bytes as f64,
            }],
            branches: Vec::new(),
            repeats: false,
        }
    }

    fn close(found: Duration, seconds: f64) {
        assert!(
            (found.as_secs_f64() / seconds - 1.0).abs() < 1e-3,
            "{found:?}, {seconds}"
        );
    }

    #[test]
    fn a_step_takes_arithmetic_and_movement_or_the_greater() {
        // 10⁶ MACs of 2 ns, 5·10⁵ bytes of 0.1 ns, 1 µs.
        let predicted = predict(&[product(1e6, 500_000, 0)], &machine());
        close(predicted.sum, 2e-3 + 5e-5 + 1e-6);
        close(predicted.overlapped, 2e-3 + 1e-6);
        assert_eq!(predicted.steps[0].sum, predicted.sum);
        assert_eq!(predicted.unknown, 0);
    }

    #[test]
    fn a_model_takes_the_sum_of_its_steps_and_an_if_its_longer_branch() {
        let (short, long) = (product(1e5, 1000, 0), product(1e6, 1000, 0));
        let alone = predict(std::slice::from_ref(&long), &machine()).sum;
        let both = predict(&[short.clone(), long.clone()], &machine());
        close(both.sum, 2e-4 + 2e-3 + 2.2e-6);
        let mut choice = product(0.0, 0, 0);
        choice.pieces.clear();
        choice.branches = vec![vec![short], vec![long]];
        let predicted = predict(std::slice::from_ref(&choice), &machine());
        close(predicted.sum, alone.as_secs_f64() + 1e-7);
        assert_eq!(predicted.unknown, 0);
        choice.repeats = true;
        assert_eq!(predict(&[choice], &machine()).unknown, 1);
    }

    #[test]
    fn weights_beyond_the_cache_take_the_time_of_memory() {
        let mut machine = machine();
        machine.bandwidths[0].working_set = CACHED;
        machine.bandwidths[1].working_set = 10 * CACHED;
        let near = predict(&[product(1e3, 100, 100_000)], &machine).sum;
        let far = predict(&[product(1e3, 100, 2 * CACHED)], &machine).sum;
        let expected = (2 * CACHED) as f64 * (1e-9 - 1e-10);
        close(far - near, expected);
    }

    #[test]
    fn what_is_not_known_is_counted() {
        let mut work = product(1e3, 100, 0);
        work.bytes = None;
        let predicted = predict(&[work], &machine());
        assert_eq!(predicted.unknown, 1);
        close(predicted.sum, 1e-7);
    }
}
