//! The live sessions of a server.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pillarbox_proto_core::connection::SessionId;
use pillarbox_proto_core::conversation::Control;
use tokio::task::{AbortHandle, JoinHandle};

use crate::control::{self, ControlInbox, Controls};
use crate::record::{Record, SessionInfo};

/// Names differ in this many low bits (see [`SessionId::new`]).
const ID_BITS: u32 = 47;

/// All live sessions, by name.
#[derive(Debug)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    started: AtomicU64,
    /// Makes the names of two runs differ, so that a log of both can be told apart.
    salt: u64,
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<SessionId, Live>,
    /// Once set, a session that starts hears at once that it has to end.
    farewell: Option<Arc<str>>,
}

#[derive(Debug)]
struct Live {
    controls: Controls,
    record: Arc<Record>,
    task: Option<AbortHandle>,
}

/// Keeps a session in the table; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Registration {
    id: SessionId,
    sessions: Arc<Sessions>,
}

impl Sessions {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            started: AtomicU64::new(0),
            salt: RandomState::new().hash_one("session names"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self) -> SessionId {
        // An odd factor maps numbers to numbers one to one, and neighbours far apart: two names in a log don't differ
        // in their last letter only.
        let count = self.started.fetch_add(1, Ordering::Relaxed);
        let mixed = count.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ self.salt;
        SessionId::new(mixed & ((1 << ID_BITS) - 1))
    }

    /// Gives a new session its name, its way to be reached, and a task.
    pub(crate) fn start(
        self: &Arc<Self>,
        record: impl FnOnce(SessionId) -> Arc<Record>,
        spawn: impl FnOnce(Arc<Record>, ControlInbox, Registration) -> JoinHandle<()>,
    ) {
        let id = self.name();
        let record = record(id);
        let (controls, inbox) = control::channel();
        let registration = Registration { id, sessions: self.clone() };
        {
            let mut table = self.lock();
            if let Some(text) = &table.farewell {
                controls.send(Control::Shutdown { text: text.clone() });
            }
            table.live.insert(id, Live { controls, record: record.clone(), task: None });
        }
        // Not under the lock: a runtime that is shutting down drops the task here, which takes it out of the table.
        let task = spawn(record, inbox, registration).abort_handle();
        if let Some(live) = self.lock().live.get_mut(&id) {
            live.task = Some(task);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().live.len()
    }

    /// What is known of each, the longest there first.
    pub(crate) fn infos(&self) -> Vec<SessionInfo> {
        // Each record has a lock of its own, which is not waited for under that of the table.
        let records: Vec<_> = self.lock().live.values().map(|live| live.record.clone()).collect();
        let mut infos: Vec<_> = records.iter().map(|record| record.info()).collect();
        infos.sort_by_key(|info| std::cmp::Reverse(info.age));
        infos
    }

    /// Tells every session of this user; says how many heard it.
    pub(crate) fn tell_user(&self, user: &str, control: &Control) -> usize {
        let all: Vec<_> = self.lock().live.values().map(|live| (live.record.clone(), live.controls.clone())).collect();
        let of_user = |(record, controls): (Arc<Record>, Controls)| {
            record.user().is_some_and(|logged_in| *logged_in == *user).then_some(controls)
        };
        send(&all.into_iter().filter_map(of_user).collect::<Vec<_>>(), control)
    }

    /// Tells every session; says how many heard it.
    pub(crate) fn tell(&self, control: &Control) -> usize {
        let all: Vec<_> = self.lock().live.values().map(|live| live.controls.clone()).collect();
        send(&all, control)
    }

    /// Tells one session; says whether it heard it.
    pub(crate) fn tell_one(&self, id: SessionId, control: Control) -> bool {
        let one = self.lock().live.get(&id).map(|live| live.controls.clone());
        one.is_some_and(|controls| controls.send(control))
    }

    /// From now on tells every session that starts to end; those that are there are for the caller to tell. Says
    /// whether this was done before.
    pub(crate) fn farewell(&self, text: Arc<str>) -> (Vec<Controls>, bool) {
        let mut table = self.lock();
        let again = table.farewell.replace(text).is_some();
        (table.live.values().map(|live| live.controls.clone()).collect(), again)
    }

    /// Drops all that are left, at their next await; says how many.
    pub(crate) fn drop_all(&self) -> usize {
        // The tasks are aborted outside the lock: one that is not running is dropped here and now, and takes itself
        // out of the table.
        let tasks: Vec<_> = self.lock().live.values_mut().filter_map(|live| live.task.take()).collect();
        for task in &tasks {
            task.abort();
        }
        tasks.len()
    }
}

/// Never under the lock: sending wakes a task, and whoever wakes tasks may run what takes a session out of the table.
fn send(all: &[Controls], control: &Control) -> usize {
    all.iter().filter(|controls| controls.send(control.clone())).count()
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.sessions.lock().live.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_repeat_within_a_run_nor_agree_between_runs() {
        let (one, other) = (Sessions::new(), Sessions::new());
        let names: std::collections::HashSet<_> = (0..10_000).map(|_| one.name()).collect();
        assert_eq!(names.len(), 10_000);
        assert!(!names.contains(&other.name()), "47 random bits");
    }
}
