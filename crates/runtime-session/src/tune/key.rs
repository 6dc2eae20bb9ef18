//! What a step computes, as text: steps of the same key take the same time in the same way.

use super::way::Way;
use crate::plan::PlannedStep;
use compress_tensor::Tensor;
use onnx_ir::graph::Attribute;
use onnx_ir::{Graph, Node, Value};
use std::fmt::Write;

/// Characters of a key; the rest of a longer one is a number that stands for it.
const LONGEST: usize = 400;

/// The kernel, the nodes with their attributes and weights, the inputs by type and shape, and the ways that there are to choose from.
pub(super) fn of_step(
    step: &PlannedStep,
    graph: &Graph,
    inputs: &[Option<&Value>],
    ways: &[Way],
) -> String {
    let mut key = String::from(step.step.kernel());
    for &id in &step.fused.nodes {
        key.push(' ');
        node(&mut key, graph.node(id));
        for &v in graph.node(id).inputs().iter().flatten() {
            if let Some(constant) = graph.constant(v) {
                key.push(' ');
                tensor(&mut key, constant);
            }
        }
    }
    key.push_str(" of");
    for input in inputs {
        key.push(' ');
        match input {
            Some(Value::Tensor(input)) => tensor(&mut key, input),
            Some(other) => key.push_str(other.kind()),
            None => key.push('-'),
        }
    }
    key.push_str(" by");
    for way in ways {
        put(&mut key, format_args!(" {way}"));
    }
    shortened(key)
}

/// The keys of all steps as one, which stands for a model with inputs of these shapes.
pub(super) fn of_all(keys: &[String]) -> String {
    let all = keys.join("\n");
    format!("{} steps {:016x}", keys.len(), hash(&all))
}

fn node(key: &mut String, node: &Node) {
    key.push_str(&node.op_type);
    let mut attributes: Vec<(&str, &Attribute)> = node.attributes.iter().collect();
    attributes.sort_by_key(|(name, _)| *name);
    for (name, attribute) in attributes {
        let value = match attribute {
            Attribute::Float(x) => format!("{x}"),
            Attribute::Int(n) => format!("{n}"),
            Attribute::Ints(list) => format!("{list:?}"),
            Attribute::Floats(list) => format!("{list:?}"),
            Attribute::String(text) => String::from_utf8_lossy(text).into_owned(),
            // What else there is does not change the time of a kernel.
            _ => continue,
        };
        put(key, format_args!(" {name}={}", value.replace(' ', "")));
    }
}

fn tensor(key: &mut String, tensor: &Tensor) {
    put(key, format_args!("{}", tensor.dtype()));
    for size in tensor.shape() {
        put(key, format_args!("x{size}"));
    }
}

fn put(key: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything that is written to it.
    let _ = key.write_fmt(text);
}

fn shortened(key: String) -> String {
    match key.char_indices().nth(LONGEST) {
        None => key,
        Some((at, _)) => format!("{} .. {:016x}", &key[..at], hash(&key)),
    }
}

/// FNV-1a, which is the same on all machines and in all versions.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_told_apart_by_all_of_their_text() {
        let long = |end: &str| shortened(format!("{}{end}", "\u{b5}".repeat(1000)));
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
        assert!(long("a").chars().count() < LONGEST + 30);
        assert_eq!(shortened("short".into()), "short");
        // The published values of the function.
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn attributes_are_part_of_a_key_and_names_are_not() {
        let text = |n: Node| {
            let mut key = String::new();
            node(&mut key, &n);
            key
        };
        let conv = || Node::new("Conv", [None; 1], [None; 1]).with("pads", vec![1i64, 2]);
        assert_eq!(text(conv()), "Conv pads=[1,2]");
        assert_eq!(text(conv().with("group", 4i64)), "Conv group=4 pads=[1,2]");
    }
}
