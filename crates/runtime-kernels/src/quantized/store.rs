//! Stores a register tile of exact sums: corrected for zero points, then through the epilogue.

use super::output::{Channels, Dequantize, QuantByte, SumRule, SumTile};
use super::requantize::Requantization;
use crate::elementwise::activate_tile;
use crate::isa::{MAX_LANES, Simd, simd_dispatch};
use crate::threads::{Place, TileMut};

/// How sums stand in a tile: as words, or as floats that are exact integers.
pub(crate) trait SumWord: Copy {
    /// A vector of them.
    fn load<S: Simd>(s: S, from: &[Self]) -> S::I;
}

impl SumWord for i32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[i32]) -> S::I {
        s.load_i32(from)
    }
}

impl SumWord for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[f32]) -> S::I {
        s.to_i32(s.load(from))
    }
}

/// A register tile of sums: rows of two vectors, and what is still to be added to each.
pub(crate) struct Sums<'a, W> {
    /// Rows of `2 * LANES` words.
    pub(crate) acc: &'a [W],
    /// Which channel each row or column belongs to.
    pub(crate) channels: Channels,
    /// By how much the epilogue counts the channels from another one.
    pub(crate) first: usize,
    /// Summand of every channel; none if empty.
    pub(crate) offsets: &'a [i32],
    /// Zero point of every channel, or empty.
    pub(crate) zero_points: &'a [i32],
    /// Multiplied by the zero points: one number per row or column of the tile, across the
    /// channels.
    pub(crate) line_sums: &'a [i32],
}

impl<W: SumWord> Sums<'_, W> {
    /// The channels as the epilogue counts them.
    #[inline(always)]
    fn outer(&self) -> Channels {
        match self.channels {
            Channels::Rows(c) => Channels::Rows(c + self.first),
            Channels::Cols(c) => Channels::Cols(c + self.first),
        }
    }

    /// A vector of the tile.
    #[inline(always)]
    fn stored<S: Simd>(&self, s: S, row: usize, col: usize) -> S::I {
        W::load(s, &self.acc[row * 2 * S::LANES + col..])
    }

    /// Whether the same is added to every row: the channels are columns without zero points.
    #[inline(always)]
    fn are_by_columns(&self) -> bool {
        matches!(self.channels, Channels::Cols(_)) && self.zero_points.is_empty()
    }

    /// The sums of row `row` from column `col` on, `n` of them live.
    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, row: usize, col: usize, n: usize) -> S::I {
        let acc = self.stored(s, row, col);
        let offset = channel_words(s, self.offsets, self.channels, row, col, n);
        let sum = s.add_i32(acc, offset);
        if self.zero_points.is_empty() {
            return sum;
        }
        let z = channel_words(s, self.zero_points, self.channels, row, col, n);
        let across = match self.channels {
            Channels::Rows(_) => words(s, &self.line_sums[col..], n),
            Channels::Cols(_) => s.splat_i32(self.line_sums[row]),
        };
        s.sub_i32(sum, s.mul_i32(z, across))
    }
}

simd_dispatch! {
    /// Stores a tile of sums. Compiled once, not into every product.
    pub(crate) fn store_sums[W: SumWord](
        s: S,
        rule: SumRule<'_>,
        sums: &Sums<'_, W>,
        at: Place,
        out: &mut SumTile<'_>,
    ) {
        match (rule, out) {
            (SumRule::Raw, SumTile::I32(out)) => store_raw(s, sums, at, out),
            (SumRule::Dequantize(d), SumTile::F32(out)) => store_floats(s, d, sums, at, out),
            (SumRule::Requantize(r), SumTile::U8(out)) => store_bytes(s, r, sums, at, out),
            (SumRule::Requantize(r), SumTile::I8(out)) => store_bytes(s, r, sums, at, out),
            _ => unreachable!("an epilogue and the tile of its own result type"),
        }
    }
}

