//! The limits of our own process.

/// Raises the limit on open files as far as this process may, and returns it. `None` is no limit.
///
/// Each connection takes a descriptor, and the usual limit is 1,024. The larger limit that the system allows is there
/// for programs that do not use `select`, as none of ours do.
///
/// # Errors
///
/// The system does not allow it after all; the limit is as before.
///
/// ```
/// if let Some(files) = pillarbox_server_core::raise_open_files()? {
///     assert!(files > 0);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(unix)]
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum)
}

/// There is no such limit on this system.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    Ok(None)
}
