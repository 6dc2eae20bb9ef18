//! The text form of the schema facts.
//!
//! One fact per line, its kind first; what follows an `op` line belongs to that operator:
//!
//! ```text
//! # comment
//! release 1.23.0 14 ai.onnx=28 ai.onnx.ml=5      package version, IR version, opset versions
//! set 0 tensor(float) tensor(double)             a numbered set of types, sorted
//! domain ai.onnx                                 the domain of the operators that follow
//! op Conv 22 [deprecated]                        name, since_version
//! i X T      i? B T                              an input, an optional input: name, type
//! i*1 x T    i~0 x V                             variadic, same type / any types, least number
//! o Y T                                          an output, marked like inputs
//! t T 0                                          a type variable and its set
//! a group INT 1      a! axis INT                 an attribute with its default, a required one
//! ```

use std::sync::Arc;

use super::registry::Release;
use super::{
    AttributeDefault, AttributeSchema, AttributeType, OpSchema, Parameter, ParameterKind,
    TypeConstraint,
};
use crate::canonical_domain;

/// A line of the schema text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("schema text, line {line}: {reason}")]
pub struct SchemaTextError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What one text holds.
#[derive(Debug, Default)]
pub(super) struct SchemaText {
    pub(super) schemas: Vec<OpSchema>,
    pub(super) releases: Vec<Release>,
}

/// Reads the text form of the schema facts.
pub(super) fn parse(text: &'static str) -> Result<SchemaText, SchemaTextError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        reader.line(line).map_err(|reason| SchemaTextError {
            line: index + 1,
            reason,
        })?;
    }
    Ok(reader.text)
}