/// Rows of up to `V` vectors of channels, all of which have the same summands: what most of a product is.
///
/// Sums are rounded first and saturated while four vectors become one of bytes (see [`Requantization::packs`]).
#[inline(always)]
fn packed_rows<S: Simd, W: SumWord, T: QuantByte, const V: usize>(
    s: S,
    r: &Requantization,
    sums: &Sums<'_, W>,
    at: Place,
    out: &mut TileMut<'_, T>,
) {
    let (mut offsets, mut multipliers) = ([s.splat_i32(0); V], [s.splat(0.0); V]);
    for v in 0..V {
        let (col, n) = (v * S::LANES, S::LANES.min(at.cols - v * S::LANES));
        offsets[v] = channel_words(s, sums.offsets, sums.channels, 0, col, n);
        multipliers[v] = channel_floats(s, &r.multipliers, sums.outer(), 0, col, n);
    }
    let (low, high) = packed_range(s, r);
    let mut rows = out.rows_from((at.row, at.rows), (at.col, at.cols));
    let (nr, per_pack) = (2 * S::LANES, 4 / V);
    for acc in sums.acc[..at.rows * nr].chunks(per_pack * nr) {
        let last = acc.len() / nr - 1;
        let mut scaled = [offsets[0]; 4];
        for (i, scaled) in scaled.iter_mut().enumerate() {
            let (row, v) = ((i / V).min(last), i % V);
            let sum = s.add_i32(W::load(s, &acc[row * nr + v * S::LANES..]), offsets[v]);
            *scaled = s.to_i32(s.mul(s.to_f32(sum), multipliers[v]));
        }
        let bytes = s.straighten(s.pack::<T>(scaled, r.zero_point));
        let mut lines = [T::default(); 4 * MAX_LANES];
        s.store_bytes(s.clamp_bytes::<T>(bytes, low, high), &mut lines);
        for (line, row) in lines
            .chunks_exact(V * S::LANES)
            .zip(rows.by_ref().take(last + 1))
        {
            copy_short(line, row);
        }
    }
}

/// The least and the greatest value of the results, in all bytes of a vector.
#[inline(always)]
pub(crate) fn packed_range<S: Simd>(s: S, r: &Requantization) -> (S::I, S::I) {
    let bytes = |x: i32| s.splat_i32(i32::from_le_bytes([x as u8; 4]));
    (bytes(r.q_min), bytes(r.q_max))
}

/// Fills `to` from the start of `from`, by overlapping pieces of one size: a call of `memcpy` takes longer.
#[inline(always)]
pub(crate) fn copy_short<T: Copy>(from: &[T], to: &mut [T]) {
    let len = to.len();
    let from = &from[..len];
    match len {
        32.. => copy_pieces::<T, 32>(from, to),
        16.. => copy_pieces::<T, 16>(from, to),
        8.. => copy_pieces::<T, 8>(from, to),
        4.. => copy_pieces::<T, 4>(from, to),
        _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
    }
}

#[inline(always)]
fn copy_pieces<T: Copy, const N: usize>(from: &[T], to: &mut [T]) {
    let (pieces, _) = from.as_chunks::<N>();
    let (places, _) = to.as_chunks_mut::<N>();
    for (place, piece) in places.iter_mut().zip(pieces) {
        *place = *piece;
    }
    if to.len().is_multiple_of(N) {
        return;
    }
    if let (Some(place), Some(piece)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *place = *piece;
    }
}

/// What a scaled sum may be before the zero point is added, and the zero point.
#[inline(always)]
fn byte_bounds<S: Simd, T: QuantByte>(s: S, r: &Requantization) -> (S::F, S::F, S::I) {
    let low = r.q_min.max(T::MIN).saturating_sub(r.zero_point);
    let high = r.q_max.min(T::MAX).saturating_sub(r.zero_point);
    (
        s.splat(low as f32),
        s.splat(high as f32),
        s.splat_i32(r.zero_point),
    )
}

#[inline(always)]
fn store_raw<S: Simd, W: SumWord>(s: S, sums: &Sums<'_, W>, at: Place, out: &mut TileMut<'_, i32>) {
    for row in 0..at.rows {
        for col in (0..at.cols).step_by(S::LANES) {
            let n = S::LANES.min(at.cols - col);
            let sum = sums.vector(s, row, col, n);
            let dst = out.row(at.row + row, at.col + col, n);
            if n == S::LANES {
                s.store_i32(sum, dst);
            } else {
                let mut lanes = [0; MAX_LANES];
                s.store_i32(sum, &mut lanes);
                dst.copy_from_slice(&lanes[..n]);
            }
        }
    }
}

