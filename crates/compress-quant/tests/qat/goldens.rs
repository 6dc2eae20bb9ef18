//! Values and gradients by PyTorch's automatic differentiation (`tests/goldens/make.py`).

use compress_quant::qat::{CodeRange, FakeQuantizer, StepMethod};
use ndarray::ArrayD;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|v| v as f32).collect()
}

/// Within the roundings of f32, of sums in which terms cancel.
fn near(found: &[f32], expected: &[f64], size: f64) -> bool {
    let pairs = found.iter().zip(expected);
    found.len() == expected.len()
        && pairs
            .into_iter()
            .all(|(f, e)| (f64::from(*f) - e).abs() <= 1e-5 * size.max(e.abs()))
}

#[test]
fn gradients_are_those_of_automatic_differentiation() {
    let text = include_str!("../goldens/qat.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 13);
    for case in &cases {
        let setting = |name: &str| case["settings"][name].as_f64().unwrap() as f32;
        let name = case["method"].as_str().unwrap();
        let method = match name {
            "ste" => StepMethod::StraightThrough,
            "lsq" => StepMethod::Lsq,
            "lsq+" => StepMethod::LsqPlus,
            "pact" => StepMethod::Pact,
            "ewgs" => StepMethod::Ewgs {
                delta: setting("delta"),
            },
            _ => StepMethod::Dsq {
                alpha: setting("alpha"),
            },
        };
        let codes = numbers(&case["codes"]);
        let (q_min, q_max) = (codes[0] as i32, codes[1] as i32);
        let mut quantizer = FakeQuantizer::new(CodeRange { q_min, q_max }, method);
        quantizer.axis = case["axis"].as_u64().map(|axis| axis as usize);
        let shape: Vec<usize> = numbers(&case["shape"])
            .iter()
            .map(|&d| d as usize)
            .collect();
        let array =
            |name: &str| ArrayD::from_shape_vec(shape.clone(), singles(&case[name])).unwrap();
        let (x, dy, step) = (array("x"), array("dy"), singles(&case["step"]));
        let offset = case["offset"].as_array().map(|_| singles(&case["offset"]));
        let y = quantizer
            .forward(x.view(), &step, offset.as_deref())
            .unwrap();
        let found = quantizer
            .backward(dy.view(), x.view(), &step, offset.as_deref())
            .unwrap();
        let place = format!("{name} {codes:?} {shape:?}");
        assert!(
            near(y.as_slice().unwrap(), &numbers(&case["y"]), 0.0),
            "{place}: y"
        );
        let gradients = &case["gradients"];
        let (of_x, of_step) = (numbers(&gradients[0]), numbers(&gradients[1]));
        assert!(
            near(found.input.as_slice().unwrap(), &of_x, 1.0),
            "{place}: dx"
        );
        // PyTorch differentiates `α = Q_P s` by the step; the crate gives that over `Q_P²`.
        let most = f64::from(q_max);
        let scale = if name == "pact" { most * most } else { 1.0 };
        let step: Vec<f32> = found
            .step
            .iter()
            .map(|&s| (scale * f64::from(s)) as f32)
            .collect();
        // Of terms of up to the greatest code, as far as steps are moved by them.
        let terms = dy.iter().map(|d| f64::from(d.abs())).sum::<f64>() * most.max(8.0);
        let moved = match name {
            "ste" | "pact" => 1.0,
            _ => 1.0 / (x.len() as f64 / step.len() as f64 * most).sqrt(),
        };
        assert!(
            near(&step, &of_step, 0.03 * terms * moved),
            "{place}: {step:?} {of_step:?}"
        );
        if offset.is_some() {
            let of_offset = numbers(&gradients[2]);
            assert!(
                near(&found.offset, &of_offset, 1.0),
                "{place}: {:?} {of_offset:?}",
                found.offset
            );
        }
    }
}
