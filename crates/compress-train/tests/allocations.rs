//! A step allocates nothing: optimizers, clipping, averages and accumulation work in place.
//!
//! The allocator counts for the whole process; hence one test, so that nothing runs beside it.

use compress_train::ema::{Ema, EmaConfig};
use compress_train::gradient::{Accumulator, clip_by_norm, clip_by_value};
use compress_train::optimizer::{
    Adam, AdamConfig, InputNormalization, Lamb, LambConfig, Optimizer, ParameterInfo, Plan, Sgd,
    SgdConfig, StepControl, StepSettings, WeightLayout,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn a_step_allocates_nothing() {
    let parameter = ParameterInfo::new("w", &[30, 50]);
    let plan = || Plan::new(vec![parameter.clone()], &[]).unwrap();
    let mut config = SgdConfig::default();
    config.momentum = 0.9;
    config.control = StepControl::Clip { limit: 0.01 };
    let mut optimizers: [Box<dyn Optimizer>; 3] = [
        Box::new(Sgd::new(plan(), config).unwrap()),
        Box::new(Adam::new(plan(), AdamConfig::default()).unwrap()),
        Box::new(Lamb::new(plan(), LambConfig::default()).unwrap()),
    ];
    let mut ema = Ema::new(vec![parameter.clone()], EmaConfig::default()).unwrap();
    let mut sums = Accumulator::new([1500]);
    let layout = WeightLayout::OutputsFirst;
    let input = InputNormalization::new(&[30, 50], layout, &[120.0; 50], &[60.0; 50]).unwrap();
    let (mut value, gradient) = (vec![0.5f32; 1500], vec![0.25f32; 1500]);
    let (mut averaged, mut bias) = (vec![0.0f32; 1500], vec![0.0f32; 30]);
    let mut step = || {
        for samples in [8, 3] {
            sums.add(0, &gradient, samples).unwrap();
        }
        sums.finish();
        let mean = sums.gradient(0).unwrap();
        clip_by_value(mean, 1.0);
        clip_by_norm(&mut [&mut *mean], 1.0);
        input.gradient(mean, Some(&bias)).unwrap();
        for optimizer in &mut optimizers {
            optimizer.begin_step(StepSettings::new(0.1)).unwrap();
            optimizer.update(0, &mut value, mean).unwrap();
        }
        sums.clear();
        ema.update(0, &value).unwrap();
        ema.read(0, &mut averaged).unwrap();
        input.denormalize(&mut averaged, Some(&mut bias)).unwrap();
    };
    let region = Region::new(ALLOCATOR);
    step();
    step();
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert!(value.iter().all(|w| w.is_finite()) && value[0] != 0.5 && averaged[0] != 0.0);
}
