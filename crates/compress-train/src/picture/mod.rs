//! Pictures as SVG: the curves of a training, and what they are drawn with.

mod curves;
mod svg;

pub use curves::{Panel, Scale, Series, curves, panel};
pub use svg::{Svg, escaped};
