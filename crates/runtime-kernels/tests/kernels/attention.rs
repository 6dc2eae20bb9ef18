//! Attention on every instruction set against the definition.

use proptest::prelude::*;
use runtime_kernels::attention::{
    AttentionMask, AttentionScores, AttentionShape, HeadOrder, HeadRows, attention,
};
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

#[derive(Clone, Debug)]
struct Case {
    shape: AttentionShape,
    orders: [bool; 4],
    /// Which axes of the mask are whole; no mask without any.
    mask: Option<[bool; 4]>,
    causal: Option<usize>,
    cap: f32,
    blocked: bool,
    threads: usize,
    seed: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let extents = (
        1usize..3,
        1usize..4,
        1usize..3,
        prop_oneof![0usize..30, 1usize..3],
        0usize..70,
        0usize..40,
        1usize..40,
    );
    let shape = extents.prop_map(
        |(batch, kv_heads, group, queries, keys, size, value_size)| {
            let mut shape = AttentionShape::new(batch, kv_heads * group, queries, size);
            (shape.kv_heads, shape.keys, shape.value_size) = (kv_heads, keys, value_size);
            shape
        },
    );
    let scores = (
        prop::option::of(any::<[bool; 4]>()),
        prop::option::of(0usize..8),
        prop_oneof![Just(0.0f32), Just(2.0)],
        any::<bool>(),
    );
    (shape, any::<[bool; 4]>(), scores, 1usize..4, any::<u32>()).prop_map(
        |(shape, orders, (mask, causal, cap, blocked), threads, seed)| Case {
            shape,
            orders,
            mask,
            causal,
            cap,
            blocked,
            threads,
            seed,
        },
    )
}

fn numbers(n: usize, mut seed: u32) -> Vec<f32> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `[batch, heads, rows, size]` as `[batch, rows, heads, size]`.
fn rows_first(x: &[f32], [heads, rows, size]: [usize; 3]) -> Vec<f32> {
    let at = |i: usize| {
        let (d, h) = (i % size, i / size % heads);
        let (row, b) = (i / size / heads % rows, i / size / heads / rows);
        ((b * heads + h) * rows + row) * size + d
    };
    (0..x.len()).map(|i| x[at(i)]).collect()
}

/// By the definition in f64, `[batch, heads, queries, value size]`.
fn expected(shape: &AttentionShape, [q, k, v]: [&[f32]; 3], how: &AttentionScores<'_>) -> Vec<f64> {
    let mut out = Vec::new();
    let wide = f64::from;
    for row in 0..shape.batch * shape.heads * shape.queries {
        let (i, h) = (row % shape.queries, row / shape.queries % shape.heads);
        let b = row / shape.queries / shape.heads;
        let kv = b * shape.kv_heads + h / (shape.heads / shape.kv_heads);
        let query = &q[row * shape.size..][..shape.size];
        let mut scores = vec![f64::NEG_INFINITY; shape.keys];
        for (j, score) in scores.iter_mut().enumerate() {
            if how.causal.is_some_and(|offset| j > i + offset) {
                continue;
            }
            let key = &k[(kv * shape.keys + j) * shape.size..][..shape.size];
            let dot: f64 = query
                .iter()
                .zip(key)
                .map(|(&a, &b)| wide(a) * wide(b))
                .sum();
            let (x, cap) = (dot * wide(how.scale), wide(how.cap));
            let x = if cap > 0.0 { cap * (x / cap).tanh() } else { x };
            let summand = how.mask.map_or(0.0, |m| {
                let at = [b, h, i, j]
                    .iter()
                    .zip(m.steps)
                    .map(|(i, step)| i * step)
                    .sum::<usize>();
                wide(m.data[at])
            });
            *score = x + summand;
        }
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores
            .iter()
            .map(|x| {
                if max.is_finite() {
                    (x - max).exp()
                } else {
                    0.0
                }
            })
            .collect();
        let sum: f64 = exps.iter().sum();
        for d in 0..shape.value_size {
            let value = |j: usize| wide(v[(kv * shape.keys + j) * shape.value_size + d]);
            let weighted: f64 = exps.iter().enumerate().map(|(j, e)| e * value(j)).sum();
            out.push(if sum > 0.0 { weighted / sum } else { 0.0 });
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_instruction_set_gives_the_definition(case in case()) {
        let s = &case.shape;
        let q = numbers(s.batch * s.heads * s.queries * s.size, case.seed);
        let k = numbers(s.batch * s.kv_heads * s.keys * s.size, case.seed ^ 1);
        let v = numbers(s.batch * s.kv_heads * s.keys * s.value_size, case.seed ^ 2);
        let dims = [s.batch, s.heads, s.queries, s.keys];
        let whole = case.mask.map(|whole| std::array::from_fn(|i| if whole[i] { dims[i] } else { 1usize.min(dims[i]) }));
        let mut mask = numbers(whole.map_or(0, |dims: [usize; 4]| dims.iter().product()), case.seed ^ 3);
        if case.blocked {
            mask.iter_mut().filter(|x| **x < -0.3).for_each(|x| *x = f32::NEG_INFINITY);
        }
        let mut how = AttentionScores::scaled(0.7);
        how.mask = whole.filter(|_| !mask.is_empty()).map(|dims| AttentionMask::new(&mask, dims));
        (how.causal, how.cap, how.unseeing_is_zero) = (case.causal, case.cap, true);
        let y = expected(s, [&q, &k, &v], &how);
        let extents = [[s.heads, s.queries, s.size], [s.kv_heads, s.keys, s.size], [s.kv_heads, s.keys, s.value_size]];
        let turned = [rows_first(&q, extents[0]), rows_first(&k, extents[1]), rows_first(&v, extents[2])];
        let heads: [HeadRows<'_>; 3] = std::array::from_fn(|i| match case.orders[i] {
            true => HeadRows::rows_first(&turned[i], extents[i]),
            false => HeadRows::heads_first([&q[..], &k[..], &v[..]][i], extents[i]),
        });
        let order = if case.orders[3] { HeadOrder::RowsFirst } else { HeadOrder::HeadsFirst };
        for isa in Isa::available() {
            let mut first: Option<Vec<f32>> = None;
            for threads in [1, case.threads] {
                let ctx = Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
                let mut out = vec![f32::NAN; y.len()];
                attention(&ctx, &mut Scratch::new(), s, heads, &how, order, &mut out).unwrap();
                let expected: Vec<f32> = y.iter().map(|&y| y as f32).collect();
                let expected = match order {
                    HeadOrder::RowsFirst => rows_first(&expected, [s.heads, s.queries, s.value_size]),
                    HeadOrder::HeadsFirst => expected,
                };
                for (i, (got, want)) in out.iter().zip(&expected).enumerate() {
                    prop_assert!((got - want).abs() <= 2e-6, "{isa}, {threads} threads, {i}: {got} {want}");
                }
                prop_assert!(first.get_or_insert_with(|| out.clone()) == &out, "threads change results");
            }
        }
    }
}

#[test]
fn a_query_that_sees_nothing_is_not_a_number_unless_told() {
    let shape = AttentionShape::new(1, 1, 1, 1);
    let (x, blocked) = ([1.0], [f32::NEG_INFINITY]);
    let rows = HeadRows::heads_first(&x, [1, 1, 1]);
    let mut how = AttentionScores::scaled(1.0);
    how.mask = Some(AttentionMask::new(&blocked, [1; 4]));
    let run = |how: &AttentionScores<'_>| {
        let mut out = [7.0];
        let (ctx, scratch) = (Context::default(), &mut Scratch::new());
        attention(
            &ctx,
            scratch,
            &shape,
            [rows; 3],
            how,
            HeadOrder::HeadsFirst,
            &mut out,
        )
        .unwrap();
        out[0]
    };
    assert!(run(&how).is_nan());
    how.unseeing_is_zero = true;
    assert_eq!(run(&how), 0.0);
}

