//! The steps of a plan, measured while the plan runs once.

use super::clock::Clock;
use super::key;
use super::way::{Choice, Way, Workshop};
use super::{Book, Entry, TunedStep, Tuner, time_of};
use crate::error::SessionError;
use crate::execute::{RunState, operand, run_step};
use crate::plan::{Plan, PlannedStep};
use crate::step::Inputs;
use onnx_ir::Value;
use std::time::{Duration, Instant};

/// Longer than anybody waits, and short enough to be added to a point in time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What a plan is tuned with.
pub(super) struct Task<'a> {
    pub(super) tuner: &'a Tuner,
    pub(super) book: &'a mut Book,
    pub(super) shop: &'a Workshop<'a>,
    pub(super) feeds: &'a [Option<Value>],
    pub(super) state: &'a mut RunState,
    /// When measuring ends.
    pub(super) end: Instant,
}

/// Tunes a plan for the inputs that it is about to run on: its steps, then where images have their channels last. `layouts` tells the regions
/// of images, and makes the plan in which some of them are in the model's order. Where anything fails, the rule stays: the run
/// that follows will say what is wrong.
pub(crate) fn tune(
    tuner: &Tuner,
    shop: &Workshop<'_>,
    mut plan: Plan,
    layouts: &super::region::Layouts<'_>,
    feeds: &[Option<Value>],
    state: &mut RunState,
) -> Plan {
    let mut book = tuner.book();
    let started = Instant::now();
    let timings = state.timings.take();
    let left = tuner.options.max_time.saturating_sub(book.report.time);
    let mut task = Task {
        tuner,
        book: &mut book,
        shop,
        feeds,
        state,
        end: started + left.min(LONGEST),
    };
    let mut steps = Vec::new();
    let keys = task.steps(&mut plan, &mut steps);
    if let Ok(keys) = &keys {
        task.regions(&mut plan, &mut steps, keys, layouts);
    }
    state.timings = timings;
    tuner.keep(&mut book);
    // A plan that was dropped and is made again is reported once.
    if keys.is_ok_and(|keys| book.reported.insert(key::of_all(&keys))) {
        book.report.steps.append(&mut steps);
    }
    book.report.time += started.elapsed();
    plan
}

