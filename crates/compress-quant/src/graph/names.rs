//! Several names in one line of a message.

use std::fmt;

/// Names that one line says.
const SHOWN: usize = 3;

/// Characters of a name that one line says in full.
const LONGEST: usize = 48;

/// A name in at most `width` characters: exporters name nodes with hundreds, of which both ends tell most.
pub fn shortened(name: &str, width: usize) -> String {
    let count = name.chars().count();
    if count <= width {
        return name.to_owned();
    }
    let half = width.saturating_sub(1) / 2;
    let start: String = name.chars().take(width.saturating_sub(1 + half)).collect();
    let end: String = name.chars().skip(count - half).collect();
    format!("{start}…{end}")
}

/// Names of which one thing is said: shown as `a, b, c and 4 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Puts the names of which the same is said together, in the order in which each thing is first said.
    ///
    /// ```
    /// use compress_quant::graph::Names;
    /// let said = [("float", "a"), ("int8", "b"), ("float", "c")];
    /// let groups = Names::group(said);
    /// let lines: Vec<String> = groups.iter().map(|(what, names)| format!("{what}: {names}")).collect();
    /// assert_eq!(lines, ["float: a, c", "int8: b"]);
    /// ```
    pub fn group<W: PartialEq, N: Into<String>>(
        said: impl IntoIterator<Item = (W, N)>,
    ) -> Vec<(W, Names)> {
        let mut groups: Vec<(W, Names)> = Vec::new();
        for (what, name) in said {
            let name = name.into();
            match groups.iter_mut().find(|(known, _)| *known == what) {
                Some((_, names)) => names.0.push(name),
                None => groups.push((what, Names(vec![name]))),
            }
        }
        groups
    }

    /// All names.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "and 1 more" would be as long as the name.
        let shown = match self.0.len() {
            n if n <= SHOWN + 1 => n,
            _ => SHOWN,
        };
        let names: Vec<String> = self
            .0
            .iter()
            .take(shown)
            .map(|n| shortened(n, LONGEST))
            .collect();
        f.write_str(&names.join(", "))?;
        match self.0.len() - shown {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Names, shortened};

    #[test]
    fn a_long_name_keeps_both_ends() {
        let short = shortened(&format!("start{}end", "x".repeat(300)), 48);
        assert_eq!(short.chars().count(), 48);
        assert!(short.starts_with("startx") && short.ends_with("xend"));
        assert_eq!(shortened("conv", 48), "conv");
    }

    #[test]
    fn many_names_are_counted() {
        let names = |n: usize| Names::from((0..n).map(|i| format!("n{i}")).collect::<Vec<_>>());
        assert_eq!(names(4).to_string(), "n0, n1, n2, n3");
        assert_eq!(names(9).to_string(), "n0, n1, n2 and 6 more");
        assert_eq!(names(0).to_string(), "");
    }
}
