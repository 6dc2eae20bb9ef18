//! Peaks, bandwidths and steps, measured.
//!
//! Each time is that of the fastest of several calls, which nothing disturbed.

use super::fit::{Sample, rate};
use super::machine::{Bandwidth, Machine};
use super::micro::{Case, cases};
use super::predict::{beyond_cache, footprint};
use crate::{Session, SessionError, SessionOptions};
use runtime_kernels::elementwise::{Activation, Binary, Broadcast, Order, binary};
use runtime_kernels::gemm::{
    Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, PackedF32, PackedInt8, Side, gemm,
    gemm_int8,
};
use runtime_kernels::quantized::RawOutput;
use runtime_kernels::{Context, KernelError, MatRef, Scratch};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Rows and columns of the products that stand for the peak.
const CUBE: usize = 512;
/// Bytes of the three arrays of a sum: in the first cache of a core, its second one, a shared one, and beyond.
const STREAMS: [usize; 6] = [16 << 10, 256 << 10, 768 << 10, 4 << 20, 16 << 20, 96 << 20];
/// Time for one peak or bandwidth.
const PEAK_TIME: Duration = Duration::from_millis(60);
/// Time for one model.
const CASE_TIME: Duration = Duration::from_millis(8);
/// Calls at least, the first of which may find the caches cold.
const LEAST_CALLS: usize = 4;
/// Calls of a model at most.
const MOST_CALLS: usize = 400;

impl Machine {
    /// Measures this machine with the instruction set and the threads of `options`, in two to three seconds.
    ///
    /// # Errors
    /// [`SessionError::Threads`] where they cannot be started; [`SessionError::Measure`] where a kernel fails, which none does.
    pub fn measure(options: &SessionOptions) -> Result<Self, SessionError> {
        let context = crate::session::context(options)?;
        let options = options
            .clone()
            .with_parallelism(context.parallelism.clone())
            .with_isa(context.isa)
            .with_profile();
        let mut machine = Self::unmeasured(&context);
        machine.f32_macs_per_second = float_peak(&context).map_err(SessionError::Measure)?;
        machine.int8_macs_per_second = int8_peak(&context).map_err(SessionError::Measure)?;
        for bytes in STREAMS {
            let bytes_per_second = stream(&context, bytes).map_err(SessionError::Measure)?;
            machine.bandwidths.push(Bandwidth {
                working_set: bytes as u64,
                bytes_per_second,
            });
        }
        let mut classes: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for case in cases() {
            machine.add_samples(case, &options, &mut classes)?;
        }
        let rates = classes
            .into_iter()
            .filter_map(|(class, samples)| Some((class, rate(&samples)?)));
        machine.rates = rates.collect();
        Ok(machine)
    }

