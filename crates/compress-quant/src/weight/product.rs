//! Matrix products of this crate, by the kernels of `runtime_kernels`.

use runtime_kernels::gemm::{Epilogue, FloatOperand, gemm};
use runtime_kernels::{Context, KernelError, MatRef, Scratch};

/// A part of a row-major matrix: `rows x cols` from the start of `data` on, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub stride: usize,
}

impl<'a> Part<'a> {
    fn matrix(self) -> Result<MatRef<'a, f32>, KernelError> {
        MatRef::strided(self.data, self.rows, self.cols, self.stride, 1)
    }
}

/// Which operand is taken with rows and columns exchanged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Left,
    Right,
    Neither,
}

/// Multiplies on the calling thread: the result does not depend on how callers share out their work.
pub(super) fn multiply(
    left: Part<'_>,
    right: Part<'_>,
    turned: Turned,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let mut product = || {
        let (mut left, mut right) = (left.matrix()?, right.matrix()?);
        match turned {
            Turned::Left => left = left.transposed(),
            Turned::Right => right = right.transposed(),
            Turned::Neither => {}
        }
        let (left, right) = (FloatOperand::Matrix(left), FloatOperand::Matrix(right));
        let (context, plain) = (Context::default(), Epilogue::default());
        gemm(&context, scratch, left, right, &plain, out)
    };
    // Callers cut all three out of buffers that they sized themselves: there is no input for which this fails.
    let done = product();
    debug_assert!(done.is_ok(), "{done:?}");
}
