//! 20 steps along given gradients of 10⁻³ to 10² with a learning rate that changes in each step.

use super::Goldens;
use compress_train::optimizer::{
    Adam, AdamConfig, Lamb, LambConfig, Optimizer, ParameterInfo, Plan, Sgd, SgdConfig,
    StepControl, StepSettings, WeightDecay,
};
use serde_json::Value;
use std::collections::BTreeMap;

type Cases = BTreeMap<String, (String, BTreeMap<String, Value>)>;

/// Units in the last place of the row's largest weight, by which weights may differ in any of 20 steps: PyTorch fuses products and
/// sums. (A weight that passes by zero is then more of its own, smaller units apart.)
const MOST_ULPS: f64 = 2.0;

fn plan() -> Plan {
    Plan::new(vec![ParameterInfo::new("w", &[7, 5])], &[]).unwrap()
}

fn optimizer(kind: &str, settings: &BTreeMap<String, Value>) -> Box<dyn Optimizer> {
    let number = |key: &str| settings.get(key).and_then(Value::as_f64);
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool).unwrap_or(false);
    let betas: Option<Vec<f64>> = settings
        .get("betas")
        .map(|b| serde_json::from_value(b.clone()).unwrap());
    let betas = betas.unwrap_or(vec![0.9, 0.999]);
    let decay = number("weight_decay");
    match kind {
        "SGD" | "LARS" => {
            let mut config = SgdConfig::default();
            config.momentum = number("momentum").unwrap_or(0.0);
            config.dampening = number("dampening").unwrap_or(0.0);
            config.nesterov = flag("nesterov");
            config.weight_decay = decay.unwrap_or(0.0);
            if let Some(trust) = number("trust") {
                config.control = StepControl::Normalize { trust };
            }
            Box::new(Sgd::new(plan(), config).unwrap())
        }
        "Adam" | "AdamW" => {
            let mut config = AdamConfig::default();
            (config.beta1, config.beta2) = (betas[0], betas[1]);
            config.epsilon = number("eps").unwrap_or(1e-8);
            config.amsgrad = flag("amsgrad");
            config.weight_decay = decay.unwrap_or(0.0);
            config.decay = if kind == "Adam" {
                WeightDecay::Penalty
            } else {
                WeightDecay::Decoupled
            };
            Box::new(Adam::new(plan(), config).unwrap())
        }
        _ => {
            let mut config = LambConfig::default();
            (config.beta1, config.beta2) = (betas[0], betas[1]);
            config.epsilon = number("eps").unwrap_or(1e-6);
            config.weight_decay = decay.unwrap();
            Box::new(Lamb::new(plan(), config).unwrap())
        }
    }
}

/// The distance in units in the last place of the largest weight of the row.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let of_row = |(found, expected): (&[f32], &[f32])| {
        let largest = expected.iter().fold(0f32, |m, w| m.max(w.abs()));
        let ulp = f64::from(f32::from_bits(largest.to_bits() + 1)) - f64::from(largest);
        let differences = found
            .iter()
            .zip(expected)
            .map(|(f, e)| (f64::from(*f) - f64::from(*e)).abs());
        differences.fold(0.0, f64::max) / ulp
    };
    found
        .chunks(5)
        .zip(expected.chunks(5))
        .map(of_row)
        .fold(0.0, f64::max)
}

#[test]
fn steps_are_those_of_torch() {
    let goldens: Goldens<Cases> = Goldens::read("optimizers");
    let (gradients, rates) = (goldens.f32("gradients"), goldens.f64("rates"));
    assert_eq!(goldens.cases.len(), 14);
    for (name, (kind, settings)) in &goldens.cases {
        let expected = goldens.f32(name);
        let mut optimizer = optimizer(kind, settings);
        let mut weights = goldens.f32("start");
        let rate = settings["lr"].as_f64().unwrap();
        let mut apart = 0f64;
        for (step, gradient) in gradients.chunks(35).enumerate() {
            optimizer
                .begin_step(StepSettings::new(rate * rates[step]))
                .unwrap();
            optimizer.update(0, &mut weights, gradient).unwrap();
            apart = apart.max(distance(&weights, &expected[35 * step..35 * (step + 1)]));
        }
        assert!(apart <= MOST_ULPS, "{name}: {apart}");
    }
}

#[test]
fn a_restored_optimizer_goes_on_to_the_same_bits() {
    let goldens: Goldens<Cases> = Goldens::read("optimizers");
    let gradients = goldens.f32("gradients");
    for (name, (kind, settings)) in &goldens.cases {
        let step =
            |optimizer: &mut dyn Optimizer, weights: &mut [f32], steps: std::ops::Range<usize>| {
                for step in steps {
                    optimizer.begin_step(StepSettings::new(0.01)).unwrap();
                    optimizer
                        .update(0, weights, &gradients[35 * step..35 * (step + 1)])
                        .unwrap();
                }
            };
        let (mut unbroken, mut weights) = (optimizer(kind, settings), goldens.f32("start"));
        step(&mut *unbroken, &mut weights, 0..9);
        let (mut resumed, mut others) = (optimizer(kind, settings), weights.clone());
        resumed.restore(&unbroken.state()).unwrap();
        step(&mut *unbroken, &mut weights, 9..20);
        step(&mut *resumed, &mut others, 9..20);
        let bits = |w: &[f32]| w.iter().map(|w| w.to_bits()).collect::<Vec<u32>>();
        assert_eq!(bits(&weights), bits(&others), "{name}");
        // Without its state it goes elsewhere, unless it has none.
        let (mut fresh, mut weights) = (optimizer(kind, settings), goldens.f32("start"));
        step(&mut *fresh, &mut weights, 0..9);
        let mut fresh = optimizer(kind, settings);
        step(&mut *fresh, &mut weights, 9..20);
        let has_state = !unbroken.state().slots.is_empty();
        assert_eq!(bits(&weights) != bits(&others), has_state, "{name}");
    }
}