impl Task<'_> {
    /// Time that is left.
    pub(super) fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Runs a plan once and replaces its steps by the fastest; gives the key of each.
    ///
    /// # Errors
    /// That of a step.
    pub(super) fn steps(
        &mut self,
        plan: &mut Plan,
        tuned: &mut Vec<TunedStep>,
    ) -> Result<Vec<String>, SessionError> {
        self.state.memory.start(self.shop.limits);
        let mut values = vec![None; plan.slots];
        for (&slot, fed) in plan.inputs.iter().zip(self.feeds) {
            values[slot].clone_from(fed);
        }
        let weights = plan.steps.iter().map(|step| step.fused.weight_bytes);
        let mut clock = Clock::new(weights.fold(0, u64::saturating_add));
        let (mut keys, mut written, mut late) = (Vec::new(), Vec::new(), 0);
        for i in 0..plan.steps.len() {
            let planned = &plan.steps[i];
            let gathered: Vec<Option<&Value>> = planned
                .inputs
                .iter()
                .map(|at| at.and_then(|at| operand(plan, at, &values)))
                .collect();
            let there = planned.inputs.iter().map(Option::is_some);
            // A step whose input is missing says so when it runs.
            if there.eq(gathered.iter().map(Option::is_some)) {
                let share = self.left() / u32::try_from(plan.steps.len() - i).unwrap_or(u32::MAX);
                let chosen = self.step(planned, &gathered, &mut clock, 2 * share)?;
                keys.push(chosen.key);
                late += usize::from(chosen.is_late);
                tuned.extend(chosen.tuned);
                if let Some(choice) = chosen.choice {
                    plan.steps[i].step = self.shop.make(&plan.steps[i].step, choice)?;
                }
            }
            let planned = &plan.steps[i];
            run_step(plan, planned, &mut values, &mut written, self.state).map_err(|error| {
                SessionError::Step {
                    node: planned.node.to_string(),
                    error,
                }
            })?;
            for &slot in &planned.dead {
                if let Some(value) = values[slot].take() {
                    self.state.memory.recycle(value);
                }
            }
        }
        for value in values.into_iter().flatten() {
            self.state.memory.recycle(value);
        }
        if late > 0 {
            let limit = self.tuner.options.max_time;
            self.book.remark(format!(
                "{late} steps were not measured: the {} s for it were over",
                limit.as_secs_f64()
            ));
        }
        Ok(keys)
    }

    /// The choice of one step: known, measured, or none but the rule's.
    fn step(
        &mut self,
        planned: &PlannedStep,
        inputs: &[Option<&Value>],
        clock: &mut Clock,
        limit: Duration,
    ) -> Result<Chosen, SessionError> {
        let step = &planned.step;
        let mut ways = vec![step.way()];
        ways.extend(step.other_ways(Inputs { values: inputs }, self.shop));
        let works = !step.is_view() && step.bodies().is_empty() && step.kernel() != "reference";
        let shares = works && self.state.context.parallelism.threads() > 1;
        let key = key::of_step(planned, self.shop.graph, inputs, &ways);
        let mut chosen = Chosen {
            key,
            choice: None,
            tuned: None,
            is_late: false,
        };
        if ways.len() == 1 && !shares {
            return Ok(chosen);
        }
        let rule = Choice {
            way: ways[0],
            alone: false,
        };
        if let Some((entry, choice)) = self.known(&chosen.key, &ways, shares) {
            chosen.tuned = Some(tuned(planned, &entry, false));
            chosen.choice = (choice != rule).then_some(choice);
            return Ok(chosen);
        }
        chosen.is_late = !self.tuner.options.read_only && self.left().is_zero();
        if self.tuner.options.read_only || chosen.is_late {
            chosen.tuned = Some(TunedStep {
                node: planned.node.to_string(),
                kernel: step.kernel(),
                rule: rule.to_string(),
                rule_time: None,
                chosen: rule.to_string(),
                time: None,
                is_measured: false,
            });
            return Ok(chosen);
        }
        let race = self.race(planned, inputs, (&ways, shares), clock, limit)?;
        let entry = Entry {
            rule: rule.to_string(),
            rule_seconds: race.rule,
            chosen: race.choice.to_string(),
            seconds: race.best,
        };
        self.book.report.measured += 1;
        chosen.tuned = Some(tuned(planned, &entry, true));
        chosen.choice = (race.choice != rule).then_some(race.choice);
        self.book.enter(chosen.key.clone(), entry);
        Ok(chosen)
    }

    /// What is known under a key, where it is one of the choices that there are.
    fn known(&self, key: &str, ways: &[Way], shares: bool) -> Option<(Entry, Choice)> {
        let entry = self.book.known.get(key)?;
        let alone = [false, true].into_iter().take(1 + usize::from(shares));
        let mut all = alone.flat_map(|alone| ways.iter().map(move |&way| Choice { way, alone }));
        let choice = all.find(|choice| choice.to_string() == entry.chosen)?;
        Some((entry.clone(), choice))
    }

    /// The fastest way, and whether it is faster on one thread.
    fn race(
        &mut self,
        planned: &PlannedStep,
        inputs: &[Option<&Value>],
        (ways, shares): (&[Way], bool),
        clock: &mut Clock,
        limit: Duration,
    ) -> Result<Race, SessionError> {
        let failed = |error| SessionError::Step {
            node: planned.node.to_string(),
            error,
        };
        let worth = 1.0 - self.tuner.options.margin;
        let choices = ways.iter().map(|&way| Choice { way, alone: false });
        let choices: Vec<Choice> = choices.collect();
        let mut race = Race {
            choice: choices[0],
            rule: f64::INFINITY,
            best: f64::INFINITY,
        };
        if choices.len() > 1 {
            let steps = choices.iter().map(|&c| self.shop.make(&planned.step, c));
            let steps: Vec<_> = steps.collect::<Result<_, _>>()?;
            let times = clock
                .least(&steps, inputs, self.state, limit)
                .map_err(failed)?;
            race.rule = times[0];
            race.best = times[0];
            for (&choice, &time) in choices.iter().zip(&times).skip(1) {
                if time < race.best && time < worth * race.rule {
                    (race.choice, race.best) = (choice, time);
                }
            }
        }
        if shares {
            let alone = Choice {
                alone: true,
                ..race.choice
            };
            let steps = [race.choice, alone].map(|c| self.shop.make(&planned.step, c));
            let steps: Vec<_> = steps.into_iter().collect::<Result<_, _>>()?;
            let times = clock
                .least(&steps, inputs, self.state, limit)
                .map_err(failed)?;
            race.best = race.best.min(times[0]);
            if choices.len() == 1 {
                race.rule = race.best;
            }
            if times[1] < worth * race.best {
                (race.choice, race.best) = (alone, times[1]);
            }
        }
        Ok(race)
    }
}

struct Chosen {
    key: String,
    /// Where it is not the rule's.
    choice: Option<Choice>,
    tuned: Option<TunedStep>,
    /// Whether the time was over before it was measured.
    is_late: bool,
}

struct Race {
    choice: Choice,
    /// Seconds.
    rule: f64,
    best: f64,
}

fn tuned(planned: &PlannedStep, entry: &Entry, is_measured: bool) -> TunedStep {
    TunedStep {
        node: planned.node.to_string(),
        kernel: planned.step.kernel(),
        rule: entry.rule.clone(),
        rule_time: time_of(entry.rule_seconds),
        chosen: entry.chosen.clone(),
        time: time_of(entry.seconds),
        is_measured,
    }
}
