//! The table.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use crate::{chart, machine};

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reach {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
    /// It is only told.
    Told,
}

/// One figure of a row.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) reach: Reach,
}

impl Figure {
    /// How many times as fast, or as much, as the peer.
    pub(crate) fn times(value: f64, reach: Reach) -> Self {
        Self { value, unit: "x", reach }
    }

    /// A number of something.
    pub(crate) fn new(value: f64, unit: &'static str, reach: Reach) -> Self {
        Self { value, unit, reach }
    }

    /// Whether it is reached; `None` where nothing is to be.
    pub(crate) fn reached(&self) -> Option<bool> {
        match self.reach {
            Reach::AtLeast(least) => Some(self.value >= least),
            Reach::AtMost(most) => Some(self.value <= most),
            Reach::Told => None,
        }
    }

    /// How far it is, 1 being the goal and more being better.
    pub(crate) fn progress(&self) -> Option<f64> {
        match self.reach {
            Reach::AtLeast(least) => Some(self.value / least),
            Reach::AtMost(most) => Some(most / self.value.max(most / 1000.0)),
            Reach::Told => None,
        }
    }

    fn goal(&self) -> String {
        match self.reach {
            Reach::AtLeast(least) => format!("≥ {}", number(least, self.unit)),
            Reach::AtMost(most) => format!("≤ {}", number(most, self.unit)),
            Reach::Told => "-".into(),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&number(self.value, self.unit))
    }
}

fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        ..0.1 => 4,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if unit == "x" { format!("{text}x") } else { format!("{text} {unit}") }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) peer: String,
    pub(crate) figures: Vec<Figure>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, ours: impl Into<String>, peer: impl Into<String>) -> Self {
        Self { what: what.into(), ours: ours.into(), peer: peer.into(), figures: Vec::new() }
    }

    pub(crate) fn figure(mut self, figure: Figure) -> Self {
        self.figures.push(figure);
        self
    }

    fn verdict(&self) -> &'static str {
        let judged: Vec<bool> = self.figures.iter().filter_map(Figure::reached).collect();
        match (judged.is_empty(), judged.iter().all(|reached| *reached)) {
            (true, _) => "",
            (false, true) => "yes",
            (false, false) => "**no**",
        }
    }

    fn joined(&self, each: impl Fn(&Figure) -> String) -> String {
        self.figures.iter().map(each).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (figures, goals) = (self.joined(ToString::to_string), self.joined(Figure::goal));
        let verdict = self.verdict();
        write!(f, "{}: ours {}, peer {}: {figures} (goal {goals}) {verdict}", self.what, self.ours, self.peer)
    }
}

/// All rows of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Writes the table and the chart into this package's folder.
    pub(crate) fn write(&self, quick: bool) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let notes = fs::read_to_string(folder.join("NOTES.md")).unwrap_or_default();
        let mut text = String::from("# Results\n\n");
        let kind = if quick { "a quick run" } else { "one run" };
        let _ = writeln!(
            text,
            "Written by {kind} of `cargo bench -p pillarbox-benches`. Ours and the peer take turns; figures are medians, \
             ratios are medians of the ratios of each turn. NOTES.md says what each row does, and why where a goal is \
             not reached; its text follows the table.\n"
        );
        for (name, value) in machine::describe() {
            let _ = writeln!(text, "* {name}: {value}");
        }
        text.push_str("\n![How far each row is beyond its goal](results.svg)\n\n");
        text.push_str("| What | Ours | Peer | Figure | Goal | Reached |\n|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let (figures, goals) = (row.joined(ToString::to_string), row.joined(Figure::goal));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {figures} | {goals} | {} |",
                row.what,
                row.ours,
                row.peer,
                row.verdict()
            );
        }
        text.push('\n');
        text.push_str(&notes);
        fs::write(folder.join("RESULTS.md"), text).unwrap();
        chart::draw(&self.rows, &folder.join("results.svg"));
    }
}
