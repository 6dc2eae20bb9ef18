//! Signal processing: Fourier transforms, windows and the mel scale.

mod blackman_window;
mod cosine_window;
mod dft;
mod fourier;
mod hamming_window;
mod hann_window;
mod mel_weight_matrix;
mod stft;

pub use blackman_window::BlackmanWindow;
pub use cosine_window::{Period, WindowAttributes};
pub use dft::Dft;
pub use hamming_window::HammingWindow;
pub use hann_window::HannWindow;
pub use mel_weight_matrix::MelWeightMatrix;
pub use stft::Stft;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<BlackmanWindow>(),
    OpEntry::of::<Dft>(),
    OpEntry::of::<HammingWindow>(),
    OpEntry::of::<HannWindow>(),
    OpEntry::of::<MelWeightMatrix>(),
    OpEntry::of::<Stft>(),
];