#[test]
fn slices_that_are_too_short_are_refused() {
    let shape = AttentionShape::new(2, 3, 4, 5);
    let x = vec![0.0; 120];
    let run = |q: &[f32], mask: Option<AttentionMask<'_>>, heads: usize| {
        let rows = |data| HeadRows::rows_first(data, [3, 4, 5]);
        let mut how = AttentionScores::scaled(1.0);
        how.mask = mask;
        let mut shape = shape;
        shape.kv_heads = heads;
        let (ctx, scratch, out) = (Context::default(), &mut Scratch::new(), &mut [0.0; 120]);
        attention(
            &ctx,
            scratch,
            &shape,
            [rows(q), rows(&x), rows(&x)],
            &how,
            HeadOrder::RowsFirst,
            out,
        )
    };
    assert!(run(&x, None, 3).is_ok());
    assert!(matches!(
        run(&x[1..], None, 3),
        Err(KernelError::OutOfBounds { .. })
    ));
    assert!(matches!(run(&x, None, 2), Err(KernelError::Extent { .. })));
    assert!(matches!(run(&x, None, 0), Err(KernelError::Extent { .. })));
    let short = AttentionMask::new(&x[..95], [2, 3, 4, 4]);
    assert!(matches!(
        run(&x, Some(short), 3),
        Err(KernelError::Length { .. })
    ));
    let gaps = AttentionMask {
        data: &x,
        steps: [0, 0, 0, 2],
    };
    assert!(matches!(
        run(&x, Some(gaps), 3),
        Err(KernelError::Invalid { .. })
    ));
}

#[test]
fn masks_of_no_keys_are_not_read_and_steps_beyond_memory_are_refused() {
    let run = |keys: usize, batch: usize, mask: AttentionMask<'_>| {
        let mut shape = AttentionShape::new(batch, 1, 1, 1);
        shape.keys = keys;
        let x = [1.0; 3];
        let rows = |rows| HeadRows::heads_first(&x, [1, rows, 1]);
        let mut how = AttentionScores::scaled(1.0);
        (how.mask, how.unseeing_is_zero) = (Some(mask), true);
        let mut out = vec![7.0; batch];
        let (ctx, scratch) = (Context::default(), &mut Scratch::new());
        let heads = [rows(1), rows(keys), rows(keys)];
        let order = HeadOrder::HeadsFirst;
        attention(&ctx, scratch, &shape, heads, &how, order, &mut out).map(|()| out)
    };
    let none = AttentionMask {
        data: &[],
        steps: [0; 4],
    };
    assert_eq!(run(0, 1, none), Ok(vec![0.0]));
    assert!(matches!(run(1, 1, none), Err(KernelError::Length { .. })));
    let far = AttentionMask {
        data: &[0.0],
        steps: [usize::MAX, 0, 0, 0],
    };
    assert!(matches!(run(1, 3, far), Err(KernelError::Length { .. })));
}
