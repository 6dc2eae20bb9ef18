//! Einstein summation equations: `ij,jk->ik`, with `...` for any number of axes.

/// An equation, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equation {
    /// The labels of each operand's axes.
    pub operands: Vec<Vec<Label>>,
    /// The labels of the result's axes, where they are written out.
    pub output: Option<Vec<Label>>,
}

/// A label of an axis, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The axes of `...`.
    Ellipsis,
    /// A letter.
    Letter(u8),
}

/// An index that is walked over: a letter, or one axis of the ellipsis counted from its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Index {
    /// The axis of the ellipsis with this many after it.
    FromLast(usize),
    /// A letter.
    Letter(u8),
}

/// An equation whose ellipses are written out for operands of known ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The index of each axis of each operand.
    pub operands: Vec<Vec<Index>>,
    /// The index of each axis of the result.
    pub output: Vec<Index>,
}

/// Why an equation does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EquationError(pub &'static str);

impl Equation {
    /// Reads an equation.
    ///
    /// # Errors
    /// `EquationError` for anything but letters, commas, ellipses and one arrow.
    pub fn parse(text: &str) -> Result<Self, EquationError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            None => (text.as_str(), None),
            Some((left, right)) => (left, Some(right)),
        };
        let operands = left.split(',').map(labels).collect::<Result<_, _>>()?;
        let output = right.map(labels).transpose()?;
        if let Some(output) = &output {
            let repeats = |(i, label)| output[..i].contains(label);
            if output.iter().enumerate().any(repeats) {
                return Err(EquationError("the result must not repeat an index"));
            }
        }
        Ok(Self { operands, output })
    }

    /// Writes out the ellipses for operands of these ranks.
    ///
    /// # Errors
    /// `EquationError` where the number of operands or a rank does not fit, or the result has an
    /// index that no operand has.
    pub fn resolve(&self, ranks: &[usize]) -> Result<Resolved, EquationError> {
        if ranks.len() != self.operands.len() {
            return Err(EquationError("there must be one term per operand"));
        }
        let mut widest = 0;
        let mut operands = Vec::with_capacity(ranks.len());
        for (labels, &rank) in self.operands.iter().zip(ranks) {
            let letters = labels.iter().filter(|l| **l != Label::Ellipsis).count();
            let open = rank
                .checked_sub(letters)
                .filter(|&open| open == 0 || labels.contains(&Label::Ellipsis));
            let open = open.ok_or(EquationError("a term must name every axis of its operand"))?;
            widest = widest.max(open);
            operands.push(write_out(labels, open));
        }
        let output = match &self.output {
            Some(labels) => write_out(labels, widest),
            None => implicit_output(&operands, widest),
        };
        let known = |index: &Index| operands.iter().flatten().any(|i| i == index);
        if !output.iter().all(known) {
            return Err(EquationError(
                "the result must only have indices of the operands",
            ));
        }
        Ok(Resolved { operands, output })
    }
}

impl Resolved {
    /// The indices that are summed over, each once.
    pub fn summed(&self) -> Vec<Index> {
        let mut indices: Vec<Index> = self.operands.concat();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|i| !self.output.contains(i));
        indices
    }
}

fn labels(term: &str) -> Result<Vec<Label>, EquationError> {
    let mut labels = Vec::new();
    let mut rest = term.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"...") {
            if labels.contains(&Label::Ellipsis) {
                return Err(EquationError("a term must have one ellipsis at most"));
            }
            labels.push(Label::Ellipsis);
            rest = tail;
        } else if first.is_ascii_alphabetic() {
            labels.push(Label::Letter(first));
            rest = tail;
        } else {
            return Err(EquationError(
                "terms must be made of letters and an ellipsis",
            ));
        }
    }
    Ok(labels)
}

fn write_out(labels: &[Label], open: usize) -> Vec<Index> {
    let mut indices = Vec::with_capacity(labels.len() + open);
    for label in labels {
        match label {
            Label::Letter(letter) => indices.push(Index::Letter(*letter)),
            Label::Ellipsis => indices.extend((0..open).rev().map(Index::FromLast)),
        }
    }
    indices
}

/// The ellipsis, then the letters that occur once, in ASCII order.
fn implicit_output(operands: &[Vec<Index>], widest: usize) -> Vec<Index> {
    let mut letters: Vec<Index> = operands.concat();
    letters.retain(|i| matches!(i, Index::Letter(_)));
    letters.sort_unstable();
    let once = |i: &&Index| letters.iter().filter(|j| j == i).count() == 1;
    let ellipsis = (0..widest).rev().map(Index::FromLast);
    ellipsis
        .chain(letters.iter().filter(once).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<Index> {
        text.bytes().map(Index::Letter).collect()
    }

    #[test]
    fn an_implicit_result_has_the_indices_that_occur_once_in_ascii_order() {
        let resolved = Equation::parse("bA, b a c")
            .unwrap()
            .resolve(&[2, 3])
            .unwrap();
        assert_eq!(resolved.output, letters("Aac"));
        assert_eq!(resolved.summed(), letters("b"));
    }

    #[test]
    fn ellipses_are_aligned_at_their_last_axis() {
        let equation = Equation::parse("...ij,...jk->...ik").unwrap();
        let resolved = equation.resolve(&[4, 3]).unwrap();
        let (one, zero) = (Index::FromLast(1), Index::FromLast(0));
        assert_eq!(
            resolved.output,
            [&[one, zero], letters("ik").as_slice()].concat()
        );
        assert_eq!(
            resolved.operands[1],
            [&[zero], letters("jk").as_slice()].concat()
        );
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(Equation::parse("i1->i").is_err());
        assert!(Equation::parse("ij->ii").is_err());
        assert!(Equation::parse("......").is_err());
        let equation = Equation::parse("ij->ik").unwrap();
        assert!(equation.resolve(&[2]).is_err());
        assert!(equation.resolve(&[2, 2]).is_err());
        assert!(Equation::parse("ij").unwrap().resolve(&[3]).is_err());
    }
}
