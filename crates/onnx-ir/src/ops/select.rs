//! Moving elements of any type: each output element is a copy of one input element.
//!
//! [`assemble`] is the general form: the result is a row of runs, each run a stretch of consecutive
//! elements of some tensor. Runs of byte-sized types are plain memory copies.

use crate::operator::EvalError;
use compress_tensor::{DType, Tensor, TensorError, element_count};

/// A stretch of consecutive elements of a tensor: the tensor, the first element, the number of elements.
pub type Run<'a> = (&'a Tensor, usize, usize);

/// A tensor of `shape` made of runs, one after the other. All tensors must have the type `dtype`, the
/// runs must add up to the elements of `shape`; check the shape against the limits first.
///
/// # Errors
/// [`EvalError::Rule`] for a run outside of its tensor; [`EvalError::Tensor`] for a wrong count or type.
pub fn assemble<'a>(
    dtype: DType,
    shape: &[usize],
    runs: impl Iterator<Item = Run<'a>>,
) -> Result<Tensor, EvalError> {
    match dtype.bits() {
        None => assemble_strings(shape, runs),
        Some(bits) if bits < 8 => assemble_packed(dtype, bits, shape, runs),
        Some(bits) => {
            let width = bits / 8;
            let mut out: Vec<u8> = Vec::new();
            for run in runs {
                let (x, start, len) = checked(dtype, run)?;
                out.extend_from_slice(&x.bytes()[start * width..(start + len) * width]);
            }
            from_byte_vec(dtype, shape, out)
        }
    }
}

/// A tensor of `shape` whose element `i` is element `sources[i]` of `x`, of whatever type.
/// There must be as many sources as elements, each within `x`.
///
/// # Errors
/// Those of [`assemble`].
pub fn select(
    x: &Tensor,
    shape: &[usize],
    sources: impl Iterator<Item = usize>,
) -> Result<Tensor, EvalError> {
    assemble(x.dtype(), shape, sources.map(|i| (x, i, 1)))
}

/// A tensor of `shape` whose element at index `k` is element `start + sum(k[a] * strides[a])` of `x`.
///
/// # Errors
/// Those of [`assemble`].
pub fn strided(
    x: &Tensor,
    shape: &[usize],
    start: isize,
    strides: &[isize],
) -> Result<Tensor, EvalError> {
    if shape.contains(&0) {
        return assemble(x.dtype(), shape, std::iter::empty());
    }
    // The trailing axes that are read in memory order form the runs.
    let mut outer = shape.len();
    let mut run = 1usize;
    while outer > 0 && (strides[outer - 1] == run as isize || shape[outer - 1] == 1) {
        outer -= 1;
        run *= shape[outer];
    }
    let offsets = Offsets::new(&shape[..outer], &strides[..outer], start);
    let runs = offsets.map(|o| (x, usize::try_from(o).unwrap_or(usize::MAX), run));
    assemble(x.dtype(), shape, runs)
}

/// A tensor whose element at index `k` is the element of `x` at `tables[0][k0], tables[1][k1], ...`, or
/// the one element of `fill` where a table has none. One table for each axis of `x`, within its size.
///
/// # Errors
/// Those of [`assemble`].
pub fn mapped(
    x: &Tensor,
    tables: &[Vec<Option<usize>>],
    fill: &Tensor,
) -> Result<Tensor, EvalError> {
    let shape: Vec<usize> = tables.iter().map(Vec::len).collect();
    let Some((last, outer)) = tables.split_last().filter(|_| !shape.contains(&0)) else {
        let whole = if tables.is_empty() { x.len() } else { 0 };
        return assemble(x.dtype(), &shape, std::iter::once((x, 0, whole)));
    };
    let strides = c_strides(x.shape());
    let mut bases = vec![Some(0usize)];
    for (table, &stride) in outer.iter().zip(&strides) {
        let step = |base: Option<usize>, i: Option<usize>| Some(base? + i? * stride.unsigned_abs());
        let next = bases
            .iter()
            .flat_map(|&b| table.iter().map(move |&i| step(b, i)));
        bases = next.collect();
    }
    let stretches = stretches(last);
    let runs = bases.iter().flat_map(|base| {
        stretches
            .iter()
            .flat_map(move |&(start, len)| match (base, start) {
                (Some(base), Some(start)) => std::iter::repeat_n((x, base + start, len), 1),
                _ => std::iter::repeat_n((fill, 0, 1), len),
            })
    });
    assemble(x.dtype(), &shape, runs)
}

/// A table as stretches of neighbours: the first source (none for what is filled) and the length.
fn stretches(table: &[Option<usize>]) -> Vec<(Option<usize>, usize)> {
    let mut out: Vec<(Option<usize>, usize)> = Vec::new();
    for &source in table {
        match (out.last_mut(), source) {
            (Some((None, len)), None) => *len += 1,
            (Some((Some(start), len)), Some(i)) if *start + *len == i => *len += 1,
            _ => out.push((source, 1)),
        }
    }
    out
}

/// A tensor of which all bits are 0: zeros, `false`, empty strings. Check the shape first.
///
/// # Errors
/// [`EvalError::Tensor`] for a shape that overflows.
pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, EvalError> {
    let too_large = || {
        EvalError::Tensor(TensorError::TooLarge {
            shape: shape.to_vec(),
            dtype,
        })
    };
    let count = element_count(shape).ok_or_else(too_large)?;
    if dtype == DType::String {
        return Ok(Tensor::from_strings(shape, vec![String::new(); count])?);
    }
    let bytes = dtype.byte_len(count).ok_or_else(too_large)?;
    from_byte_vec(dtype, shape, vec![0; bytes])
}

