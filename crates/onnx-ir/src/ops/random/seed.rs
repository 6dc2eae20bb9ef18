//! The seeds of random operators.

use super::mersenne_twister::MersenneTwister;
use crate::operator::prelude::*;

/// Reads the attribute `seed`, a FLOAT of which the whole part counts.
///
/// # Errors
/// [`AttrError::WrongKind`].
pub fn parse(attrs: &mut Attrs<'_>) -> Result<Option<i64>, AttrError> {
    let seed = attrs.f32_opt("seed")?;
    Ok(seed.filter(|s| s.is_finite()).map(|s| s as i64))
}

/// The generator for a seed attribute, or for the run's seed.
pub fn generator(cx: &EvalContext<'_>, seed: Option<i64>) -> MersenneTwister {
    let seed = seed.map_or(cx.seed(), |s| s as u64);
    MersenneTwister::new((seed ^ seed >> 32) as u32)
}
