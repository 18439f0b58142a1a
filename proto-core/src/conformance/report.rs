//! What the checks found.

use std::fmt;

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The backend keeps the rule.
    Passed,
    /// The backend does not offer what the check is about.
    Skipped(String),
    /// The backend breaks the rule, in this way.
    Failed(String),
}

/// What became of all checks that were run.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    entries: Vec<(&'static str, &'static str, Verdict)>,
}

impl Report {
    pub(super) fn add(&mut self, name: &'static str, about: &'static str, verdict: Verdict) {
        self.entries.push((name, about, verdict));
    }

    /// Each check's name and verdict, in the order in which they ran.
    pub fn verdicts(&self) -> impl Iterator<Item = (&'static str, &Verdict)> {
        self.entries.iter().map(|(name, _, verdict)| (*name, verdict))
    }

    /// The verdict on one check.
    #[must_use]
    pub fn verdict(&self, name: &str) -> Option<&Verdict> {
        self.verdicts().find(|(known, _)| *known == name).map(|(_, verdict)| verdict)
    }

    /// The names of the checks that failed, with what they found.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.verdicts().filter_map(|(name, verdict)| match verdict {
            Verdict::Failed(what) => Some((name, what.as_str())),
            _ => None,
        })
    }

    /// The names of the checks that were skipped, with the reason.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.verdicts().filter_map(|(name, verdict)| match verdict {
            Verdict::Skipped(why) => Some((name, why.as_str())),
            _ => None,
        })
    }

    /// An error that lists the failures, if there are any: for the last line of a test.
    ///
    /// # Errors
    ///
    /// When a check failed.
    pub fn into_result(self) -> Result<(), Failures> {
        if self.failures().next().is_none() { Ok(()) } else { Err(Failures(self)) }
    }
}

/// One line a check.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, about, verdict) in &self.entries {
            match verdict {
                Verdict::Passed => writeln!(f, "ok      {name}: {about}")?,
                Verdict::Skipped(why) => writeln!(f, "skipped {name}: {why}")?,
                Verdict::Failed(what) => writeln!(f, "FAILED  {name}: {about}\n        {what}")?,
            }
        }
        Ok(())
    }
}

/// The rules that a backend breaks.
#[derive(Clone)]
pub struct Failures(Report);

impl Failures {
    /// The whole report.
    pub fn report(&self) -> &Report {
        &self.0
    }
}

impl std::error::Error for Failures {}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the backend breaks rules:")?;
        self.0.failures().try_for_each(|(name, what)| write!(f, "\n  {name}: {what}"))
    }
}

/// The same as `Display`, since this is what `unwrap` shows.
impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
