//! A picture of counts over time: steps that rise, and the bound that they must stay below. A pure value, as `svg` is. Invariant: it
//! stands alone as a file, with its legend inside.

use std::fmt::Write as _;

use super::svg::{WIDTH, escape, open};

const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 12.0;
const LEGEND: f64 = 22.0;
/// More points than pixels show nothing more.
const POINTS_MAX: usize = 600;

/// A file of its own has no page to take colours from.
const COLOURS: [&str; 8] = [
    "#1f6feb", "#8b949e", "#2da44e", "#cf222e", "#8250df", "#bf8700", "#d4448a", "#0a7ea4",
];

/// Counts over seconds, in order of time.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
    /// The bound: drawn broken, in grey.
    pub bound: bool,
    /// Drawn wide, so that what lies on it does not hide it.
    pub wide: bool,
}

/// All lines in one frame, from zero on both axes.
pub(crate) fn lines(title: &str, lines: &[Line<'_>]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let right = points().map(|point| point.0).fold(0.1, f64::max);
    let high = points().map(|point| point.1).fold(1.0, f64::max);
    let x = |at: f64| LEFT + (WIDTH - LEFT - 20.0) * at / right;
    let y = |count: f64| TOP + HEIGHT * (1.0 - count / high);
    let rows = f64::from(u32::try_from(lines.len()).unwrap_or(0));
    let mut svg = open(title, TOP + HEIGHT + 34.0 + LEGEND * rows);
    svg = svg.replacen(
        "<svg ",
        "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\" font-size=\"13\" ",
        1,
    );
    svg.push_str("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
    for part in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (across, up) = (x(right * part), y(high * part));
        let (count, seconds) = (high * part, right * part);
        let (end, base, foot) = (WIDTH - 20.0, TOP + HEIGHT, TOP + HEIGHT + 18.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{up:.1}\" y2=\"{up:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{count:.0}</text>\
             <line x1=\"{across:.1}\" x2=\"{across:.1}\" y1=\"{TOP}\" y2=\"{base}\" stroke=\"#eee\"/>\
             <text x=\"{across:.1}\" y=\"{foot}\" text-anchor=\"middle\">{seconds:.1} s</text>",
            LEFT - 6.0,
            up + 4.0
        );
    }
    let mut row = TOP + HEIGHT + 44.0;
    for (index, line) in lines.iter().enumerate() {
        let style = if line.bound {
            "stroke=\"#57606a\" stroke-dasharray=\"6 4\"".to_owned()
        } else {
            format!("stroke=\"{}\"", COLOURS[index % COLOURS.len()])
        };
        let mut places = String::new();
        for (at, count) in thinned(&line.points) {
            let _ = write!(places, "{:.1},{:.1} ", x(at), y(count));
        }
        let width = if line.wide { 7 } else { 2 };
        let opacity = if line.wide { 0.45 } else { 1.0 };
        let style = format!("{style} stroke-width=\"{width}\" stroke-opacity=\"{opacity}\"");
        let (name, end) = (escape(line.name), LEFT + 30.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{places}\" fill=\"none\" {style}/>\
             <line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{row}\" y2=\"{row}\" {style}/>\
             <text x=\"{:.0}\" y=\"{:.0}\">{name}</text>",
            end + 8.0,
            row + 4.0
        );
        row += LEGEND;
    }
    svg + "</svg>\n"
}

/// At most so many points, the last one among them.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let some = points.iter().copied().step_by(step);
    some.chain(points.last().copied())
}
