//! Running other programs: without a shell, for a limited time, and so that they get nothing of ours.
//!
//! A program gets `/dev/null` as its input, no descriptor beyond the standard three, a process group of its own, and of
//! our environment only what programs commonly need ([`PASSED_ON`]): secrets may be in the rest. When its time is over,
//! its whole group is killed.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

/// The variables of our environment that a program gets to see.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The most that a program may write, of which only the first line counts.
const MOST_OUTPUT: usize = 64 * 1024;
/// The longest line that is asked for, in bytes.
const LONGEST_LINE: usize = 1000;

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("cannot start {program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("{program} took longer than {limit:?}")]
    Time { program: String, limit: Duration },
    #[error("cannot read what {program} says: {error}")]
    Read { program: String, error: io::Error },
    #[error("{0} says too much")]
    Output(String),
    #[error("{program} ended with {status}")]
    Status { program: String, status: ExitStatus },
}

/// Sees to it that the descriptors that this process was started with, or that a library opened carelessly, do not pass to
/// programs: the standard library's own never do. To be called when a configuration with programs is loaded.
pub(crate) fn keep_descriptors() {
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
}

/// Starts it, with nobody listening to what it says. It must be waited for.
pub(crate) fn start(words: &[String]) -> Result<Child, ProgramError> {
    spawn(words, Stdio::null())
}

/// Runs it to its end, in at most this time.
pub(crate) async fn run(words: &[String], limit: Duration) -> Result<ExitStatus, ProgramError> {
    let mut child = start(words)?;
    let group = Group::of(&child);
    let waited = tokio::time::timeout(limit, child.wait()).await;
    let status = waited.map_err(|_| ProgramError::Time { program: name(words), limit })?;
    group.release();
    status.map_err(|error| ProgramError::Start { program: name(words), error })
}

/// Runs it to its end, in at most this time, and returns the first line of what it says, without the line's end; the
/// program must end with status 0.
pub(crate) async fn first_line(words: &[String], limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let mut child = spawn(words, Stdio::piped())?;
    let group = Group::of(&child);
    let output = child.stdout.take();
    let answer = async {
        let Some(mut output) = output else { return Ok((Vec::new(), child.wait().await)) };
        let (line, mut left) = read_line(&mut output).await?.ok_or(None)?;
        // What follows is read too: a program that cannot say what it wants to say does not end well.
        let mut rest = [0; 1024];
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                read = output.read(&mut rest) => match read? {
                    0 => break child.wait().await,
                    read => left = left.checked_sub(read).ok_or(None)?,
                },
            }
        };
        Ok((line, status))
    };
    match tokio::time::timeout(limit, answer).await {
        Err(_) => Err(ProgramError::Time { program: name(words), limit }),
        Ok(Err(Silence(Some(error)))) => Err(ProgramError::Read { program: name(words), error }),
        Ok(Err(Silence(None))) => Err(ProgramError::Output(name(words))),
        Ok(Ok((line, status))) => {
            group.release();
            match status {
                Ok(status) if status.success() => Ok(line),
                Ok(status) => Err(ProgramError::Status { program: name(words), status }),
                Err(error) => Err(ProgramError::Read { program: name(words), error }),
            }
        }
    }
}

/// Why there is no line: an error, or too much of it.
struct Silence(Option<io::Error>);

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self(Some(error))
    }
}

impl From<Option<io::Error>> for Silence {
    fn from(error: Option<io::Error>) -> Self {
        Self(error)
    }
}

/// The first line, and how much may still follow; `None` if it is too long.
async fn read_line(output: &mut ChildStdout) -> io::Result<Option<(Vec<u8>, usize)>> {
    let mut line = Vec::with_capacity(128);
    let mut buffer = [0; 1024];
    let mut left = MOST_OUTPUT;
    loop {
        let read = output.read(&mut buffer).await?;
        let read = buffer.get(..read).unwrap_or_default();
        left = left.saturating_sub(read.len());
        let end = read.iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(end.and_then(|end| read.get(..end)).unwrap_or(read));
        if line.last() == Some(&b'\r') && (end.is_some() || read.is_empty()) {
            line.pop();
        }
        if line.len() > LONGEST_LINE {
            return Ok(None);
        }
        if end.is_some() || read.is_empty() {
            return Ok(Some((line, left)));
        }
    }
}

