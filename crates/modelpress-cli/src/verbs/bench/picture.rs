//! The layers as a picture: bars by time, and dots under the roofline.
//!
//! The SVG stands for itself: no script, no style sheet, no font of its own. The roofline is drawn over multiply-accumulates per byte
//! (both axes logarithmic): `min(peak, intensity · bandwidth)` for each kind of numbers that a layer multiplies, with the bandwidth of
//! the smallest and of the largest memory that was measured.

use super::{Layer, arithmetic};
use modelpress::session::roofline::{Arithmetic, Machine};
use modelpress::train::picture::{Svg, escaped};

/// Bars that are drawn; the rest is one bar together.
const MOST_BARS: usize = 40;
/// Characters of a name that have room.
const LONGEST_NAME: usize = 52;

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 20.0;
/// Where bars begin.
const LEFT: f64 = 400.0;
const BAR: f64 = 18.0;
const PLOT_HEIGHT: f64 = 420.0;

/// Colours of kinds of kernels that can be told apart by most people (Okabe and Ito).
const COLOURS: [(&str, &str); 5] = [
    ("conv", "#0072b2"),
    ("gemm", "#d55e00"),
    ("elementwise", "#009e73"),
    ("reference", "#cc79a7"),
    ("", "#999999"),
];

/// The text of the SVG.
pub(super) fn svg(name: &str, layers: &[Layer], machine: &Machine) -> String {
    let bars = layers.len().min(MOST_BARS) + usize::from(layers.len() > MOST_BARS);
    let plot_top = 70.0 + bars as f64 * BAR + 50.0;
    let height = plot_top + PLOT_HEIGHT + 60.0;
    let total: f64 = layers.iter().map(|l| l.mean_ms).sum();
    let title = format!("{name}: {total:.3} ms in {} steps", layers.len());
    let mut out = Svg::new(WIDTH, height, &title);
    out.text((MARGIN, 32.0), "start", 16, &title);
    let hardware = format!(
        "{}, {}, {} thread(s)",
        machine.cpu, machine.isa, machine.threads
    );
    out.text((MARGIN, 52.0), "start", 12, &hardware);
    draw_bars(&mut out, layers, 70.0);
    draw_roofline(&mut out, layers, machine, plot_top);
    out.finish()
}

fn draw_bars(out: &mut Svg, layers: &[Layer], top: f64) {
    let longest = layers.iter().map(|l| l.mean_ms).fold(0.0, f64::max);
    let (shown, rest) = layers.split_at(layers.len().min(MOST_BARS));
    let rest_ms: f64 = rest.iter().map(|l| l.mean_ms).sum();
    let scale = (WIDTH - LEFT - 150.0) / longest.max(rest_ms).max(f64::MIN_POSITIVE);
    let mut bar = |row: usize, name: &str, kernel: &str, ms: f64, share: f64, about: &str| {
        let y = top + row as f64 * BAR;
        let width = (ms * scale).max(0.5);
        out.text((LEFT - 6.0, y + 13.0), "end", 11, &shortened(name));
        out.element(format_args!(
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{width:.2}\" height=\"{:.1}\" fill=\"{}\"><title>{}</title></rect>",
                y + 2.0,
                BAR - 4.0,
                colour(kernel),
                escaped(about)
            ),
        );
        let label = format!("{ms:.3} ms, {:.1} %", share * 100.0);
        out.text((LEFT + width + 5.0, y + 13.0), "start", 11, &label);
    };
    for (row, layer) in shown.iter().enumerate() {
        let about = about(layer);
        bar(
            row,
            &layer.node,
            layer.kernel,
            layer.mean_ms,
            layer.share,
            &about,
        );
    }
    if !rest.is_empty() {
        let name = format!("{} more", rest.len());
        let share = rest.iter().map(|l| l.share).sum();
        bar(shown.len(), &name, "", rest_ms, share, &name);
    }
}

/// A layer in one line.
fn about(layer: &Layer) -> String {
    let mut line = format!("{} by {}", layer.node, layer.kernel);
    let known = [
        layer.gflops.map(|n| format!(", {n:.1} GFLOP/s")),
        layer.gbytes_per_s.map(|n| format!(", {n:.1} GB/s")),
        layer
            .of_roofline
            .map(|n| format!(", {:.0} % of the roofline", n * 100.0)),
    ];
    known.iter().flatten().for_each(|part| line.push_str(part));
    line
}

/// A logarithmic axis over whole powers of ten.
struct Axis {
    low: i32,
    high: i32,
    start: f64,
    end: f64,
}

impl Axis {
    /// Over all values, one power of ten at least; `None` without values.
    fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Option<Self> {
        let logs = values.filter(|v| v.is_finite() && *v > 0.0).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        (low <= high).then(|| Self {
            low: low.floor() as i32,
            high: (high.ceil() as i32).max(low.floor() as i32 + 1),
            start,
            end,
        })
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }

