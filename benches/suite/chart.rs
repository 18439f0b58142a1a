//! The table as a picture: for each judged figure, how far it is beyond its goal.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::Row;

const LINE: i32 = 22;
const LEFT: i32 = 430;
const WIDTH: i32 = 960;
const TOP: i32 = 46;

/// Bars on a logarithmic scale; the line at 1 is the goal.
pub(crate) fn draw(rows: &[Row], path: &Path) {
    let bars: Vec<(String, String, f64)> = rows
        .iter()
        .flat_map(|row| {
            row.figures.iter().filter_map(|figure| {
                let progress = figure.progress()?;
                Some((row.what.replace('`', ""), figure.to_string(), progress))
            })
        })
        .collect();
    let height = TOP + LINE * i32::try_from(bars.len()).unwrap_or(0) + 16;
    let root = SVGBackend::new(path, (WIDTH.unsigned_abs(), height.unsigned_abs())).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let largest = bars.iter().map(|(_, _, progress)| *progress).fold(2.0, f64::max).log2();
    let smallest = bars.iter().map(|(_, _, progress)| *progress).fold(0.5, f64::min).log2();
    let room = f64::from(WIDTH - LEFT - 110);
    let place = |value: f64| LEFT + ((value.log2() - smallest) / (largest - smallest) * room) as i32;
    let left = |size: i32| ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    let right = |size: i32| ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(HPos::Right, VPos::Center));
    let middle = ("sans-serif", 13).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Center));
    root.draw_text("How far beyond its goal (logarithmic)", &left(16), (12, 18)).unwrap();
    root.draw_text("goal", &middle, (place(1.0), 34)).unwrap();
    for (index, (what, figure, progress)) in bars.iter().enumerate() {
        let y = TOP + LINE * i32::try_from(index).unwrap_or(0);
        let reached = *progress >= 1.0;
        let colour = if reached { RGBColor(46, 125, 90) } else { RGBColor(200, 80, 50) };
        let (from, to) = (place(1.0).min(place(*progress)), place(1.0).max(place(*progress)));
        root.draw_text(what, &right(13), (LEFT - 8, y + LINE / 2)).unwrap();
        root.draw(&Rectangle::new([(from, y + 4), (to.max(from + 1), y + LINE - 4)], colour.filled())).unwrap();
        root.draw_text(figure, &left(12), (to + 6, y + LINE / 2)).unwrap();
    }
    let line = [(place(1.0), TOP - 4), (place(1.0), height - 10)];
    root.draw(&PathElement::new(line.to_vec(), BLACK.stroke_width(1))).unwrap();
    root.present().unwrap();
}
