//! Which operators a request may name.

use super::config::{Mode, QuantizeConfig};
use super::error::QuantizeError;

/// Operators with a weight.
const WEIGHTED: &[&str] = &["Conv", "ConvTranspose", "Gemm", "MatMul"];
/// Those of them that have an operator for integers whose scales are found at run time.
const INTEGER_WITHOUT_RANGES: &[&str] = &["Conv", "Gemm", "MatMul"];
/// Operators with weights and a state.
pub(super) const RECURRENT: &[&str] = &["GRU", "LSTM", "RNN"];
/// Activations that a node in front may take in.
const ACTIVATIONS: &[&str] = &["Clip", "Relu"];

/// Checks that `mode` may quantize each operator that the request names.
///
/// # Errors
/// [`QuantizeError::NoSuchOperator`] with what is nearest, or with what there is.
pub(super) fn check_operators(config: &QuantizeConfig, mode: Mode) -> Result<(), QuantizeError> {
    let (cores, others): (Vec<&str>, Vec<&str>) = match mode {
        Mode::Static => {
            let bridges = config.target.rules().bridges;
            (WEIGHTED.to_vec(), [bridges, ACTIVATIONS].concat())
        }
        Mode::Dynamic => (INTEGER_WITHOUT_RANGES.to_vec(), Vec::new()),
        Mode::Weights => ([WEIGHTED, RECURRENT].concat(), Vec::new()),
        Mode::Blocks => (vec!["MatMul", "Gemm"], Vec::new()),
    };
    let known = || cores.iter().chain(&others).copied();
    for operator in config.operators.iter().flatten() {
        if known().any(|op| op == operator) {
            continue;
        }
        let near = known().map(|op| (distance(op, operator), op));
        let nearest = near.filter(|(d, _)| *d <= NEAR).min();
        return Err(QuantizeError::NoSuchOperator {
            operator: operator.clone(),
            mode: mode.name(),
            nearest: nearest.map(|(_, op)| op),
            known: cores,
        });
    }
    Ok(())
}

/// Edits beyond which a name is not taken for a slip.
const NEAR: usize = 2;

/// The least number of characters to insert, remove or replace to get from one to the other (Levenshtein 1966), cases
/// being the same.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("Conv", "conv", 0),
            ("Conv", "Convv", 1),
            ("MatMul", "Matmull", 1),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_slip_is_answered_with_what_is_near_and_anything_else_with_what_there_is() {
        let said = |operator: &str, mode| {
            let config = QuantizeConfig {
                operators: Some(vec!["MatMul".to_owned(), operator.to_owned()]),
                ..QuantizeConfig::default()
            };
            check_operators(&config, mode).unwrap_err().to_string()
        };
        assert_eq!(
            said("Convv", Mode::Static),
            "static quantization has no operator `Convv`: did you mean `Conv`?"
        );
        assert_eq!(
            said("LSTM", Mode::Dynamic),
            "dynamic quantization has no operator `LSTM`: it quantizes Conv, Gemm, MatMul"
        );
        assert_eq!(
            said("Conv", Mode::Blocks),
            "quantization in blocks has no operator `Conv`: it quantizes MatMul, Gemm"
        );
    }
}