    fn ticks(&self) -> impl Iterator<Item = i32> {
        self.low..=self.high
    }
}

fn draw_roofline(out: &mut Svg, layers: &[Layer], machine: &Machine, top: f64) {
    let dots: Vec<(f64, f64, &Layer)> = layers.iter().filter_map(dot).collect();
    out.text(
        (MARGIN, top - 16.0),
        "start",
        14,
        "Roofline: GFLOP/s over multiply-accumulates per byte",
    );
    let peaks = [Arithmetic::Float, Arithmetic::Int8].map(|kind| 2e-9 * machine.peak(kind));
    let (left, right) = (MARGIN + 60.0, WIDTH - MARGIN - 120.0);
    let x = Axis::over(dots.iter().map(|d| d.0).chain([0.1, 100.0]), left, right);
    let y = Axis::over(
        dots.iter().map(|d| d.1).chain(peaks),
        top + PLOT_HEIGHT,
        top,
    );
    let (Some(x), Some(y)) = (x, y) else {
        return;
    };
    for power in x.ticks() {
        let at = x.at(10f64.powi(power));
        out.line((at, y.start), (at, y.end), "#dddddd");
        out.text((at, y.start + 18.0), "middle", 11, &format!("10^{power}"));
    }
    for power in y.ticks() {
        let at = y.at(10f64.powi(power));
        out.line((x.start, at), (x.end, at), "#dddddd");
        out.text((x.start - 8.0, at + 4.0), "end", 11, &format!("10^{power}"));
    }
    let drawn = |kind| dots.iter().any(|d| arithmetic(d.2.kernel) == kind);
    let kinds = [(Arithmetic::Float, "f32"), (Arithmetic::Int8, "int8")];
    for ((kind, name), peak) in kinds.into_iter().zip(peaks) {
        if kind == Arithmetic::Int8 && !drawn(kind) {
            continue;
        }
        let memories = [machine.bandwidths.first(), machine.bandwidths.last()];
        for memory in memories.into_iter().flatten() {
            let roof = |intensity: f64| (2e-9 * intensity * memory.bytes_per_second).min(peak);
            let points: Vec<(f64, f64)> = (0..=200)
                .map(|i| {
                    let power = f64::from(x.low) + f64::from(x.high - x.low) * f64::from(i) / 200.0;
                    let intensity = 10f64.powf(power);
                    (x.at(intensity), y.at(roof(intensity)))
                })
                .collect();
            out.polyline(&points, "#333333");
        }
        let label = format!("{name} {peak:.0} GFLOP/s");
        out.text((x.end + 6.0, y.at(peak) + 4.0), "start", 11, &label);
    }
    for (intensity, gflops, layer) in &dots {
        let radius = 3.0 + 9.0 * layer.share.max(0.0).sqrt();
        out.element(format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"0.6\" stroke=\"white\"><title>{}</title></circle>",
                x.at(*intensity),
                y.at(*gflops),
                colour(layer.kernel),
                escaped(&about(layer))
            ),
        );
    }
}

/// Intensity and 10⁹ operations per second of a layer that multiplies.
fn dot(layer: &Layer) -> Option<(f64, f64, &Layer)> {
    let (macs, gflops) = (layer.macs? as f64, layer.gflops?);
    (layer.bytes > 0).then(|| (macs / layer.bytes as f64, gflops, layer))
}

fn colour(kernel: &str) -> &'static str {
    let found = COLOURS.iter().find(|(kind, _)| kernel.starts_with(kind));
    found.map_or("#999999", |(_, colour)| *colour)
}

/// The end of a name, which tells layers apart, where it is too long.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= LONGEST_NAME {
        return name.to_owned();
    }
    let end: String = name.chars().skip(count - LONGEST_NAME + 1).collect();
    format!("\u{2026}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened() {
        let long = format!("{}end", "x".repeat(90));
        let short = shortened(&long);
        assert!(short.ends_with("end") && short.starts_with('\u{2026}'));
        assert_eq!(short.chars().count(), LONGEST_NAME);
        assert_eq!(shortened("\u{b5}").chars().count(), 1);
    }

    #[test]
    fn an_axis_spans_whole_powers_of_ten() {
        let axis = Axis::over([0.5, 20.0].into_iter(), 0.0, 300.0).unwrap();
        assert_eq!((axis.low, axis.high), (-1, 2));
        assert!((axis.at(1.0) - 100.0).abs() < 1e-9);
        // What lies outside stands at the border.
        assert_eq!(axis.at(1e9), 300.0);
        let one = Axis::over([10.0].into_iter(), 0.0, 1.0).unwrap();
        assert_eq!((one.low, one.high), (1, 2));
        assert!(Axis::over([0.0, f64::NAN].into_iter(), 0.0, 1.0).is_none());
    }
}