#[test]
fn states_of_other_parameters_and_rules_are_refused() {
    let of = |shape: &[usize], name: &str| {
        Plan::new(vec![ParameterInfo::new(name, shape)], &[]).unwrap()
    };
    let mut with = SgdConfig::default();
    with.momentum = 0.9;
    let state = Sgd::new(of(&[2, 3], "w"), with.clone()).unwrap().state();
    let message = |plan: Plan, config: SgdConfig| {
        let mut sgd = Sgd::new(plan, config).unwrap();
        sgd.restore(&state).unwrap_err().to_string()
    };
    assert_eq!(
        message(of(&[3, 2], "w"), with.clone()),
        "the state does not fit parameter `w`: its momentum has shape [2, 3] instead of [3, 2]"
    );
    assert_eq!(
        message(of(&[2, 3], "v"), with.clone()),
        "the state does not fit parameter `w`: the optimizer has no such parameter"
    );
    assert_eq!(
        message(of(&[2, 3], "w"), SgdConfig::default()),
        "the state does not fit parameter `w`: it should have no momentum with these settings"
    );
    let mut adam = Adam::new(of(&[2, 3], "w"), AdamConfig::default()).unwrap();
    assert_eq!(
        adam.restore(&state).unwrap_err().to_string(),
        "the state is that of sgd, the optimizer is adam"
    );
    let mut state = adam.state();
    state.slots.remove("mean");
    let error = adam.restore(&state).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the state does not fit parameter `w`: its mean is missing"
    );
    state = adam.state();
    state.updates.clear();
    assert!(adam.restore(&state).is_err());
}

#[test]
fn threads_do_not_change_a_bit() {
    let n = 3 << 18;
    let values: Vec<f32> = (0..n as u64)
        .map(|i| ((i * 7919) % 1009) as f32 / 500.0 - 1.0)
        .collect();
    let gradient: Vec<f32> = (0..n as u64)
        .map(|i| ((i * 104_729) % 997) as f32 / 500.0 - 1.0)
        .collect();
    let plan = || Plan::new(vec![ParameterInfo::new("w", &[3, 1 << 18])], &[]).unwrap();
    let run = |make: &dyn Fn(usize) -> Box<dyn Optimizer>, threads: usize| {
        let (mut optimizer, mut weights) = (make(threads), values.clone());
        for _ in 0..2 {
            optimizer.begin_step(StepSettings::new(0.01)).unwrap();
            optimizer.update(0, &mut weights, &gradient).unwrap();
        }
        weights
    };
    let sgd = |threads| -> Box<dyn Optimizer> {
        let mut config = SgdConfig::default();
        (config.momentum, config.threads) = (0.9, threads);
        config.control = StepControl::Clip { limit: 0.01 };
        Box::new(Sgd::new(plan(), config).unwrap())
    };
    let adam = |threads| -> Box<dyn Optimizer> {
        let mut config = AdamConfig::default();
        (config.amsgrad, config.threads) = (true, threads);
        Box::new(Adam::new(plan(), config).unwrap())
    };
    let lamb = |threads| -> Box<dyn Optimizer> {
        let mut config = LambConfig::default();
        config.threads = threads;
        Box::new(Lamb::new(plan(), config).unwrap())
    };
    let makers: [&dyn Fn(usize) -> Box<dyn Optimizer>; 3] = [&sgd, &adam, &lamb];
    for make in makers {
        let expected = run(make, 1);
        assert_ne!(expected, values);
        for threads in [2, 3, 5] {
            assert!(run(make, threads) == expected, "{threads}");
        }
    }
}

#[test]
fn settings_that_break_their_rules_are_told() {
    let mut sgd = SgdConfig::default();
    sgd.nesterov = true;
    assert_eq!(
        sgd.validate().unwrap_err().to_string(),
        "the momentum is 0, Nesterov's step needs one above 0, and no dampening"
    );
    let mut adam = AdamConfig::default();
    adam.beta2 = 1.0;
    assert_eq!(
        adam.validate().unwrap_err().to_string(),
        "beta2 is 1, it must lie in [0, 1)"
    );
    let mut sgd = Sgd::new(plan(), SgdConfig::default()).unwrap();
    for rate in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(sgd.begin_step(StepSettings::new(rate)).is_err());
    }
    assert!(serde_json::from_str::<SgdConfig>(r#"{"momentun": 0.9}"#).is_err());
    let config: SgdConfig =
        serde_json::from_str(r#"{"momentum": 0.9, "control": {"clip": {"limit": 0.1}}}"#).unwrap();
    assert_eq!(config.control, StepControl::Clip { limit: 0.1 });
}