#[inline(always)]
fn store_floats<S: Simd, W: SumWord>(
    s: S,
    d: &Dequantize<'_>,
    sums: &Sums<'_, W>,
    at: Place,
    out: &mut TileMut<'_, f32>,
) {
    let channels = sums.outer();
    let clamp = d.activation.clamp();
    let (low, high) = clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let (low, high) = (s.splat(low), s.splat(high));
    if clamp.is_some() && sums.are_by_columns() {
        if at.cols == 2 * S::LANES {
            return float_rows::<S, W, 2>(s, d, (low, high), sums, at, out);
        }
        if at.cols == S::LANES {
            return float_rows::<S, W, 1>(s, d, (low, high), sums, at, out);
        }
    }
    for col in (0..at.cols).step_by(S::LANES) {
        let n = S::LANES.min(at.cols - col);
        let mut scale = channel_floats(s, d.scales, channels, 0, col, n);
        let mut bias = channel_floats(s, d.bias, channels, 0, col, n);
        for row in 0..at.rows {
            if let Channels::Rows(_) = channels {
                scale = channel_floats(s, d.scales, channels, row, col, n);
                bias = channel_floats(s, d.bias, channels, row, col, n);
            }
            let sum = s.to_f32(sums.vector(s, row, col, n));
            let x = s.add(s.mul(sum, scale), bias);
            let y = s.min(high, s.max(low, x));
            let dst = out.row(at.row + row, at.col + col, n);
            if n == S::LANES {
                s.store(y, dst);
            } else {
                s.store_partial(y, dst);
            }
        }
    }
    if clamp.is_none() {
        activate_tile(s.isa(), d.activation, at, out);
    }
}

/// Rows of `V` whole vectors of channels, all of which have the same summands, scaled to real numbers.
#[inline(always)]
fn float_rows<S: Simd, W: SumWord, const V: usize>(
    s: S,
    d: &Dequantize<'_>,
    (low, high): (S::F, S::F),
    sums: &Sums<'_, W>,
    at: Place,
    out: &mut TileMut<'_, f32>,
) {
    let channels = sums.outer();
    let mut offsets = [s.splat_i32(0); V];
    let (mut scales, mut bias) = ([low; V], [low; V]);
    for v in 0..V {
        let (col, n) = (v * S::LANES, S::LANES);
        offsets[v] = channel_words(s, sums.offsets, sums.channels, 0, col, n);
        scales[v] = channel_floats(s, d.scales, channels, 0, col, n);
        bias[v] = channel_floats(s, d.bias, channels, 0, col, n);
    }
    let rows = out.rows_from((at.row, at.rows), (at.col, V * S::LANES));
    for (acc, dst) in sums.acc.chunks_exact(2 * S::LANES).zip(rows) {
        let (acc, dst) = (&acc[..V * S::LANES], &mut dst[..V * S::LANES]);
        for v in 0..V {
            let sum = W::load(s, &acc[v * S::LANES..]);
            let x = s.mul(s.to_f32(s.add_i32(sum, offsets[v])), scales[v]);
            let y = s.min(high, s.max(low, s.add(x, bias[v])));
            s.store(y, &mut dst[v * S::LANES..]);
        }
    }
}

#[inline(always)]
fn store_bytes<S: Simd, W: SumWord, T: QuantByte>(
    s: S,
    r: &Requantization,
    sums: &Sums<'_, W>,
    at: Place,
    out: &mut TileMut<'_, T>,
) {
    if !r.is_float() {
        return store_fixed_point(s, r, sums, at, out);
    }
    if r.packs::<T>() && sums.are_by_columns() && at.rows > 0 && at.cols > 0 {
        if at.cols > S::LANES {
            return packed_rows::<S, W, T, 2>(s, r, sums, at, out);
        }
        return packed_rows::<S, W, T, 1>(s, r, sums, at, out);
    }
    let channels = sums.outer();
    let (low, high, zero_point) = byte_bounds::<S, T>(s, r);
    for col in (0..at.cols).step_by(S::LANES) {
        let n = S::LANES.min(at.cols - col);
        let mut m = channel_floats(s, &r.multipliers, channels, 0, col, n);
        let byte = |sum, m| {
            let x = s.min(s.max(s.mul(s.to_f32(sum), m), low), high);
            s.add_i32(s.to_i32(x), zero_point)
        };
        for row in 0..at.rows {
            if let Channels::Rows(_) = channels {
                m = channel_floats(s, &r.multipliers, channels, row, col, n);
            }
            let q = byte(sums.vector(s, row, col, n), m);
            let dst = out.row(at.row + row, at.col + col, n);
            if n == S::LANES {
                T::store(s, q, dst);
            } else {
                let mut lanes = [T::default(); MAX_LANES];
                T::store(s, q, &mut lanes);
                dst.copy_from_slice(&lanes[..n]);
            }
        }
    }
}

