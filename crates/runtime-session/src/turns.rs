//! Whose turn it is, where more threads call a session than the machine has cores.
//!
//! The system lets threads that compute take turns of some milliseconds. A run that is shorter than that and is cut by the end of
//! its thread's turn waits for the turns of all others: most runs take their own time, a few of a hundred take ten times as long.
//! Here callers wait before they start, in the order in which they came: those that run do not displace one another, and all
//! wait about equally long. It also bounds the buffers to those of the runs that go on.
//!
//! Runs that are longer than the system's turns are shared out evenly by it, so nobody waits for longer than [`PATIENCE`]. For that
//! reason callers that wait for one another get on as well, as an operator of one's own would that runs its session again.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a caller waits at most: some turns of the system.
const PATIENCE: Duration = Duration::from_millis(20);
/// Conditions that callers wait for; callers whose tickets are so many apart share one.
const SLOTS: usize = 32;

/// The turns of the callers of one session.
pub(crate) struct Turns {
    /// Callers that may run at the same time.
    limit: usize,
    patience: Duration,
    state: Mutex<State>,
    called: [Condvar; SLOTS],
}

#[derive(Default)]
struct State {
    running: usize,
    next_ticket: u64,
    /// Tickets in the order in which they are called: ascending. There are none while fewer run than may.
    waiting: VecDeque<u64>,
}

impl Turns {
    /// Turns for so many callers at a time, but at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            patience: PATIENCE,
            state: Mutex::default(),
            called: std::array::from_fn(|_| Condvar::new()),
        }
    }

    /// Waits for a turn, which lasts until the result is dropped.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut state = self.lock();
        if state.running < self.limit {
            state.running += 1;
            return Turn(self);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        let end = Instant::now() + self.patience;
        // Whoever calls a ticket takes it from the list and counts it as running.
        while let Ok(at) = state.waiting.binary_search(&ticket) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting.remove(at);
                state.running += 1;
                break;
            }
            let slot = self.slot(ticket);
            state = slot
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Turn(self)
    }

    fn slot(&self, ticket: u64) -> &Condvar {
        &self.called[(ticket % SLOTS as u64) as usize]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn to run.
pub(crate) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = self.0;
        let mut state = turns.lock();
        state.running -= 1;
        if state.running >= turns.limit {
            return;
        }
        let Some(ticket) = state.waiting.pop_front() else {
            return;
        };
        state.running += 1;
        drop(state);
        turns.slot(ticket).notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    /// Turns without an end to patience, so that a busy machine changes nothing.
    fn patient(limit: usize) -> Turns {
        Turns {
            patience: Duration::from_secs(3600),
            ..Turns::new(limit)
        }
    }

    fn counts(turns: &Turns) -> (usize, usize) {
        let state = turns.lock();
        (state.running, state.waiting.len())
    }

    /// Waits until so many wait.
    fn until_waiting(turns: &Turns, count: usize) {
        while counts(turns).1 != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_more_run_than_may_and_all_get_their_turn() {
        let (turns, running, most) = (patient(2), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let turn = turns.take();
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
        assert_eq!(counts(&turns), (0, 0));
    }

    #[test]
    fn turns_are_in_the_order_of_coming() {
        let turns = patient(1);
        let (told, order) = mpsc::channel();
        std::thread::scope(|scope| {
            let first = turns.take();
            for caller in 0..5 {
                let (turns, told) = (&turns, told.clone());
                scope.spawn(move || {
                    let _turn = turns.take();
                    told.send(caller).unwrap();
                });
                until_waiting(turns, caller + 1);
            }
            drop(first);
        });
        drop(told);
        assert_eq!(order.iter().collect::<Vec<usize>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let turns = Turns::new(1);
        let started = Instant::now();
        let (first, second) = (turns.take(), turns.take());
        assert!(started.elapsed() >= PATIENCE);
        assert_eq!(counts(&turns), (2, 0));
        drop(first);
        // The one that went on without being called counts until its end.
        assert_eq!(counts(&turns), (1, 0));
        drop(second);
        assert_eq!(counts(&turns), (0, 0));
    }
}
