//! Matrix products.

use crate::harness::{Case, case, microsoft};

fn product(a: &[usize], b: &[usize]) -> Case {
    case("MatMul").real(a, -1.0, 1.0).real(b, -1.0, 1.0)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = vec![
        product(&[2, 3], &[3, 4]),
        product(&[2, 2, 3], &[3, 4]),
        product(&[2, 1, 2, 3], &[3, 3, 2]),
        product(&[3], &[3, 2]),
        product(&[2, 3], &[3]),
        product(&[3], &[3]),
        product(&[2, 3], &[2, 3, 2]),
        product(&[3], &[2, 3, 2]),
        product(&[0, 3], &[3, 2]),
        product(&[2, 0], &[0, 3]),
    ];
    for (trans_a, trans_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let a: &[usize] = if trans_a { &[3, 2] } else { &[2, 3] };
        let b: &[usize] = if trans_b { &[4, 3] } else { &[3, 4] };
        let gemm = case("Gemm")
            .real(a, -1.0, 1.0)
            .real(b, -1.0, 1.0)
            .real(&[4], -1.0, 1.0);
        let gemm = gemm.with("alpha", 0.5f32).with("beta", 1.5f32);
        all.push(
            gemm.with("transA", i64::from(trans_a))
                .with("transB", i64::from(trans_b)),
        );
    }
    let einsum = |equation: &str, operands: &[&[usize]]| {
        let all = case("Einsum").with("equation", equation);
        operands
            .iter()
            .fold(all, |all, shape| all.real(shape, -1.0, 1.0))
    };
    all.extend([
        einsum("ij,jk->ik", &[&[2, 3], &[3, 2]]),
        einsum("bij,bjk->bik", &[&[2, 2, 3], &[2, 3, 2]]),
        einsum("...ij,...jk->...ik", &[&[2, 2, 3], &[1, 3, 2]]),
        einsum("i,ij->", &[&[2], &[2, 3]]),
        einsum("ijk->k", &[&[2, 3, 2]]),
        einsum("ij->ji", &[&[2, 3]]),
        einsum("i,j,k->kij", &[&[2], &[3], &[2]]),
        einsum("ij,j", &[&[2, 3], &[3]]),
    ]);
    let fused = |a: &[usize], b: &[usize]| {
        microsoft("FusedMatMul")
            .real(a, -1.0, 1.0)
            .real(b, -1.0, 1.0)
    };
    all.extend([
        fused(&[2, 3, 2], &[2, 3, 4])
            .with("transA", 1i64)
            .with("alpha", 0.5f32),
        fused(&[2, 3], &[4, 3]).with("transB", 1i64),
        fused(&[2, 3, 2], &[3, 2, 2]).with("transBatchA", 1i64),
    ]);
    all
}
