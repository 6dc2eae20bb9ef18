//! Counts of passed and failed tests, read from what `cargo test` prints.

use std::ops::AddAssign;

/// How many tests passed and how many failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// One check that went well or did not.
    pub(crate) fn of_one(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self {
                passed: 1,
                failed: 0,
            },
            Outcome::Failed => Self {
                passed: 0,
                failed: 1,
            },
        }
    }

    /// Reads a line such as `test result: ok. 5 passed; 1 failed; 0 ignored; …`.
    pub(crate) fn from_result_line(line: &str) -> Option<Self> {
        let counts = line.trim_start().strip_prefix("test result: ")?;
        let (_, counts) = counts.split_once(". ")?;
        let mut tally = Self::default();
        for part in counts.split(';') {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => tally.passed = count.parse().ok()?,
                Some((count, "failed")) => tally.failed = count.parse().ok()?,
                _ => {}
            }
        }
        Some(tally)
    }

    /// Reads a line such as `12 passed, 3 failed`.
    pub(crate) fn from_summary(line: &str) -> Option<Self> {
        let (passed, failed) = line.trim().split_once(" passed, ")?;
        let passed = passed.parse().ok()?;
        let failed = failed.strip_suffix(" failed")?.parse().ok()?;
        Some(Self { passed, failed })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
}

impl From<bool> for Outcome {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn result_lines_of_the_test_harness_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            Tally::from_result_line(line),
            Some(Tally {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(Tally::from_result_line("test result_lines ... ok"), None);
        assert_eq!(Tally::from_result_line("running 5 tests"), None);
    }

    #[test]
    fn summaries_of_the_peers_are_counted() {
        let expected = Tally {
            passed: 12,
            failed: 3,
        };
        assert_eq!(Tally::from_summary("12 passed, 3 failed"), Some(expected));
        assert_eq!(
            Tally::from_summary("a/model.onnx: 12 passed, 3 faults"),
            None
        );
    }
}