    /// The machine by name, before anything is known of it.
    pub(super) fn unmeasured(context: &Context) -> Self {
        Self {
            cpu: super::cache::cpu_name(),
            isa: context.isa.name().to_owned(),
            threads: context.parallelism.threads(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            f32_macs_per_second: 0.0,
            int8_macs_per_second: 0.0,
            bandwidths: Vec::new(),
            step_seconds: f64::INFINITY,
            rates: BTreeMap::new(),
        }
    }

    /// Runs a model, and adds the steps of one piece to the samples of their classes.
    fn add_samples(
        &mut self,
        case: Case,
        options: &SessionOptions,
        classes: &mut BTreeMap<String, Vec<Sample>>,
    ) -> Result<(), SessionError> {
        let session = Session::new(case.model, options)?;
        let inputs = &case.inputs;
        let shapes: Vec<(&str, &[usize])> = inputs.iter().map(|(n, t)| (*n, t.shape())).collect();
        let works = session.works(&shapes)?;
        let (started, mut outputs) = (Instant::now(), Vec::new());
        for call in 0..MOST_CALLS {
            session.run_into(inputs, &mut outputs)?;
            if call + 1 >= LEAST_CALLS && started.elapsed() > CASE_TIME {
                break;
            }
        }
        let times = session.fastest_by_row();
        let footprint = footprint(&works);
        for work in &works {
            let Some(seconds) = times.get(work.row).map(Duration::as_secs_f64) else {
                continue;
            };
            // The clock may not tell the shortest step from none.
            let seconds = seconds.max(1e-9);
            match &work.pieces[..] {
                [] if work.bytes == Some(0) => self.step_seconds = self.step_seconds.min(seconds),
                [piece] => {
                    let farther = beyond_cache(work, self, footprint);
                    let sample = Sample {
                        macs: piece.macs,
                        bytes: piece.bytes,
                        seconds: (seconds - farther).max(seconds / 2.0),
                    };
                    classes.entry(piece.class.clone()).or_default().push(sample);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Multiply-accumulates of f32 per second.
fn float_peak(context: &Context) -> Result<f64, KernelError> {
    let (a, b) = (vec![0.5f32; CUBE * CUBE], vec![0.25f32; CUBE * CUBE]);
    let weight = MatRef::row_major(&b, CUBE, CUBE)?;
    let weight = PackedF32::new(context.isa, Side::Rhs, weight)?;
    let left = MatRef::row_major(&a, CUBE, CUBE)?;
    let (mut out, mut scratch) = (vec![0f32; CUBE * CUBE], Scratch::new());
    let seconds = fastest(|| {
        gemm(
            context,
            &mut scratch,
            FloatOperand::Matrix(left),
            FloatOperand::Packed(&weight),
            &Epilogue::default(),
            &mut out,
        )
    })?;
    Ok((CUBE * CUBE * CUBE) as f64 / seconds)
}

/// Multiply-accumulates of bytes per second.
fn int8_peak(context: &Context) -> Result<f64, KernelError> {
    let (a, b) = (vec![100u8; CUBE * CUBE], vec![-3i8; CUBE * CUBE]);
    let weight = Int8Matrix::I8(MatRef::row_major(&b, CUBE, CUBE)?);
    let weight = PackedInt8::new(context.isa, Side::Rhs, weight, &[0])?;
    let product = Int8Gemm {
        lhs: Int8Operand::Matrix(Int8Matrix::U8(MatRef::row_major(&a, CUBE, CUBE)?), &[90]),
        rhs: Int8Operand::Packed(&weight),
        bias: &[],
    };
    let (mut out, mut scratch) = (vec![0i32; CUBE * CUBE], Scratch::new());
    let seconds = fastest(|| gemm_int8(context, &mut scratch, &product, &RawOutput, &mut out))?;
    Ok((CUBE * CUBE * CUBE) as f64 / seconds)
}

/// Bytes per second of `y = a + b`, whose three arrays take `bytes` together.
fn stream(context: &Context, bytes: usize) -> Result<f64, KernelError> {
    let elements = bytes / (3 * size_of::<f32>());
    let (a, b) = (vec![0.5f32; elements], vec![0.25f32; elements]);
    let mut y = vec![0f32; elements];
    // One sum of a small array takes less than the clock tells apart.
    let times = (1 << 20) / bytes.max(1) + 1;
    let (same, none) = (Broadcast::Same, Activation::None);
    let seconds = fastest(|| {
        (0..times).try_for_each(|_| {
            binary(
                context,
                Binary::Add,
                same,
                Order::Forward,
                none,
                &a,
                &b,
                &mut y,
            )
        })
    })?;
    Ok((times * bytes) as f64 / seconds)
}

/// Seconds of the fastest call.
fn fastest(mut call: impl FnMut() -> Result<(), KernelError>) -> Result<f64, KernelError> {
    let (started, mut least, mut calls) = (Instant::now(), f64::INFINITY, 0);
    while calls < LEAST_CALLS || started.elapsed() < PEAK_TIME {
        let start = Instant::now();
        call()?;
        least = least.min(start.elapsed().as_secs_f64());
        calls += 1;
    }
    Ok(least.max(1e-9))
}
