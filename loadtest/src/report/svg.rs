//! Pictures as inline SVG: bars, and latency over percentiles. A pure value: figures in, text out. Invariant: no script, no font, no
//! address of anything outside, so that a report opens anywhere.

use std::fmt::Write as _;

use crate::generator::QUANTILES;

/// A name and its figure.
pub(crate) struct Bar<'a> {
    pub colour: usize,
    pub name: &'a str,
    pub value: f64,
    pub label: String,
}

/// A name and its latencies in microseconds at [`QUANTILES`].
pub(crate) struct Curve<'a> {
    pub colour: usize,
    pub name: &'a str,
    pub micros: Vec<f64>,
}

/// Rows' colours are `--c0` to `--c7` of the page, which knows light and dark.
pub(crate) const COLOURS: usize = 8;
pub(super) const WIDTH: f64 = 560.0;
const ROW: f64 = 26.0;
const NAME_WIDTH: f64 = 235.0;
const LABEL_WIDTH: f64 = 70.0;
const CURVE_HEIGHT: f64 = 260.0;
/// Room for the axis' numbers.
const MARGIN: f64 = 60.0;

fn colour(index: usize) -> String {
    format!("var(--c{})", index % COLOURS)
}

/// Horizontal bars from zero, each with its name and figure.
#[allow(clippy::cast_precision_loss, reason = "a handful of rows")]
pub(crate) fn bars(title: &str, bars: &[Bar<'_>]) -> String {
    let longest = bars.iter().map(|bar| bar.value).fold(1e-9, f64::max);
    let room = WIDTH - NAME_WIDTH - LABEL_WIDTH;
    let height = ROW * bars.len() as f64 + 8.0;
    let mut svg = open(title, height);
    for (index, bar) in bars.iter().enumerate() {
        let top = ROW * index as f64 + 4.0;
        let (width, line) = ((room * bar.value / longest).max(1.0), top + 16.0);
        let (fill, name, label) = (colour(bar.colour), escape(bar.name), escape(&bar.label));
        let (names, end) = (NAME_WIDTH - 8.0, NAME_WIDTH + width + 6.0);
        let _ = write!(
            svg,
            "<text x=\"{names:.0}\" y=\"{line:.0}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{NAME_WIDTH:.0}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"20\" rx=\"2\" style=\"fill:{fill}\"/>\
             <text x=\"{end:.1}\" y=\"{line:.0}\">{label}</text>"
        );
    }
    svg + "</svg>\n"
}

/// Latency over percentiles: both axes logarithmic, the horizontal one in nines, so that the tail is seen.
pub(crate) fn curves(title: &str, curves: &[Curve<'_>]) -> String {
    let all = || {
        curves
            .iter()
            .flat_map(|curve| curve.micros.iter().copied())
            .filter(|&us| us > 0.0)
    };
    let low = all().fold(f64::MAX, f64::min).log10().floor().min(9.0);
    let high = all().fold(1.0, f64::max).log10().ceil().max(low + 1.0);
    let frame = Frame { low, high };
    let mut svg = open(title, CURVE_HEIGHT + 60.0);
    frame.grid(&mut svg);
    for curve in curves {
        let mut points = String::new();
        for (&quantile, &micros) in QUANTILES.iter().zip(&curve.micros) {
            let _ = write!(points, "{:.1},{:.1} ", Frame::x(quantile), frame.y(micros));
        }
        let stroke = colour(curve.colour);
        let _ = write!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" style=\"stroke:{stroke}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>"
        );
    }
    svg + "</svg>\n" + &legend(curves)
}

fn legend(curves: &[Curve<'_>]) -> String {
    let mut legend = "<p class=\"legend\">".to_owned();
    for curve in curves {
        let (stroke, name) = (colour(curve.colour), escape(curve.name));
        let _ = write!(
            legend,
            "<span><b style=\"color:{stroke}\">■</b> {name}</span> "
        );
    }
    legend + "</p>\n"
}

/// Exponents of ten of the lowest and the highest latency in microseconds.
struct Frame {
    low: f64,
    high: f64,
}

impl Frame {
    /// One unit for each nine: 0, 90 %, 99 %, 99.9 %, 99.99 %.
    fn x(quantile: f64) -> f64 {
        let nines = -(1.0 - quantile).max(0.00003).log10();
        MARGIN + (WIDTH - MARGIN - 20.0) * nines / 4.53
    }

    fn y(&self, micros: f64) -> f64 {
        let exponent = micros.max(0.001).log10().clamp(self.low, self.high);
        10.0 + CURVE_HEIGHT * (self.high - exponent) / (self.high - self.low)
    }

    fn grid(&self, svg: &mut String) {
        let mut exponent = self.low;
        while exponent <= self.high {
            let y = self.y(10_f64.powf(exponent));
            let (right, names, line) = (WIDTH - 20.0, MARGIN - 6.0, y + 4.0);
            let name = micros_name(exponent);
            let _ = write!(
                svg,
                "<line x1=\"{MARGIN}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" class=\"grid\"/>\
                 <text x=\"{names}\" y=\"{line:.1}\" text-anchor=\"end\" class=\"axis\">{name}</text>"
            );
            exponent += 1.0;
        }
        let places = [
            (0.0, "0"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (1.0, "max"),
        ];
        for (quantile, name) in places {
            let (x, bottom, line) = (Self::x(quantile), CURVE_HEIGHT + 10.0, CURVE_HEIGHT + 30.0);
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"10\" y2=\"{bottom}\" class=\"grid\"/>\
                 <text x=\"{x:.1}\" y=\"{line}\" text-anchor=\"middle\" class=\"axis\">{name}</text>"
            );
        }
    }
}

fn micros_name(exponent: f64) -> String {
    let micros = 10_f64.powf(exponent);
    if micros >= 1e6 {
        format!("{} s", micros / 1e6)
    } else if micros >= 1e3 {
        format!("{} ms", micros / 1e3)
    } else {
        format!("{micros} µs")
    }
}

pub(super) fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!("<svg role=\"img\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\"><title>{title}</title>")
}

/// For text and attribute values.
pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
