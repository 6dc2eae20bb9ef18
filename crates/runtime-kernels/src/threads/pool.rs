//! Threads that help a caller with one job at a time.
//!
//! A job is a closure that every taker runs once and that takes its share of the work from a list both can see. The caller
//! runs it as well: if no helper comes in time, the caller has done all of the work and waits for nobody. Helpers spin
//! for a moment after each job, since the next kernel of a model follows within microseconds, and then sleep.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a helper looks for the next job before it sleeps: the time of a kernel that is not worth sharing.
const HELPER_SPIN: Duration = Duration::from_micros(100);
/// How long the caller looks for its helpers' end before it sleeps: the time of one part.
const CALLER_SPIN: Duration = Duration::from_micros(200);
/// Looks between two questions for the time.
const LOOKS: usize = 32;

type Job = &'static (dyn Fn() + Sync);

/// Helpers, and the one place where jobs are offered to them.
pub(super) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by the caller whose job is on offer.
    offering: Mutex<()>,
    /// Callers that compute at the moment.
    pub(super) callers: AtomicUsize,
}

#[derive(Default)]
struct Shared {
    offer: Mutex<Offer>,
    /// Counts the offers, to be looked at without the lock.
    offers: AtomicUsize,
    /// The helpers that run the job, to be looked at without the lock.
    running: AtomicUsize,
    /// A job is on offer, or the pool ends.
    offered: Condvar,
    /// The last helper has left the job.
    left: Condvar,
}

#[derive(Default)]
struct Offer {
    job: Option<Job>,
    /// Helpers that may still take the job.
    seats: usize,
    sleeping: usize,
    ends: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A pool of this many helpers, which have all come to life.
    pub(super) fn new(helpers: usize) -> std::io::Result<Self> {
        let mut pool = Self {
            shared: Arc::default(),
            helpers: Vec::with_capacity(helpers),
            offering: Mutex::default(),
            callers: AtomicUsize::new(0),
        };
        for i in 0..helpers {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name(format!("kernels-{i}"));
            pool.shared.running.fetch_add(1, Ordering::Relaxed);
            pool.helpers.push(thread.spawn(move || {
                shared.leave(None);
                help(&shared);
            })?);
        }
        drop(Withdraw(&pool.shared));
        Ok(pool)
    }

    /// Helpers and the caller.
    pub(super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `job` on the calling thread and on up to `helpers` helpers, and waits for those that came. If the helpers are
    /// at work for another caller, the calling thread is alone.
    pub(super) fn run(&self, helpers: usize, job: &(dyn Fn() + Sync)) {
        let _offering = match self.offering.try_lock() {
            Ok(guard) => guard,
            // The lock guards nothing that a job that panicked could have left half done.
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return job(),
        };
        // SAFETY: only the lifetime changes. Helpers reach the job through the offer alone: they take it while they hold the
        // lock and count themselves as running before they let go of it. `Withdraw`, which is dropped before this function
        // returns or unwinds, takes the job back under the lock and waits until none of them runs: nobody has the
        // reference afterwards.
        let lent = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), Job>(job) };
        let withdraw = Withdraw(&self.shared);
        self.shared.offer(lent, helpers);
        job();
        drop(withdraw);
        if let Some(panic) = self.shared.lock().panic.take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut offer = self.shared.lock();
        offer.ends = true;
        self.shared.offers.fetch_add(1, Ordering::Release);
        self.shared.offered.notify_all();
        drop(offer);
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its jobs.
            drop(helper.join());
        }
    }
}

/// Takes the job on offer back, and waits for the helpers that run it.
struct Withdraw<'a>(&'a Shared);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        shared.lock().job = None;
        // None can join from here on.
        if spin(CALLER_SPIN, || shared.running.load(Ordering::Acquire) == 0) {
            return;
        }
        let mut offer = shared.lock();
        while shared.running.load(Ordering::Acquire) > 0 {
            offer = shared
                .left
                .wait(offer)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn offer(&self, job: Job, seats: usize) {
        let mut offer = self.lock();
        (offer.job, offer.seats, offer.panic) = (Some(job), seats, None);
        self.offers.fetch_add(1, Ordering::Release);
        for _ in 0..offer.sleeping.min(seats) {
            self.offered.notify_one();
        }
    }

    /// The job on offer, for one more helper; counts it as running.
    fn take(&self, offer: &mut Offer) -> Option<Job> {
        let job = offer.job.filter(|_| offer.seats > 0)?;
        offer.seats -= 1;
        self.running.fetch_add(1, Ordering::Relaxed);
        Some(job)
    }

    /// Counts one helper less as running.
    fn leave(&self, panic: Option<Box<dyn Any + Send>>) {
        // The lock orders this with a caller that is about to wait.
        let mut offer = self.lock();
        if panic.is_some() {
            offer.panic = panic;
        }
        if self.running.fetch_sub(1, Ordering::Release) == 1 {
            self.left.notify_one();
        }
    }
}

