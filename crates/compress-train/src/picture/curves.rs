//! Curves over steps, one panel below the other.

use super::Svg;
use crate::log::Row;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 830.0;
const HEIGHT: f64 = 220.0;
/// Room above the first panel, and between two.
const TOP: f64 = 60.0;
const GAP: f64 = 60.0;
/// Colours that can be told apart by most people (Okabe and Ito).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333",
];

/// One set of axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What is drawn, as in `loss`.
    pub title: String,
    /// The scale of its values.
    pub scale: Scale,
    /// The curves.
    pub series: Vec<Series>,
}

/// How values are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithms; values up to 0 are left out.
    Logarithmic,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Steps and values. A value that is not finite interrupts the curve.
    pub points: Vec<(f64, f64)>,
}

/// A panel of some columns of a log; names that are no column are left out.
pub fn panel(
    title: &str,
    scale: Scale,
    columns: &[String],
    rows: &[Row],
    wanted: &[&str],
) -> Panel {
    let of = |name: &&str| {
        let at = columns.iter().position(|c| c == name)?;
        let point = |row: &Row| Some((row.step as f64, (*row.values.get(at)?)?));
        Some(Series {
            name: (*name).to_owned(),
            points: rows.iter().filter_map(point).collect(),
        })
    };
    Panel {
        title: title.to_owned(),
        scale,
        series: wanted.iter().filter_map(of).collect(),
    }
}

/// The picture of all panels over the same steps.
///
/// # Examples
/// ```
/// use compress_train::picture::{Panel, Scale, Series, curves};
/// let loss = Series { name: "train".into(), points: vec![(0.0, 2.3), (1.0, 1.1), (2.0, 0.7)] };
/// let panel = Panel { title: "loss".into(), scale: Scale::Linear, series: vec![loss] };
/// let svg = curves("model.onnx", &[panel]);
/// assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
/// ```
pub fn curves(title: &str, panels: &[Panel]) -> String {
    let height = TOP + panels.len() as f64 * (HEIGHT + GAP) + 20.0;
    let mut svg = Svg::new(WIDTH, height, title);
    svg.text((20.0, 30.0), "start", 16, title);
    let steps = panels
        .iter()
        .flat_map(|p| &p.series)
        .flat_map(|s| &s.points)
        .map(|p| p.0);
    let steps = Axis::over(steps, Scale::Linear, LEFT, RIGHT);
    for (at, panel) in panels.iter().enumerate() {
        let top = TOP + at as f64 * (HEIGHT + GAP);
        draw(&mut svg, panel, steps, top);
    }
    svg.finish()
}

/// Values over a stretch of the picture.
#[derive(Clone, Copy, Debug)]
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Over all values that can be drawn; `None` without.
    fn over(values: impl Iterator<Item = f64>, scale: Scale, start: f64, end: f64) -> Option<Self> {
        let drawn = values.filter_map(|v| spaced(v, scale));
        let (low, high) = drawn.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if low > high {
            return None;
        }
        // A constant has its line in the middle.
        let margin = if low == high {
            low.abs().max(1.0) * 0.5
        } else {
            0.0
        };
        let axis = Self {
            scale,
            low: low - margin,
            high: high + margin,
            start,
            end,
        };
        (axis.high - axis.low).is_finite().then_some(axis)
    }

    fn at(&self, value: f64) -> Option<f64> {
        let share = (spaced(value, self.scale)? - self.low) / (self.high - self.low);
        Some(self.start + share.clamp(0.0, 1.0) * (self.end - self.start))
    }

    /// Values to be written at the axis: round ones, or powers of ten.
    fn ticks(&self) -> Vec<f64> {
        if self.scale == Scale::Logarithmic && self.high - self.low >= 1.0 {
            let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
            let apart = (last - first) / 8 + 1;
            return (first..=last)
                .step_by(apart as usize)
                .map(|p| 10f64.powi(p))
                .collect();
        }
        let (low, high) = match self.scale {
            Scale::Linear => (self.low, self.high),
            Scale::Logarithmic => (10f64.powf(self.low), 10f64.powf(self.high)),
        };
        let step = round_step((high - low) / 5.0);
        let first = (low / step).ceil();
        let count = ((high / step).floor() - first).clamp(0.0, 20.0) as usize;
        (0..=count).map(|i| (first + i as f64) * step).collect()
    }
}

/// Where a value stands before its axis is known; `None` where it has no place.
fn spaced(value: f64, scale: Scale) -> Option<f64> {
    let spaced = match scale {
        Scale::Linear => value,
        Scale::Logarithmic => value.log10(),
    };
    spaced.is_finite().then_some(spaced)
}

/// 1, 2 or 5 times a power of ten, no less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|f| f * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