/// The rules with 64-bit products, element by element.
#[inline(always)]
fn store_fixed_point<S: Simd, W: SumWord, T: QuantByte>(
    s: S,
    r: &Requantization,
    sums: &Sums<'_, W>,
    at: Place,
    out: &mut TileMut<'_, T>,
) {
    let mut lanes = [0; MAX_LANES];
    for row in 0..at.rows {
        for col in (0..at.cols).step_by(S::LANES) {
            let n = S::LANES.min(at.cols - col);
            s.store_i32(sums.vector(s, row, col, n), &mut lanes);
            let dst = out.row(at.row + row, at.col + col, n);
            for (i, (dst, &sum)) in dst.iter_mut().zip(&lanes).enumerate() {
                let channel = match sums.outer() {
                    Channels::Rows(c) => c + row,
                    Channels::Cols(c) => c + col + i,
                };
                *dst = T::from_i32(r.apply(sum, channel).clamp(T::MIN, T::MAX));
            }
        }
    }
}

/// The parameters of the results from (`row`, `col`) of a tile on; a list of one serves all, an
/// empty one is zero.
#[inline(always)]
fn channel_floats<S: Simd>(
    s: S,
    list: &[f32],
    channels: Channels,
    row: usize,
    col: usize,
    n: usize,
) -> S::F {
    match (list, channels) {
        ([], _) => s.splat(0.0),
        ([one], _) => s.splat(*one),
        (list, Channels::Rows(c)) => s.splat(list[c + row]),
        (list, Channels::Cols(c)) if n == S::LANES => s.load(&list[c + col..]),
        (list, Channels::Cols(c)) => s.load_partial(&list[c + col..c + col + n], 0.0),
    }
}

/// As [`channel_floats`], for words; a list that is not empty has one for every channel.
#[inline(always)]
fn channel_words<S: Simd>(
    s: S,
    list: &[i32],
    channels: Channels,
    row: usize,
    col: usize,
    n: usize,
) -> S::I {
    match channels {
        _ if list.is_empty() => s.splat_i32(0),
        Channels::Rows(c) => s.splat_i32(list[c + row]),
        Channels::Cols(c) => words(s, &list[c + col..], n),
    }
}

/// The first `n` words of a list.
#[inline(always)]
fn words<S: Simd>(s: S, list: &[i32], n: usize) -> S::I {
    if list.len() >= S::LANES {
        return s.load_i32(list);
    }
    let mut lanes = [0; MAX_LANES];
    lanes[..n].copy_from_slice(&list[..n]);
    s.load_i32(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, MAX_NR};
    use crate::quantized::RequantRule;

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_scalar_rule() {
        for rule in [
            RequantRule::OnnxRuntime,
            RequantRule::TfliteDoubleRounding,
            RequantRule::TfliteSingleRounding,
        ] {
            for isa in Isa::available() {
                let nr = isa.tile().nr;
                for (cols, by_row) in [(nr, false), (nr - 3, false), (nr - 1, true), (3, false)] {
                    let rows = 4;
                    let scales: Vec<f32> = (0..MAX_NR).map(|i| 0.0013 * (i + 1) as f32).collect();
                    let offsets: Vec<i32> = (0..MAX_NR as i32).map(|i| 31 * i - 99).collect();
                    let acc: Vec<i32> = (0..(rows * nr) as i32)
                        .map(|i| (i % 37 - 18) * 977 + i * i * 3)
                        .collect();
                    let r = Requantization::new(rule, 0.7, &scales, 1.3, 19, (0, 255)).unwrap();
                    let sums = Sums {
                        acc: &acc,
                        channels: if by_row {
                            Channels::Rows(0)
                        } else {
                            Channels::Cols(0)
                        },
                        first: 0,
                        offsets: &offsets,
                        zero_points: &[],
                        line_sums: &[],
                    };
                    let at = Place {
                        row: 1,
                        col: 2,
                        rows,
                        cols,
                    };
                    let stride = cols + 2;
                    let mut out = vec![0u8; (rows + 1) * stride];
                    let tile = TileMut::new(&mut out, rows + 1, stride, stride).unwrap();
                    let rule = SumRule::Requantize(&r);
                    store_sums(isa, rule, &sums, at, &mut SumTile::U8(tile));
                    for row in 0..rows {
                        for col in 0..cols {
                            let channel = if by_row { row } else { col };
                            let expected =
                                r.apply(acc[row * nr + col] + offsets[channel], channel) as u8;
                            let got = out[(row + 1) * stride + col + 2];
                            assert_eq!(got, expected, "{isa} {rule:?} {row} {col}");
                        }
                    }
                }
            }
        }
    }
}
