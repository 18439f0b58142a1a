//! Pillarbox against codecs and bare servers.
//!
//! Ours and the peer take turns within one run, so that both meet the same machine; what is shown are medians. Options:
//!
//! * `--quick`: fewer and shorter samples. For a look, not for the record.
//! * `--only NAME[,NAME]`: only rows whose names begin so. `--list` shows the names.
//! * `--record`: write `RESULTS.md` and `results.svg`. A whole run that is not quick does so by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that can not be made is to fail loudly"
)]

mod chart;
mod heap;
mod machine;
mod measure;
mod report;
mod rows;
mod support;

use std::process::ExitCode;
use std::time::Instant;

use report::Report;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Fewer and shorter samples.
    pub(crate) quick: bool,
    only: Vec<String>,
    record: bool,
    list: bool,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--record" => options.record = true,
                "--list" => options.list = true,
                "--only" => {
                    let names = arguments.next().ok_or("--only needs names")?;
                    options.only = names.split(',').map(str::to_owned).collect();
                }
                // Cargo's own.
                "--bench" => {}
                other => return Err(format!("unknown option {other}: --quick, --only NAMES, --record, --list")),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| name.starts_with(wanted.as_str()))
    }
}

fn main() -> ExitCode {
    if let Some(role) = std::env::var_os(support::child::ROLE) {
        support::child::run(&role.to_string_lossy());
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(64);
        }
    };
    let mut report = Report::default();
    let started = Instant::now();
    for (name, run) in rows::ALL {
        if options.list {
            println!("{name}");
        } else if options.wants(name) {
            let begun = Instant::now();
            let rows = run(&options);
            eprintln!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
            for row in &rows {
                println!("{row}");
            }
            report.rows.extend(rows);
        }
    }
    if options.list {
        return ExitCode::SUCCESS;
    }
    eprintln!("all: {:.0} s", started.elapsed().as_secs_f64());
    let whole = options.only.is_empty() && !options.quick;
    if whole || options.record {
        report.write(options.quick);
    }
    ExitCode::SUCCESS
}
