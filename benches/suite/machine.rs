//! What the figures were taken on.

use std::fs;
use std::process::Command;

/// One line for each property.
pub(crate) fn describe() -> Vec<(&'static str, String)> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory: u64 = meminfo
        .lines()
        .find(|line| line.starts_with("MemTotal"))
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    vec![
        ("Processor", model.unwrap_or("unknown").to_owned()),
        ("Cores", cores.to_string()),
        ("Memory", format!("{:.1} GiB", memory as f64 / f64::from(1 << 20))),
        ("Kernel", output("uname", &["-sr"])),
        ("Compiler", output("rustc", &["--version"])),
        ("Load when it ended", load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
    ]
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