fn draw(svg: &mut Svg, panel: &Panel, steps: Option<Axis>, top: f64) {
    let bottom = top + HEIGHT;
    svg.text((LEFT, top - 8.0), "start", 14, &panel.title);
    let values = panel.series.iter().flat_map(|s| &s.points).map(|p| p.1);
    let values = Axis::over(values, panel.scale, bottom, top);
    let (Some(x), Some(y)) = (steps, values) else {
        svg.text(
            ((LEFT + RIGHT) / 2.0, top + HEIGHT / 2.0),
            "middle",
            12,
            "no values",
        );
        return;
    };
    for tick in y.ticks() {
        if let Some(at) = y.at(tick) {
            svg.line((LEFT, at), (RIGHT, at), "#dddddd");
            svg.text((LEFT - 8.0, at + 4.0), "end", 11, &label(tick));
        }
    }
    for tick in x.ticks() {
        if let Some(at) = x.at(tick) {
            svg.line((at, top), (at, bottom), "#eeeeee");
            svg.text((at, bottom + 16.0), "middle", 11, &label(tick));
        }
    }
    svg.line((LEFT, top), (LEFT, bottom), "#333333");
    svg.line((LEFT, bottom), (RIGHT, bottom), "#333333");
    for (number, series) in panel.series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        draw_series(svg, series, x, y, colour);
        let at = top + 14.0 + number as f64 * 18.0;
        svg.line((RIGHT + 12.0, at - 4.0), (RIGHT + 32.0, at - 4.0), colour);
        svg.text((RIGHT + 38.0, at), "start", 12, &series.name);
    }
}

fn draw_series(svg: &mut Svg, series: &Series, x: Axis, y: Axis, colour: &str) {
    let place = |&(step, value): &(f64, f64)| Some((x.at(step)?, y.at(value)?));
    let places: Vec<Option<(f64, f64)>> = series.points.iter().map(place).collect();
    for run in places.split(Option::is_none) {
        let run: Vec<(f64, f64)> = run.iter().copied().flatten().collect();
        match *run {
            [] => {}
            // A point alone has no line.
            [(x, y)] => svg.element(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\" fill=\"{colour}\"/>"
            )),
            _ => svg.polyline(&run, colour),
        }
    }
}

fn label(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) {
        // No more digits than the ticks are apart by.
        let text = format!("{value:.6}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        if short == "-0" {
            "0".into()
        } else {
            short.into()
        }
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series {
            name: "train <1>".into(),
            points: points.to_vec(),
        }
    }

    fn panel_of(scale: Scale, points: &[(f64, f64)]) -> Panel {
        Panel {
            title: "loss".into(),
            scale,
            series: vec![series(points)],
        }
    }

    #[test]
    fn points_stand_where_the_axes_say() {
        let svg = curves(
            "t",
            &[panel_of(
                Scale::Linear,
                &[(0.0, 1.0), (5.0, 3.0), (10.0, 2.0)],
            )],
        );
        // The first at the left and bottom, the second in the middle and at the top.
        assert!(
            svg.contains("<polyline points=\"80.0,280.0 455.0,60.0 830.0,170.0\""),
            "{svg}"
        );
        assert!(svg.contains("train &lt;1&gt;"));
        let svg = curves(
            "t",
            &[panel_of(
                Scale::Logarithmic,
                &[(0.0, 1.0), (1.0, 100.0), (2.0, 10.0)],
            )],
        );
        assert!(
            svg.contains("<polyline points=\"80.0,280.0 455.0,60.0 830.0,170.0\""),
            "{svg}"
        );
    }

    #[test]
    fn what_is_not_finite_interrupts_a_curve() {
        let points = [
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, 2.0),
            (4.0, 1.0),
            (5.0, f64::INFINITY),
            (6.0, 1.5),
        ];
        let svg = curves("t", &[panel_of(Scale::Linear, &points)]);
        assert_eq!(
            (
                svg.matches("<polyline").count(),
                svg.matches("<circle").count()
            ),
            (2, 1)
        );
    }

    #[test]
    fn there_is_a_picture_of_anything() {
        let huge = [(0.0, f64::MAX), (1.0, f64::MIN)];
        for points in [
            &[][..],
            &[(0.0, f64::NAN)],
            &[(3.0, 7.0)],
            &[(0.0, 0.0), (1.0, 0.0)],
            &huge,
            &[(0.0, -1.0)],
        ] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let svg = curves("t", &[panel_of(scale, points)]);
                assert!(
                    svg.ends_with("</svg>\n") && svg.len() < 20_000 && !svg.contains("NaN"),
                    "{svg}"
                );
            }
        }
        assert!(curves("t", &[]).ends_with("</svg>\n"));
    }

    #[test]
    fn columns_of_a_log_become_curves() {
        let columns = ["loss".to_owned(), "rate".to_owned()];
        let rows = [
            Row {
                step: 1,
                values: vec![Some(0.5), None],
            },
            Row {
                step: 2,
                values: vec![Some(0.25), Some(0.1)],
            },
        ];
        let panel = panel(
            "both",
            Scale::Linear,
            &columns,
            &rows,
            &["rate", "absent", "loss"],
        );
        let points: Vec<_> = panel.series.iter().map(|s| s.points.clone()).collect();
        assert_eq!(points, [vec![(2.0, 0.1)], vec![(1.0, 0.5), (2.0, 0.25)]]);
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::over([0.0, 10.3].into_iter(), Scale::Linear, 0.0, 1.0).unwrap();
        assert_eq!(axis.ticks(), [0.0, 5.0, 10.0]);
        assert_eq!([0.03, 0.2, 6.0].map(round_step), [0.05, 0.2, 10.0]);
        assert_eq!(
            [0.0, -0.25, 1234.0, 1e-7, 2e9].map(label),
            ["0", "-0.25", "1234", "1e-7", "2e9"]
        );
    }
}
