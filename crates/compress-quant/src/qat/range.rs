//! The codes of so many bits.

use crate::QuantError;

/// The least and the greatest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// `q_min`.
    pub q_min: i32,
    /// `q_max`.
    pub q_max: i32,
}

impl CodeRange {
    /// `-2^(b-1) ..= 2^(b-1) - 1`, for `b` of 2 to 8.
    ///
    /// # Errors
    /// [`QuantError::Setting`] for other numbers of bits.
    pub fn signed(bits: u32) -> Result<Self, QuantError> {
        let half = 1 << (check(bits)? - 1);
        Ok(Self {
            q_min: -half,
            q_max: half - 1,
        })
    }

    /// `-(2^(b-1) - 1) ..= 2^(b-1) - 1`: without the code that has no opposite.
    ///
    /// # Errors
    /// As [`CodeRange::signed`].
    pub fn symmetric(bits: u32) -> Result<Self, QuantError> {
        let Self { q_max, .. } = Self::signed(bits)?;
        Ok(Self {
            q_min: -q_max,
            q_max,
        })
    }

    /// `0 ..= 2^b - 1`, for `b` of 2 to 8.
    ///
    /// # Errors
    /// As [`CodeRange::signed`].
    pub fn unsigned(bits: u32) -> Result<Self, QuantError> {
        Ok(Self {
            q_min: 0,
            q_max: (1 << check(bits)?) - 1,
        })
    }
}

/// The number of bits, where codes have so many.
pub(crate) fn check(bits: u32) -> Result<u32, QuantError> {
    match bits {
        2..=8 => Ok(bits),
        _ => Err(QuantError::Setting {
            setting: "the number of bits",
            found: f64::from(bits),
            rule: "it must be 2 to 8",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::CodeRange;

    #[test]
    fn ranges_hold_two_to_the_bits_codes() {
        let range = |q_min, q_max| CodeRange { q_min, q_max };
        assert_eq!(CodeRange::signed(8), Ok(range(-128, 127)));
        assert_eq!(CodeRange::signed(2), Ok(range(-2, 1)));
        assert_eq!(CodeRange::symmetric(4), Ok(range(-7, 7)));
        assert_eq!(CodeRange::unsigned(4), Ok(range(0, 15)));
        assert_eq!(CodeRange::unsigned(8), Ok(range(0, 255)));
        for bits in [0, 1, 9, 32] {
            let error = CodeRange::signed(bits).unwrap_err().to_string();
            assert!(error.ends_with("it must be 2 to 8"), "{error}");
        }
    }
}
