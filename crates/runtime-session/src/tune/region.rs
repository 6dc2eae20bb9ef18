//! Which regions of images have their channels last, by measuring the whole plan.
//!
//! The rule gives channels-last to all convolutions that are faster with it. A region is what hangs together by images in that order;
//! at its borders images are transposed, which the convolutions of a small region may not make up for.

use super::plan::Task;
use super::{Entry, TunedStep, key, time_of};
use crate::execute::execute;
use crate::plan::{Draft, Plan};
use onnx_ir::NodeId;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Regions that are tried.
const MOST_REGIONS: usize = 8;
/// Rounds in which two plans take turns, at most.
const ROUNDS: usize = 20;

/// The regions of a draft, and how to do without some of them.
pub(crate) struct Layouts<'a> {
    /// The nodes of each.
    pub(crate) regions: Vec<HashSet<NodeId>>,
    /// The plan in which the images of these nodes are in the model's order.
    pub(crate) in_model_order: &'a dyn Fn(&HashSet<NodeId>) -> Option<Plan>,
}

/// The nodes of the steps that hang together by images with channels last: values behind the `values` of the graph.
pub(crate) fn regions(draft: &Draft, values: usize) -> Vec<HashSet<NodeId>> {
    let mut of_value = HashMap::new();
    let mut regions: Vec<HashSet<NodeId>> = Vec::new();
    for step in &draft.steps {
        let all = step.inputs.iter().chain(&step.outputs).flatten();
        let last: Vec<_> = all.filter(|v| v.index() >= values).collect();
        let mut found: Vec<usize> = last
            .iter()
            .filter_map(|v| of_value.get(*v))
            .copied()
            .collect();
        found.sort_unstable();
        found.dedup();
        let new = last.first().map(|_| regions.len());
        let Some(home) = found.first().copied().or(new) else {
            continue;
        };
        if home == regions.len() {
            regions.push(HashSet::new());
        }
        for &other in found.iter().skip(1) {
            let joined = std::mem::take(&mut regions[other]);
            regions[home].extend(joined);
            of_value
                .values_mut()
                .filter(|at| **at == other)
                .for_each(|at| *at = home);
        }
        regions[home].extend(&step.fused.nodes);
        of_value.extend(last.into_iter().map(|&v| (v, home)));
    }
    regions.retain(|nodes| !nodes.is_empty());
    regions
}

/// The order of all regions as text: of those that are in the model's, the numbers.
fn named(planes: &[usize]) -> String {
    match planes {
        [] => "channels-last".to_owned(),
        some => {
            let numbers: Vec<String> = some.iter().map(ToString::to_string).collect();
            format!("planes {}", numbers.join(","))
        }
    }
}

impl Task<'_> {
    /// Replaces a plan by one in which some regions are in the model's order, where that is faster. `keys` are those of its steps.
    pub(super) fn regions(
        &mut self,
        plan: &mut Plan,
        steps: &mut Vec<TunedStep>,
        keys: &[String],
        layouts: &Layouts<'_>,
    ) {
        let count = layouts.regions.len().min(MOST_REGIONS);
        if count == 0 {
            return;
        }
        let key = format!("layout of {}", key::of_all(keys));
        if let Some(entry) = self.book.known.get(&key).cloned() {
            let planes = entry.chosen.strip_prefix("planes ").unwrap_or_default();
            let planes: Vec<usize> = planes.split(',').filter_map(|n| n.parse().ok()).collect();
            let is_sound = named(&planes) == entry.chosen && planes.iter().all(|&n| n < count);
            let other = match planes.is_empty() {
                true => None,
                false => self.other(&planes, layouts),
            };
            if is_sound && (planes.is_empty() || other.is_some()) {
                if let Some(other) = other {
                    (*plan, *steps) = other;
                }
                steps.push(of_regions(count, &entry, false));
                return;
            }
        }
        if self.tuner.options.read_only || self.left().is_zero() {
            return;
        }
        let Some(entry) = self.compare(plan, steps, count, layouts) else {
            return;
        };
        self.book.report.measured += 1;
        steps.push(of_regions(count, &entry, true));
        self.book.enter(key, entry);
    }

    /// Tries the regions one after the other.
    fn compare(
        &mut self,
        plan: &mut Plan,
        steps: &mut Vec<TunedStep>,
        count: usize,
        layouts: &Layouts<'_>,
    ) -> Option<Entry> {
        let (mut planes, mut rule, mut best) = (Vec::new(), None, None);
        for region in 0..count {
            let mut tried = planes.clone();
            tried.push(region);
            let Some(other) = self.other(&tried, layouts) else {
                continue;
            };
            let limit = self.left() / u32::try_from(count - region).unwrap_or(1);
            let (own, others) = self.duel(plan, &other.0, limit)?;
            rule = rule.or(Some(own));
            best = Some(own);
            if others < (1.0 - self.tuner.options.margin) * own {
                (*plan, *steps) = other;
                planes = tried;
                best = Some(others);
            }
        }
        Some(Entry {
            rule: named(&[]),
            rule_seconds: rule?,
            chosen: named(&planes),
            seconds: best?,
        })
    }

    /// The tuned plan in which these regions are in the model's order.
    fn other(&mut self, planes: &[usize], layouts: &Layouts<'_>) -> Option<(Plan, Vec<TunedStep>)> {
        let regions = planes.iter().filter_map(|&at| layouts.regions.get(at));
        let nodes: HashSet<NodeId> = regions.flatten().copied().collect();
        let mut other = (layouts.in_model_order)(&nodes)?;
        let mut steps = Vec::new();
        self.steps(&mut other, &mut steps).ok()?;
        Some((other, steps))
    }

    /// The least times of two plans that take turns; `None` where one fails or the time is over before they are known.
    fn duel(&mut self, a: &Plan, b: &Plan, limit: Duration) -> Option<(f64, f64)> {
        let mut least = [f64::INFINITY; 2];
        let started = Instant::now();
        for round in 0..ROUNDS {
            for (plan, least) in [a, b].into_iter().zip(&mut least) {
                let time = self.once(plan)?;
                // The first round fills buffers.
                if round > 0 {
                    *least = least.min(time.as_secs_f64());
                }
            }
            if round > 2 && started.elapsed() > limit {
                break;
            }
        }
        least
            .iter()
            .all(|time| time.is_finite())
            .then_some((least[0], least[1]))
    }

    fn once(&mut self, plan: &Plan) -> Option<Duration> {
        self.state.memory.start(self.shop.limits);
        let started = Instant::now();
        let feeds = self.feeds.iter().cloned();
        execute(plan, feeds, self.state, None, &mut |_| Ok(())).ok()?;
        Some(started.elapsed())
    }
}

fn of_regions(count: usize, entry: &Entry, is_measured: bool) -> TunedStep {
    TunedStep {
        node: format!("order of axes in {count} regions of images"),
        kernel: "layout",
        rule: entry.rule.clone(),
        rule_time: time_of(entry.rule_seconds),
        chosen: entry.chosen.clone(),
        time: time_of(entry.seconds),
        is_measured,
    }
}