/// What a helper does all its life.
fn help(shared: &Shared) {
    let mut seen = 0;
    loop {
        let is_new = || shared.offers.load(Ordering::Acquire) != seen;
        spin(HELPER_SPIN, is_new);
        let mut offer = shared.lock();
        while !is_new() {
            offer.sleeping += 1;
            offer = shared
                .offered
                .wait(offer)
                .unwrap_or_else(PoisonError::into_inner);
            offer.sleeping -= 1;
        }
        seen = shared.offers.load(Ordering::Acquire);
        if offer.ends {
            return;
        }
        let Some(job) = shared.take(&mut offer) else {
            continue;
        };
        drop(offer);
        shared.leave(catch_unwind(AssertUnwindSafe(job)).err());
    }
}

/// Whether the condition holds within the time.
fn spin(limit: Duration, is_met: impl Fn() -> bool) -> bool {
    let mut until = None;
    loop {
        for _ in 0..LOOKS {
            if is_met() {
                return true;
            }
            std::hint::spin_loop();
        }
        let now = Instant::now();
        if now >= *until.get_or_insert(now + limit) {
            return is_met();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Takes the numbers below `n` in turn; the sum of those that all takers took.
    fn shared_sum(pool: &Pool, helpers: usize, n: usize) -> usize {
        let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(helpers, &|| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return;
                }
                sum.fetch_add(i, Ordering::Relaxed);
            }
        });
        sum.into_inner()
    }

    #[test]
    fn each_piece_of_work_is_done_once_whoever_comes() {
        for helpers in [0, 1, 3] {
            let pool = Pool::new(helpers).unwrap();
            for n in [0, 1, 2, 1000] {
                assert_eq!(shared_sum(&pool, helpers, n), n * n.saturating_sub(1) / 2);
            }
        }
    }

    #[test]
    fn callers_at_the_same_time_all_get_their_work_done() {
        let pool = Pool::new(2).unwrap();
        std::thread::scope(|scope| {
            for caller in 0..8 {
                let pool = &pool;
                scope.spawn(move || {
                    for i in 0..200 {
                        let n = 10 * caller + i % 7;
                        assert_eq!(shared_sum(pool, 2, n), n * n.saturating_sub(1) / 2);
                    }
                });
            }
        });
    }

    /// Whether a helper takes part in a job that waits for one.
    fn is_helped(pool: &Pool) -> bool {
        let (here, came) = (std::thread::current().id(), AtomicBool::new(false));
        pool.run(1, &|| {
            if std::thread::current().id() != here {
                came.store(true, Ordering::Relaxed);
            }
            let end = Instant::now() + Duration::from_secs(10);
            while !came.load(Ordering::Relaxed) && Instant::now() < end {
                std::thread::yield_now();
            }
        });
        came.into_inner()
    }

    #[test]
    fn helpers_that_sleep_come_back() {
        let pool = Pool::new(1).unwrap();
        for _ in 0..3 {
            std::thread::sleep(4 * HELPER_SPIN);
            assert!(is_helped(&pool));
        }
    }

    #[test]
    fn a_panic_in_a_helper_reaches_the_caller_and_leaves_the_pool_whole() {
        let pool = Pool::new(1).unwrap();
        let here = std::thread::current().id();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            let came = AtomicUsize::new(0);
            pool.run(1, &|| {
                if std::thread::current().id() != here {
                    came.store(1, Ordering::Relaxed);
                    std::panic::panic_any("a part failed");
                }
                while came.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            });
        }));
        assert_eq!(failed.unwrap_err().downcast_ref(), Some(&"a part failed"));
        assert_eq!(shared_sum(&pool, 1, 100), 4950);
        assert!(is_helped(&pool));
        let failed = catch_unwind(AssertUnwindSafe(|| {
            pool.run(1, &|| {
                if std::thread::current().id() == here {
                    std::panic::panic_any("the caller's part failed");
                }
            });
        }));
        assert!(failed.is_err() && is_helped(&pool));
    }
}
