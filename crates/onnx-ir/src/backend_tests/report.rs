//! Counting passed and failed tests by operator.

use crate::Model;
use std::collections::BTreeMap;
use std::fmt;

/// Passed and failed tests of one operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorCount {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
}

/// Passed and failed tests by operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By the operator under test.
    pub operators: BTreeMap<String, OperatorCount>,
}

impl Report {
    /// Counts one test.
    pub fn count<E>(&mut self, operator: &str, outcome: &Result<(), E>) {
        let count = self.operators.entry(operator.to_owned()).or_default();
        match outcome {
            Ok(()) => count.passed += 1,
            Err(_) => count.failed += 1,
        }
    }

    /// The tests of all operators.
    pub fn total(&self) -> OperatorCount {
        let mut total = OperatorCount::default();
        for count in self.operators.values() {
            total.passed += count.passed;
            total.failed += count.failed;
        }
        total
    }
}

/// The operator that a test is about: that of the first node of its graph which is no constant.
pub fn operator_under_test(model: &Model) -> String {
    let first = model
        .graph
        .nodes()
        .map(|(_, node)| node)
        .find(|node| node.op_type != "Constant");
    first.map_or_else(|| "Constant".to_owned(), |node| node.qualified_op())
}

impl fmt::Display for Report {
    /// A table of the operators with failures, and the total.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40} {:>6} {:>6}", "operator", "passed", "failed")?;
        for (operator, count) in self.operators.iter().filter(|(_, c)| c.failed > 0) {
            writeln!(f, "{operator:<40} {:>6} {:>6}", count.passed, count.failed)?;
        }
        let total = self.total();
        write!(f, "{:<40} {:>6} {:>6}", "all", total.passed, total.failed)
    }
}
