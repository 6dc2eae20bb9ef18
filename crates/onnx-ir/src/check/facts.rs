//! What only inference finds: shapes that do not fit, types that contradict the declared ones.

use super::{Finding, MAX_FINDINGS, Place, Problem, Severity, check};
use crate::functions::inline_functions;
use crate::infer::{InferIssue, infer_shapes_within, refine};
use crate::{Catalog, Model, TensorFact};

/// As [`check`], and infers the facts of a model that is valid so far: an operator whose inputs break its rule, and a
/// declared type or shape that contradicts the inferred one, are errors too.
///
/// Operators that the catalog does not hold are passed over. Functions are judged by what their calls give.
pub fn check_with_facts(model: &Model) -> Vec<Finding> {
    let mut findings = check(model);
    if findings.iter().any(Finding::is_error) {
        return findings;
    }
    let mut expanded = model.clone();
    let inferred = inline_functions(&mut expanded)
        .map_err(|error| error.to_string())
        // A cycle, which only functions can bring in: the check would have found others.
        .and_then(|()| {
            infer_shapes_within(&mut expanded, Catalog::standard()).map_err(|e| e.to_string())
        });
    let report = match inferred {
        Ok(report) => report,
        Err(reason) => {
            findings.push(error_at(
                Place::default(),
                Problem::NotExpandable { reason },
            ));
            return findings;
        }
    };
    for (id, tensor) in model.graph.initializers() {
        let declared = &model.graph.value(id).fact;
        if let Err(conflict) = refine(&TensorFact::constant(tensor.clone()).into(), declared) {
            let value = model.graph.name_of(id).to_owned();
            let place = Place {
                graph: Some(model.graph.name.clone()),
                ..Place::default()
            };
            findings.push(error_at(
                place,
                Problem::InitializerType { value, conflict },
            ));
        }
    }
    let broken = report.issues.into_iter().filter(InferIssue::is_error);
    let broken = broken.map(|issue| {
        let place = Place {
            graph: Some(issue.graph),
            node: Some(issue.label),
            op: Some(issue.op),
        };
        error_at(place, Problem::Inference { error: issue.error })
    });
    // Types that are known now are held against the schemas as well.
    let of_types = check(&expanded).into_iter().filter(Finding::is_error);
    for finding in broken.chain(of_types) {
        // A subgraph is inferred more than once, until its state holds still.
        if findings.len() < MAX_FINDINGS && !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn error_at(place: Place, problem: Problem) -> Finding {
    Finding {
        severity: Severity::Error,
        place,
        problem,
    }
}
