//! `fuse-linear`: `MatMul(x, W) + b` of a matrix `x` becomes one `Gemm`, which integer runtimes take whole.
//!
//! Needs: inferred shapes (`x` of rank 2, `W` and `b` constant, `b` one value per column). Changes: float
//! rounding only.

use crate::graph::NodeId;
use crate::rewrite::{NewNode, Patch, Rewrite, RewriteContext, Skip};

/// Puts a matrix product and its bias together.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseLinear;

impl Rewrite for FuseLinear {
    fn name(&self) -> &'static str {
        "fuse-linear"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["MatMul"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let matmul = cx.graph.node(id);
        let (Some(x), Some(w), Some(product)) =
            (matmul.input(0), matmul.input(1), matmul.output(0))
        else {
            return Err(Skip::NotThisPattern);
        };
        let (_, add) = cx
            .sole_consumer(product, "Add")
            .ok_or(Skip::NotThisPattern)?;
        let (Some(a), Some(b), Some(result)) = (add.input(0), add.input(1), add.output(0)) else {
            return Err(Skip::NotThisPattern);
        };
        let bias = if a == product { b } else { a };
        let weight = cx
            .graph
            .constant(w)
            .filter(|t| t.rank() == 2)
            .ok_or(Skip::NotThisPattern)?;
        let vector = cx
            .graph
            .constant(bias)
            .filter(|t| t.rank() <= 2)
            .ok_or(Skip::NotThisPattern)?;
        if cx.rank(x) != Some(2) {
            return Err(Skip::Because("the input is no matrix"));
        }
        if vector.len() != weight.shape()[1] || vector.shape().last() != Some(&weight.shape()[1]) {
            return Err(Skip::Because("the bias has not one value per column"));
        }
        let mut patch = Patch::new();
        let gemm = patch.node(
            NewNode::new("Gemm").named(&matmul.name),
            &[x.into(), w.into(), bias.into()],
        );
        patch.replace(result, gemm);
        Ok(patch)
    }
}
