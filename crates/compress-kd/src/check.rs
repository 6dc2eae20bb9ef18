//! What every loss asks of its inputs and of its result.

use crate::KdError;
use crate::element::wide;
use ndarray::{Array, ArrayRef, Dimension};
use num_traits::Float;

/// There are elements, and all are finite.
pub(crate) fn readable<F: Float, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<F, D>,
) -> Result<(), KdError> {
    filled(what, array)?;
    match array.iter().enumerate().find(|(_, x)| !x.is_finite()) {
        None => Ok(()),
        Some((index, &x)) => Err(KdError::NotFinite {
            what,
            index,
            value: wide(x),
        }),
    }
}

/// There are elements.
pub(crate) fn filled<A, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<A, D>,
) -> Result<(), KdError> {
    if array.is_empty() {
        return Err(KdError::Empty {
            what,
            shape: array.shape().to_vec(),
        });
    }
    Ok(())
}

/// The shape is the one that something else asks for.
pub(crate) fn shape(
    what: &'static str,
    found: &[usize],
    reference: &'static str,
    expected: &[usize],
) -> Result<(), KdError> {
    if found != expected {
        return Err(KdError::Shape {
            what,
            found: found.to_vec(),
            reference,
            expected: expected.to_vec(),
        });
    }
    Ok(())
}

/// There are at least this many axes.
pub(crate) fn rank(what: &'static str, found: &[usize], least: usize) -> Result<(), KdError> {
    if found.len() < least {
        return Err(KdError::Rank {
            what,
            found: found.to_vec(),
            least,
        });
    }
    Ok(())
}

/// Student and teacher are readable and of one shape.
pub(crate) fn alike<F: Float, D: Dimension>(
    student: (&'static str, &ArrayRef<F, D>),
    teacher: (&'static str, &ArrayRef<F, D>),
) -> Result<(), KdError> {
    readable(student.0, student.1)?;
    shape(teacher.0, teacher.1.shape(), student.0, student.1.shape())?;
    readable(teacher.0, teacher.1)
}

/// A list has the length that fits.
pub(crate) fn length(what: &'static str, found: usize, expected: usize) -> Result<(), KdError> {
    if found != expected {
        return Err(KdError::Length {
            what,
            found,
            expected,
        });
    }
    Ok(())
}

/// A setting keeps its rule; NaN keeps none.
pub(crate) fn setting(
    setting: &'static str,
    found: f64,
    holds: impl Fn(f64) -> bool,
    rule: &'static str,
) -> Result<(), KdError> {
    if !holds(found) {
        return Err(KdError::Setting {
            setting,
            found,
            rule,
        });
    }
    Ok(())
}

/// The temperature is positive and finite.
pub(crate) fn temperature(t: f64) -> Result<(), KdError> {
    let holds = |t: f64| t > 0.0 && t.is_finite();
    setting(
        "the temperature",
        t,
        holds,
        "it must be positive and finite",
    )
}

/// A share lies in [0, 1].
pub(crate) fn share(name: &'static str, found: f64) -> Result<(), KdError> {
    let holds = |a: f64| (0.0..=1.0).contains(&a);
    setting(name, found, holds, "it must lie in [0, 1]")
}

/// A weight is finite and not negative.
pub(crate) fn weight(name: &'static str, found: f64) -> Result<(), KdError> {
    let holds = |w: f64| w >= 0.0 && w.is_finite();
    setting(name, found, holds, "it must be finite and not negative")
}

/// Each element lies in [0, 1].
pub(crate) fn probabilities<F: Float, D: Dimension>(
    what: &'static str,
    array: &ArrayRef<F, D>,
) -> Result<(), KdError> {
    filled(what, array)?;
    let is_wrong = |p: f64| !(0.0..=1.0).contains(&p);
    let wrong = array.iter().map(|&p| wide(p)).enumerate();
    match wrong.into_iter().find(|&(_, p)| is_wrong(p)) {
        None => Ok(()),
        Some((index, found)) => Err(KdError::NotAProbability { what, index, found }),
    }
}

/// The value of a loss, if it is finite.
pub(crate) fn value(value: f64) -> Result<f64, KdError> {
    if !value.is_finite() {
        return Err(KdError::Overflow { what: "the loss" });
    }
    Ok(value)
}

/// A gradient, if it is finite.
pub(crate) fn gradient<F: Float, D: Dimension>(
    gradient: Array<F, D>,
) -> Result<Array<F, D>, KdError> {
    result("the gradient", gradient)
}

/// A result, if it is finite.
pub(crate) fn result<F: Float, D: Dimension>(
    what: &'static str,
    result: Array<F, D>,
) -> Result<Array<F, D>, KdError> {
    if result.iter().any(|x| !x.is_finite()) {
        return Err(KdError::Overflow { what });
    }
    Ok(result)
}