/// The distance between neighbours along each axis of a C-order tensor, in elements.
pub fn c_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1isize;
    for (s, &d) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step = step.saturating_mul(d.max(1) as isize);
    }
    strides
}

/// The offsets `start + sum(k[a] * strides[a])` for every index `k` of a shape in C order.
#[derive(Clone, Debug)]
pub struct Offsets<'a> {
    shape: &'a [usize],
    strides: &'a [isize],
    index: Vec<usize>,
    offset: isize,
    done: bool,
}

impl<'a> Offsets<'a> {
    /// Offsets over `shape`; one offset for an empty shape, none where a dimension is 0.
    pub fn new(shape: &'a [usize], strides: &'a [isize], start: isize) -> Self {
        Self {
            shape,
            strides,
            index: vec![0; shape.len()],
            offset: start,
            done: shape.contains(&0),
        }
    }
}

impl Iterator for Offsets<'_> {
    type Item = isize;

    fn next(&mut self) -> Option<isize> {
        if self.done {
            return None;
        }
        let here = self.offset;
        let mut axis = self.shape.len();
        loop {
            if axis == 0 {
                self.done = true;
                return Some(here);
            }
            axis -= 1;
            self.index[axis] += 1;
            self.offset = self.offset.wrapping_add(self.strides[axis]);
            if self.index[axis] < self.shape[axis] {
                return Some(here);
            }
            let back = self.strides[axis].wrapping_mul(self.shape[axis] as isize);
            self.offset = self.offset.wrapping_sub(back);
            self.index[axis] = 0;
        }
    }
}

/// The run, if it lies within its tensor and has the right type.
fn checked(dtype: DType, (x, start, len): Run<'_>) -> Result<Run<'_>, EvalError> {
    if x.dtype() != dtype {
        return Err(EvalError::rule(
            "all parts must have one element type",
            format_args!("{dtype} and {}", x.dtype()),
        ));
    }
    match start.checked_add(len) {
        Some(end) if end <= x.len() => Ok((x, start, len)),
        _ => Err(EvalError::rule(
            "every index must lie within the tensor",
            format_args!("{len} from {start} of {}", x.len()),
        )),
    }
}

fn assemble_strings<'a>(
    shape: &[usize],
    runs: impl Iterator<Item = Run<'a>>,
) -> Result<Tensor, EvalError> {
    let mut out = Vec::new();
    for run in runs {
        let (x, start, len) = checked(DType::String, run)?;
        out.extend_from_slice(&x.strings()?[start..start + len]);
    }
    Ok(Tensor::from_strings(shape, out)?)
}

/// For types of which several elements share a byte, the first in the lowest bits.
fn assemble_packed<'a>(
    dtype: DType,
    bits: usize,
    shape: &[usize],
    runs: impl Iterator<Item = Run<'a>>,
) -> Result<Tensor, EvalError> {
    let per_byte = 8 / bits;
    let mask = (1u8 << bits) - 1;
    let mut out: Vec<u8> = Vec::new();
    let mut n = 0;
    for run in runs {
        let (x, start, len) = checked(dtype, run)?;
        for i in start..start + len {
            let element = x.bytes()[i / per_byte] >> (i % per_byte * bits) & mask;
            if n % per_byte == 0 {
                out.push(0);
            }
            if let Some(last) = out.last_mut() {
                *last |= element << (n % per_byte * bits);
            }
            n += 1;
        }
    }
    from_byte_vec(dtype, shape, out)
}

/// A tensor from native-endian bytes that is aligned for its type.
fn from_byte_vec(dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Result<Tensor, EvalError> {
    Ok(Tensor::from_bytes(dtype, shape, bytes.into())?.to_aligned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_elements_move_one_by_one() {
        // 1, 2, 3 as u4.
        let x = Tensor::from_bytes(DType::U4, &[3], vec![0x21, 0x03].into()).unwrap();
        let y = select(&x, &[4], [2, 0, 1, 2].into_iter()).unwrap();
        assert_eq!(y.bytes(), [0x13, 0x32]);
    }

    #[test]
    fn a_source_outside_of_the_tensor_is_an_error() {
        let x = Tensor::vector(vec![1f32, 2.0]);
        assert!(matches!(
            select(&x, &[1], [2].into_iter()),
            Err(EvalError::Rule { .. })
        ));
    }

    #[test]
    fn tables_repeat_flip_and_fill() {
        let x = Tensor::from_vec(&[2, 2], vec![1i32, 2, 3, 4]).unwrap();
        let tables = [vec![Some(1), None], vec![None, Some(0), Some(1), Some(0)]];
        let y = mapped(&x, &tables, &Tensor::scalar(9i32)).unwrap();
        assert_eq!(*y.data::<i32>().unwrap(), [9, 3, 4, 3, 9, 9, 9, 9]);
    }

    #[test]
    fn strides_may_be_negative_and_runs_are_joined() {
        let x = Tensor::from_vec(&[3, 2], vec![1i32, 2, 3, 4, 5, 6]).unwrap();
        let flipped = strided(&x, &[3, 2], 4, &[-2, 1]).unwrap();
        assert_eq!(*flipped.data::<i32>().unwrap(), [5, 6, 3, 4, 1, 2]);
        let transposed = strided(&x, &[2, 3], 0, &[1, 2]).unwrap();
        assert_eq!(*transposed.data::<i32>().unwrap(), [1, 3, 5, 2, 4, 6]);
        assert!(strided(&x, &[2], 0, &[-1]).is_err());
    }
}