#[derive(Default)]
struct Reader {
    text: SchemaText,
    domain: &'static str,
    sets: Vec<Arc<[&'static str]>>,
}

impl Reader {
    fn line(&mut self, line: &'static str) -> Result<(), &'static str> {
        let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut marks = tag.chars();
        match (marks.next(), tag) {
            (None | Some('#'), _) => {}
            (_, "release") => self.text.releases.push(release(rest)?),
            (_, "set") => self.sets.push(rest.split(' ').skip(1).collect()),
            (_, "domain") => self.domain = canonical_domain(rest),
            (_, "op") => self.text.schemas.push(operator(self.domain, rest)?),
            (Some('i'), _) => self.op()?.inputs.push(parameter(marks.as_str(), rest)?),
            (Some('o'), _) => self.op()?.outputs.push(parameter(marks.as_str(), rest)?),
            (Some('a'), _) => self.op()?.attributes.push(attribute(marks.as_str(), rest)?),
            (_, "t") => {
                let (variable, set) = rest.split_once(' ').ok_or("a variable without a set")?;
                let set: usize = set.parse().map_err(|_| "a set is not a number")?;
                let allowed = self.sets.get(set).ok_or("an unknown set")?.clone();
                self.op()?
                    .constraints
                    .push(TypeConstraint { variable, allowed });
            }
            _ => return Err("an unknown kind of line"),
        }
        Ok(())
    }

    fn op(&mut self) -> Result<&mut OpSchema, &'static str> {
        self.text
            .schemas
            .last_mut()
            .ok_or("a fact before the first operator")
    }
}

fn release(rest: &'static str) -> Result<Release, &'static str> {
    let mut words = rest.split(' ');
    let package = words.next().ok_or("a release without a version")?;
    let ir_version = words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or("no IR version")?;
    let mut opsets = Vec::new();
    for word in words {
        let (domain, version) = word.split_once('=').ok_or("an opset without a version")?;
        let version = version
            .parse()
            .map_err(|_| "an opset version is not a number")?;
        opsets.push((canonical_domain(domain), version));
    }
    Ok(Release {
        package,
        ir_version,
        opsets,
    })
}

fn operator(domain: &'static str, rest: &'static str) -> Result<OpSchema, &'static str> {
    let mut words = rest.split(' ');
    Ok(OpSchema {
        domain,
        name: words.next().ok_or("an operator without a name")?,
        since_version: words
            .next()
            .and_then(|w| w.parse().ok())
            .ok_or("no since_version")?,
        deprecated: words.next() == Some("deprecated"),
        inputs: Vec::new(),
        outputs: Vec::new(),
        attributes: Vec::new(),
        constraints: Vec::new(),
    })
}

fn parameter(mark: &str, rest: &'static str) -> Result<Parameter, &'static str> {
    let (name, type_name) = rest.split_once(' ').ok_or("a parameter without a type")?;
    let variadic = |least: &str, homogeneous| -> Result<ParameterKind, &'static str> {
        let at_least = least
            .parse()
            .map_err(|_| "a least number is not a number")?;
        Ok(ParameterKind::Variadic {
            at_least,
            homogeneous,
        })
    };
    let kind = match mark.split_at_checked(1) {
        None => ParameterKind::Single,
        Some(("?", "")) => ParameterKind::Optional,
        Some(("*", least)) => variadic(least, true)?,
        Some(("~", least)) => variadic(least, false)?,
        Some(_) => return Err("an unknown mark"),
    };
    Ok(Parameter {
        name,
        type_name,
        kind,
    })
}

fn attribute(mark: &str, rest: &'static str) -> Result<AttributeSchema, &'static str> {
    let mut words = rest.splitn(3, ' ');
    let name = words.next().ok_or("an attribute without a name")?;
    let kind = words
        .next()
        .and_then(AttributeType::from_str_name)
        .ok_or("an unknown type")?;
    let default = words.next().map(|value| default(kind, value)).transpose()?;
    Ok(AttributeSchema {
        name,
        kind,
        required: mark == "!",
        default,
    })
}

fn default(kind: AttributeType, value: &'static str) -> Result<AttributeDefault, &'static str> {
    const WRONG: &str = "a default of another type";
    let text = |quoted: &'static str| quoted.strip_prefix('"')?.strip_suffix('"');
    let items = || -> Option<Vec<&'static str>> {
        let inner = value.strip_prefix('[')?.strip_suffix(']')?;
        Some(inner.split(", ").filter(|item| !item.is_empty()).collect())
    };
    let parsed = match kind {
        AttributeType::Int => value.parse().ok().map(AttributeDefault::Int),
        AttributeType::Float => value.parse().ok().map(AttributeDefault::Float),
        AttributeType::String => text(value).map(AttributeDefault::String),
        AttributeType::Ints => items()
            .and_then(|items| items.iter().map(|i| i.parse().ok()).collect())
            .map(AttributeDefault::Ints),
        AttributeType::Floats => items()
            .and_then(|items| items.iter().map(|i| i.parse().ok()).collect())
            .map(AttributeDefault::Floats),
        AttributeType::Strings => items()
            .and_then(|items| items.into_iter().map(text).collect())
            .map(AttributeDefault::Strings),
        _ => None,
    };
    parsed.ok_or(WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_read() {
        let text = "\
# comment
release 1.2 3 ai.onnx=7 ai.onnx.ml=1
set 0 tensor(double) tensor(float)
domain ai.onnx
op Foo 4 deprecated
i X T
i? B tensor(int64)
i~2 rest T
o*1 Y T
t T 0
a axes INTS [1, -2]
a! mode STRING
a alpha FLOAT 0.01
a names STRINGS [\"a\", \"b c\"]
";
        let parsed = parse(text).expect("well-formed");
        assert_eq!(parsed.releases[0].opsets, [("", 7), ("ai.onnx.ml", 1)]);
        let foo = &parsed.schemas[0];
        assert_eq!(
            (foo.domain, foo.name, foo.since_version, foo.deprecated),
            ("", "Foo", 4, true)
        );
        assert_eq!(foo.inputs[1].kind, ParameterKind::Optional);
        assert_eq!(
            foo.inputs[2].kind,
            ParameterKind::Variadic {
                at_least: 2,
                homogeneous: false
            }
        );
        assert_eq!(foo.input_arity(), (4, None));
        assert_eq!(foo.output_arity(), (1, None));
        assert_eq!(
            foo.attributes[0].default,
            Some(AttributeDefault::Ints(vec![1, -2]))
        );
        assert!(foo.attributes[1].required);
        assert_eq!(
            foo.attributes[2].default,
            Some(AttributeDefault::Float(0.01))
        );
        assert_eq!(
            foo.attributes[3].default,
            Some(AttributeDefault::Strings(vec!["a", "b c"]))
        );
        assert!(foo.allowed_types(&foo.inputs[0]).contains("tensor(float)"));
        assert!(!foo.allowed_types(&foo.inputs[1]).contains("tensor(float)"));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let error = parse("op Foo 1\nt T 0\n").expect_err("no set 0");
        assert_eq!(
            error,
            SchemaTextError {
                line: 2,
                reason: "an unknown set"
            }
        );
        assert_eq!(parse("i X T").expect_err("no operator").line, 1);
        assert_eq!(parse("op Foo 1\na x INT y").expect_err("no number").line, 2);
    }
}