fn spawn(words: &[String], output: Stdio) -> Result<Child, ProgramError> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| ProgramError::Start { program: String::new(), error: io::ErrorKind::InvalidInput.into() })?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).process_group(0).env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.spawn().map_err(|error| ProgramError::Start { program: program.clone(), error })
}

fn name(words: &[String]) -> String {
    words.first().cloned().unwrap_or_default()
}

/// The process group of a program that runs. Dropped before the program was waited for, it is killed.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The program has been waited for: its number may be somebody else's by now.
    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error would say that it has ended; tokio waits for it in either case.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(600);

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(String::from).to_vec()
    }

    async fn line(script: &str) -> Result<String, String> {
        let line = first_line(&shell(script), LIMIT).await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8(line).unwrap())
    }

    #[tokio::test]
    async fn the_first_line_of_a_program() {
        assert_eq!(line("echo alice").await.unwrap(), "alice");
        assert_eq!(line("printf 'alice\\r\\nbob\\n'").await.unwrap(), "alice");
        assert_eq!(line("printf alice").await.unwrap(), "alice");
        assert_eq!(line(":").await.unwrap(), "");
        assert_eq!(line("echo alice; head -c 50000 /dev/zero").await.unwrap(), "alice");
        assert_eq!(line("echo alice; (sleep 600) &").await.unwrap(), "alice", "who stays behind is not waited for");
    }

    #[tokio::test]
    async fn programs_that_give_no_answer() {
        assert_eq!(line("echo alice; exit 3").await.unwrap_err(), "/bin/sh ended with exit status: 3");
        assert_eq!(line("echo alice; kill -TERM $$").await.unwrap_err(), "/bin/sh ended with signal: 15 (SIGTERM)");
        assert_eq!(line("echo alice; cat /dev/zero").await.unwrap_err(), "/bin/sh says too much");
        assert_eq!(line("head -c 1001 /dev/zero").await.unwrap_err(), "/bin/sh says too much");
        assert_eq!(
            first_line(&["/no/such".into()], LIMIT).await.unwrap_err().to_string(),
            "cannot start /no/such: No such file or directory (os error 2)"
        );
        assert!(run(&[], LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long() {
        let error = run(&shell("sleep 600"), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh took longer than 50ms");
        let error = first_line(&shell("echo alice; sleep 600"), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "/bin/sh took longer than 50ms");
    }

    #[tokio::test]
    async fn a_program_is_killed_with_all_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("cd {}; sleep 600 & echo $! >new; mv new pid; wait", folder.path().display());
        let runs = tokio::spawn(async move { run(&shell(&script), Duration::from_secs(600)).await });
        let pid = loop {
            match std::fs::read_to_string(folder.path().join("pid")) {
                Ok(pid) => break pid,
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        // As at its time limit: what waited for it is dropped.
        runs.abort();
        // Killed, it waits at most for somebody to notice.
        while let Ok(status) = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            if status.contains(") Z ") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn a_program_gets_nothing_of_ours() {
        let secret = std::fs::File::open("/dev/null").unwrap();
        // As a descriptor that was inherited: without the mark that closes it.
        rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
        keep_descriptors();
        let listed = first_line(&shell("ls /proc/self/fd | tr '\\n' ' '"), LIMIT).await.unwrap();
        // The last one is what ls reads the list from.
        assert_eq!(String::from_utf8(listed).unwrap(), "0 1 2 3 ");
        let environment = first_line(&shell("env | grep -c ^CARGO; true"), LIMIT).await.unwrap();
        assert_eq!(environment, b"0");
        assert!(std::env::var_os("CARGO").is_some());
    }
}
