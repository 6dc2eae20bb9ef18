//! Names of nodes as a request gives them.

use super::config::QuantizeConfig;
use super::error::QuantizeError;
use onnx_ir::{Graph, NodeId};

/// Checks that each name stands for a node, of the graph or of a subgraph.
pub(super) fn check_patterns(graph: &Graph, config: &QuantizeConfig) -> Result<(), QuantizeError> {
    for pattern in config.include.iter().chain(&config.exclude) {
        if !holds_named(graph, pattern) {
            return Err(QuantizeError::NoSuchNode {
                pattern: pattern.clone(),
            });
        }
    }
    Ok(())
}

fn holds_named(graph: &Graph, pattern: &str) -> bool {
    graph.nodes().any(|(id, node)| {
        is_named(graph, id, pattern) || node.attributes.graphs().any(|g| holds_named(g, pattern))
    })
}

/// Whether the name of a node, or of an output of it, is `pattern`.
pub(super) fn is_named(graph: &Graph, id: NodeId, pattern: &str) -> bool {
    let node = graph.node(id);
    let outputs = node.outputs().iter().flatten().map(|&v| graph.name_of(v));
    outputs
        .chain([node.name.as_str()])
        .any(|name| matches_pattern(pattern, name))
}

/// The pattern that stands for exactly this name: in [`QuantizeConfig::include`] and [`QuantizeConfig::exclude`] each
/// `*` stands for any text, `\*` for a star and `\\` for a backslash.
///
/// ```
/// use compress_quant::graph::literal_pattern;
///
/// assert_eq!(literal_pattern("conv*1"), r"conv\*1");
/// ```
pub fn literal_pattern(name: &str) -> String {
    name.replace('\\', r"\\").replace('*', r"\*")
}

/// The texts between the stars of a pattern.
fn parts_of(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        let escaped = characters.next_if(|next| c == '\\' && matches!(next, '*' | '\\'));
        match (c, escaped, parts.last_mut()) {
            ('*', None, _) => parts.push(String::new()),
            (_, escaped, Some(part)) => part.push(escaped.unwrap_or(c)),
            (_, _, None) => {}
        }
    }
    parts
}

/// Whether `name` is `pattern`.
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let parts = parts_of(pattern);
    let mut parts = parts.iter().map(String::as_str);
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches_pattern("conv*", "conv_1"));
        assert!(matches_pattern(
            "*/attention/*MatMul",
            "/layer.0/attention/self/MatMul"
        ));
        assert!(matches_pattern("exact", "exact"));
        assert!(!matches_pattern("exact", "exactly"));
        assert!(!matches_pattern("a*b*c", "acb"));
    }

    #[test]
    fn a_literal_pattern_stands_for_one_name() {
        for name in ["conv", "a*b", r"a\b", r"\*", "*", r"a\\*"] {
            assert!(matches_pattern(&literal_pattern(name), name), "{name}");
        }
        assert!(!matches_pattern(&literal_pattern("a*b"), "axb"));
        // A backslash before anything else is itself.
        assert!(matches_pattern(r"a\b*", r"a\bc"));
    }
}
