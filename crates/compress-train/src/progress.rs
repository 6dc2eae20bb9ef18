//! How far a run is, and how long it will take; to show it is the program's part.

use std::collections::VecDeque;
use std::time::Duration;

/// Points in time that the rate is taken over.
const MOST_POINTS: usize = 64;

/// Counts steps against the clock.
///
/// The rate is that between the oldest and the newest of the last 64 reports, so that it follows a change of pace; a resumed run begins
/// with the steps that were done before, which do not count for the rate.
///
/// # Examples
/// ```
/// use compress_train::progress::Progress;
/// use std::time::Duration;
/// let mut progress = Progress::new(100, 20);
/// progress.report(30, Duration::from_secs(5));
/// assert_eq!(progress.fraction(), 0.3);
/// assert_eq!(progress.steps_per_second(), Some(2.0));
/// assert_eq!(progress.remaining(), Some(Duration::from_secs(35)));
/// ```
#[derive(Clone, Debug)]
pub struct Progress {
    total: u64,
    points: VecDeque<(Duration, u64)>,
}

impl Progress {
    /// A run of `total` steps, `done` of which were done before time 0.
    pub fn new(total: u64, done: u64) -> Self {
        Self {
            total,
            points: VecDeque::from([(Duration::ZERO, done)]),
        }
    }

    /// Says how many steps are done at a time since the beginning.
    pub fn report(&mut self, done: u64, elapsed: Duration) {
        if self.points.len() == MOST_POINTS {
            self.points.pop_front();
        }
        self.points.push_back((elapsed, done));
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.points.back().map_or(0, |p| p.1)
    }

    /// The share that is done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.total == 0 {
            return 1.0;
        }
        (self.done() as f64 / self.total as f64).min(1.0)
    }

    /// The pace; `None` before there is one.
    pub fn steps_per_second(&self) -> Option<f64> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let seconds = last.0.saturating_sub(first.0).as_secs_f64();
        let steps = last.1.saturating_sub(first.1);
        (seconds > 0.0 && steps > 0).then(|| steps as f64 / seconds)
    }

    /// The time that the remaining steps will take at this pace.
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.total.saturating_sub(self.done()) as f64;
        Duration::try_from_secs_f64(left / self.steps_per_second()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_reports() {
        let mut progress = Progress::new(10_000, 0);
        assert_eq!(
            (progress.steps_per_second(), progress.remaining()),
            (None, None)
        );
        // One step a second at first, then ten.
        for i in 1..=100 {
            progress.report(i, Duration::from_secs(i));
        }
        for i in 1..=200 {
            progress.report(100 + 10 * i, Duration::from_secs(100 + i));
        }
        assert_eq!(progress.steps_per_second(), Some(10.0));
        assert_eq!(progress.remaining(), Some(Duration::from_secs(790)));
    }

    #[test]
    fn odd_reports_give_no_odd_numbers() {
        let mut progress = Progress::new(0, 0);
        progress.report(5, Duration::ZERO);
        assert_eq!(
            (progress.fraction(), progress.steps_per_second()),
            (1.0, None)
        );
        let mut backwards = Progress::new(10, 8);
        backwards.report(3, Duration::from_secs(1));
        assert_eq!((backwards.done(), backwards.remaining()), (3, None));
    }
}
