//! The ways in which a step can compute the same.

use crate::error::{SessionError, StepError};
use crate::execute::RunState;
use crate::step::{Body, ImageOrder, Step, StepContext};
use crate::weights::Weights;
use onnx_ir::Graph;
use onnx_ir::operator::Limits;
use runtime_kernels::conv::{BAND_BYTES, FftTile, WinogradTile};
use runtime_kernels::{Isa, Parallelism};
use std::fmt;
use std::sync::Arc;

/// A way in which a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The only one that it has.
    Plain,
    /// A convolution summed tap by tap with channels last, or signals turned to have them last.
    Direct,
    /// A convolution in the model's order of axes.
    Planes,
    /// A convolution by Winograd's minimal filtering.
    Winograd(WinogradTile),
    /// A convolution by the fast Fourier transform.
    Fft(FftTile),
    /// Convolutions one behind the other, with so many bytes of the images between them at a time.
    Bands(usize),
    /// Convolutions one behind the other, each over whole images.
    Whole,
    /// A product whose left operand is read where it stands.
    RowsInPlace,
    /// A product whose left operand is packed on the way.
    RowsPacked,
}

impl Way {
    /// The bytes of bands that are tried.
    pub(crate) const BANDS: [usize; 3] = [BAND_BYTES / 3, BAND_BYTES, 8 * BAND_BYTES / 3];

    /// Where there is more than one way: its name.
    pub(crate) fn name(self) -> Option<String> {
        (self != Self::Plain).then(|| self.to_string())
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Direct => f.write_str("direct"),
            Self::Planes => f.write_str("planes"),
            Self::Winograd(WinogradTile::Two) => f.write_str("winograd2"),
            Self::Winograd(WinogradTile::Four) => f.write_str("winograd4"),
            Self::Fft(tile) => write!(f, "fft{}x{}", tile.rows(), tile.columns()),
            Self::Bands(bytes) => write!(f, "bands{}k", bytes >> 10),
            Self::Whole => f.write_str("whole"),
            Self::RowsInPlace => f.write_str("rows-in-place"),
            Self::RowsPacked => f.write_str("rows-packed"),
        }
    }
}

/// A way, and on how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) way: Way,
    /// Whether on the calling thread alone, whatever the session's threads.
    pub(super) alone: bool,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.alone {
            true => write!(f, "{} on one thread", self.way),
            false => write!(f, "{}", self.way),
        }
    }
}

/// What steps by other ways are made from.
pub(crate) struct Workshop<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a Weights,
    pub(crate) isa: Isa,
    pub(crate) limits: Limits,
    /// What the session's options allow.
    pub(crate) winograd: bool,
    pub(crate) fft: bool,
}

impl Workshop<'_> {
    /// A step as `choice` has it.
    ///
    /// # Errors
    /// Where weights cannot be packed.
    pub(super) fn make(
        &self,
        step: &Arc<dyn Step>,
        choice: Choice,
    ) -> Result<Arc<dyn Step>, SessionError> {
        let step = match step.way() == choice.way {
            true => step.clone(),
            false => step.by_way(choice.way, self)?.unwrap_or(step.clone()),
        };
        Ok(match choice.alone {
            true => Arc::new(Alone(step)),
            false => step,
        })
    }
}

/// A step that uses the calling thread alone: one that is too small for more, on this machine.
struct Alone(Arc<dyn Step>);

/// Runs `f` without the threads of the session.
fn on_one_thread<R>(state: &mut RunState, f: impl FnOnce(&mut RunState) -> R) -> R {
    let threads = std::mem::replace(&mut state.context.parallelism, Parallelism::sequential());
    let done = f(state);
    state.context.parallelism = threads;
    done
}

impl Step for Alone {
    fn kernel(&self) -> &'static str {
        self.0.kernel()
    }

    fn in_place(&self) -> Option<usize> {
        self.0.in_place()
    }

    fn reads_misaligned(&self, index: usize) -> bool {
        self.0.reads_misaligned(index)
    }

    fn algorithm(&self) -> Option<&'static str> {
        self.0.algorithm()
    }

    fn transformed_macs(&self, image: &[u64], isa: Isa) -> Option<f64> {
        self.0.transformed_macs(image, isa)
    }

    fn is_view(&self) -> bool {
        self.0.is_view()
    }

    fn picks_from(&self, index: usize) -> bool {
        self.0.picks_from(index)
    }

    fn looks_up(&self) -> bool {
        self.0.looks_up()
    }

    fn bodies(&self) -> &[Body] {
        self.0.bodies()
    }

    fn image_order(&self) -> ImageOrder {
        self.0.image_order()
    }

    fn reads_image(&self, index: usize) -> bool {
        self.0.reads_image(index)
    }

    fn writes_image(&self) -> bool {
        self.0.writes_image()
    }

    fn way(&self) -> Way {
        self.0.way()
    }

    fn variant(&self) -> Option<String> {
        let alone = Choice {
            way: self.0.way(),
            alone: true,
        };
        Some(alone.to_string())
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let StepContext {
            inputs,
            outputs,
            state,
            reuse,
        } = cx;
        on_one_thread(state, |state| {
            self.0.run(&mut StepContext {
                inputs: *inputs,
                outputs: crate::step::Outputs {
                    values: outputs.values,
                },
                state,
                reuse: reuse.take(),
            })
        })
    }
}
