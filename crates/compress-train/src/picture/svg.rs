//! The elements of a picture.

use std::fmt::{Arguments, Write};

/// An SVG that stands for itself: no script, no style sheet, no font of its own.
///
/// # Examples
/// ```
/// use compress_train::picture::Svg;
/// let mut svg = Svg::new(100.0, 50.0, "a < b");
/// svg.line((0.0, 0.0), (100.0, 50.0), "#333333");
/// svg.text((50.0, 20.0), "middle", 12, "a < b");
/// assert!(svg.finish().contains("<title>a &lt; b</title>"));
/// ```
#[derive(Clone, Debug)]
pub struct Svg(String);

impl Svg {
    /// An empty picture on white.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut svg = Self(String::new());
        svg.element(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height:.0}\" width=\"{width}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
        ));
        svg.element(format_args!("<title>{}</title>", escaped(title)));
        svg.element(format_args!(
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
        ));
        svg
    }

    /// Adds an element as it is written.
    pub fn element(&mut self, element: Arguments<'_>) {
        // A string takes everything that is written to it.
        let _ = writeln!(self.0, "{element}");
    }

    /// Adds a straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        self.element(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    /// Adds text that starts, ends or has its middle (`anchor`) at a place.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: &str, size: u32, content: &str) {
        self.element(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
            escaped(content)
        ));
    }

    /// Adds a line through points.
    pub fn polyline(&mut self, points: &[(f64, f64)], colour: &str) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.element(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>",
            points.join(" ")
        ));
    }

    /// The text of the file.
    pub fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// Text as XML takes it; characters that it does not know are replaced.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            escaped("a<b> & \"c\"\u{1}"),
            "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}"
        );
    }
}
