//! Reductions: axes as input and attribute, kept and dropped, all and none.

use crate::harness::{Case, case};

const OPS: &[(&str, f64)] = &[
    ("ReduceSum", -1.0),
    ("ReduceMean", -1.0),
    ("ReduceL1", -1.0),
    ("ReduceL2", -1.0),
    ("ReduceLogSum", 0.3),
    ("ReduceLogSumExp", -1.0),
    ("ReduceMax", -1.0),
    ("ReduceMin", -1.0),
    ("ReduceProd", 0.4),
    ("ReduceSumSquare", -1.0),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(op, low) in OPS {
        let reduced = || case(op).real(&[2, 3, 2], low, 1.5);
        all.push(reduced().ints(&[1], &[1]));
        all.push(reduced().ints(&[2], &[0, -1]).with("keepdims", 0i64));
        all.push(reduced().fed_ints(&[1], &[2]).with("keepdims", 0i64));
        all.push(reduced().with("keepdims", 0i64));
        all.push(reduced().without().with("noop_with_empty_axes", 1i64));
        all.push(reduced().opset(18).ints(&[1], &[-1]));
        // Nothing to reduce, and nothing that is left.
        all.push(case(op).real(&[0, 3], low, 1.5).ints(&[1], &[1]));
        all.push(case(op).real(&[2, 0], low, 1.5).ints(&[1], &[0]));
        if op != "ReduceSum" {
            all.push(
                reduced()
                    .opset(13)
                    .with("axes", vec![-2i64])
                    .with("keepdims", 0i64),
            );
            all.push(reduced().opset(13));
        }
    }
    all
}
