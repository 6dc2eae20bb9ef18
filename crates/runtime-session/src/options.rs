//! How a session is made.

use crate::tune::Autotune;
use onnx_ir::operator::Limits;
use runtime_kernels::{Isa, Parallelism};

/// How much a session may change what it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptimizationLevel {
    /// Every node runs by itself.
    None,
    /// Constants are folded, dead nodes dropped, shape arithmetic resolved once per set of input shapes.
    Basic,
    /// Also: nodes are fused, and Q/DQ regions run as integers.
    #[default]
    Full,
}

/// In which order the elements of a tapped image are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TapOrder {
    /// The model's: `[batch, channels, height, width]`.
    #[default]
    Model,
    /// As the image lies in memory, and with the shape that it has there: often `[batch, height, width, channels]`. For
    /// taps that do not ask where an element stands, as of statistics; it saves a copy.
    Memory,
}

/// How a session is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads that one run may use; 0 for one per CPU core. Results do not depend on it.
    pub threads: usize,
    /// Threads that sessions share, in place of `threads`. The pool serves one run at a time; runs that go on beside it
    /// have fewer threads, so that together they do not use many more than the pool has.
    pub parallelism: Option<Parallelism>,
    /// Runs that go on at the same time where more threads call the session: the others wait for their turns, in the order in which
    /// they came, but for 20 ms at most. 0 for as many as CPU cores, which keeps the times even; with more, the system interrupts
    /// runs for those of others: more runs an hour where they are short, but some of them take many times as long as most.
    pub runs_at_once: usize,
    /// The instruction set of the kernels; the widest that the CPU has where none is named.
    pub isa: Option<Isa>,
    /// How much a session may change what it runs.
    pub optimize: OptimizationLevel,
    /// Whether to take the time of each step; see [`Session::profile`](crate::Session::profile).
    pub profile: bool,
    /// Bounds on the work and the memory of one run.
    pub limits: Limits,
    /// Sets of input shapes for which a plan of its own is kept.
    pub cached_plans: usize,
    /// In which order [`Session::run_with_taps`](crate::Session::run_with_taps) shows the elements of images.
    pub tap_order: TapOrder,
    /// Whether f32 convolutions of 3 x 3 taps may be computed by Winograd's minimal filtering where that is faster. It
    /// rounds differently: see [`WinogradTile`](runtime_kernels::conv::WinogradTile) for the bound.
    pub winograd: bool,
    /// Whether f32 convolutions with large windows may be computed by the fast Fourier transform where that is faster. It rounds
    /// differently: see [`FftTile`](runtime_kernels::conv::FftTile) for the bound.
    pub fft: bool,
    /// How the ways in which steps can compute are measured; where there is nothing, a rule chooses them.
    pub autotune: Option<Autotune>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            parallelism: None,
            runs_at_once: 0,
            isa: None,
            optimize: OptimizationLevel::default(),
            profile: false,
            limits: Limits::default(),
            cached_plans: 64,
            tap_order: TapOrder::default(),
            winograd: true,
            fft: true,
            autotune: None,
        }
    }
}

impl SessionOptions {
    /// The same options with this many threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The same options with threads that other sessions may use too.
    ///
    /// ```
    /// use runtime_session::{Parallelism, SessionOptions};
    ///
    /// let shared = Parallelism::with_threads(2)?;
    /// let [detector, classifier] =
    ///     [(); 2].map(|()| SessionOptions::default().with_parallelism(shared.clone()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = Some(parallelism);
        self
    }

    /// The same options with another number of runs that go on at the same time, of those that threads ask for.
    #[must_use]
    pub fn with_runs_at_once(mut self, runs: usize) -> Self {
        self.runs_at_once = runs;
        self
    }

    /// The same options with a chosen instruction set. Float results may round differently with another; what runs as integers
    /// has the same bits with all.
    ///
    /// ```
    /// use runtime_session::{Isa, SessionOptions};
    ///
    /// let options = SessionOptions::default().with_isa(Isa::scalar());
    /// let all: Vec<SessionOptions> = Isa::available()
    ///     .into_iter()
    ///     .map(|isa| options.clone().with_isa(isa))
    ///     .collect();
    /// assert_eq!(all[0].isa, options.isa);
    /// ```
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// The same options with another optimization level.
    #[must_use]
    pub fn with_optimization(mut self, level: OptimizationLevel) -> Self {
        self.optimize = level;
        self
    }

    /// The same options, taking the time of each step.
    #[must_use]
    pub fn with_profile(mut self) -> Self {
        self.profile = true;
        self
    }

    /// The same options with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same options with another order of the elements that taps see.
    #[must_use]
    pub fn with_tap_order(mut self, order: TapOrder) -> Self {
        self.tap_order = order;
        self
    }

    /// The same options with convolutions by Winograd's minimal filtering allowed or not.
    #[must_use]
    pub fn with_winograd(mut self, winograd: bool) -> Self {
        self.winograd = winograd;
        self
    }

    /// The same options with convolutions by the fast Fourier transform allowed or not.
    #[must_use]
    pub fn with_fft(mut self, fft: bool) -> Self {
        self.fft = fft;
        self
    }

    /// The same options, with the ways of steps chosen by measuring them. The first run with inputs of new shapes takes longer by that, and
    /// [`Session::tuning`](crate::Session::tuning) tells what was chosen. Runs with taps, and subgraphs, run as by rule. Among the
    /// ways are only those that the other options allow; f32 results may round differently by another one, within the
    /// bounds that are stated for each, and what runs as integers has the same bits.
    ///
    /// ```
    /// use runtime_session::{Autotune, SessionOptions};
    /// use std::time::Duration;
    ///
    /// let tuning = Autotune::default().with_max_time(Duration::from_secs(5));
    /// let options = SessionOptions::default().with_autotune(tuning);
    /// assert!(options.autotune.is_some());
    /// ```
    #[must_use]
    pub fn with_autotune(mut self, autotune: Autotune) -> Self {
        self.autotune = Some(autotune);
        self
    }

    /// The same options with another bound on the steps of one run, those in subgraphs counted: a node each time it
    /// runs, a subgraph each time it runs (an iteration of a loop, a branch).
    #[must_use]
    pub fn with_max_steps(mut self, max_steps: u64) -> Self {
        self.limits = self.limits.with_max_steps(max_steps);
        self
    }
}
