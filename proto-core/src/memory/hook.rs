//! Slow and failing stores, for tests.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use crate::Signal;
use crate::backend::{Error, Result};

/// A call of a backend's method, as a hook sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// Any question of [`Authenticator`](crate::backend::Authenticator).
    Authenticate,
    /// [`Authenticator::login_refused`](crate::backend::Authenticator::login_refused). With an error, the client is to be
    /// dropped.
    LoginRefused,
    /// [`Backend::open`](crate::backend::Backend::open).
    OpenAccount,
    /// [`Account::list`](crate::backend::Account::list).
    List,
    /// [`Account::open`](crate::backend::Account::open).
    Open,
    /// [`Account::status`](crate::backend::Account::status).
    Status,
    /// [`Account::create`](crate::backend::Account::create).
    Create,
    /// [`Account::delete`](crate::backend::Account::delete).
    Delete,
    /// [`Account::rename`](crate::backend::Account::rename).
    Rename,
    /// [`Account::subscribe`](crate::backend::Account::subscribe).
    Subscribe,
    /// [`Account::append`](crate::backend::Account::append).
    Append,
    /// [`Append::begin`](crate::backend::Append::begin).
    Begin,
    /// [`Append::write`](crate::backend::Append::write).
    Write,
    /// [`Append::commit`](crate::backend::Append::commit).
    Commit,
    /// [`Account::copy`](crate::backend::Account::copy).
    Copy,
    /// [`Account::move_to`](crate::backend::Account::move_to).
    Move,
    /// [`Mailbox::fetch`](crate::backend::Mailbox::fetch).
    Fetch,
    /// [`Rows::next`](crate::backend::Rows::next).
    Rows,
    /// [`Mailbox::message`](crate::backend::Mailbox::message).
    Message,
    /// [`Message::read`](crate::backend::Message::read).
    Read,
    /// [`Mailbox::changes`](crate::backend::Mailbox::changes).
    Changes,
    /// [`Mailbox::store`](crate::backend::Mailbox::store).
    Store,
    /// [`Mailbox::expunge`](crate::backend::Mailbox::expunge).
    Expunge,
    /// [`Mailbox::search`](crate::backend::Mailbox::search).
    Search,
    /// [`Mailbox::remember`](crate::backend::Mailbox::remember).
    Remember,
    /// [`Mailbox::finish`](crate::backend::Mailbox::finish).
    Finish,
    /// [`LoginDelay::last`](crate::backend::LoginDelay::last).
    LastLogin,
    /// [`LoginDelay::replace`](crate::backend::LoginDelay::replace).
    ReplaceLastLogin,
    /// [`Bulletins::deliver`](crate::backend::Bulletins::deliver), before each bulletin, and once when there are no more.
    Bulletin,
}

/// What a hook lets a call do. The default, [`Outcome::proceed`], is nothing special.
#[derive(Debug, Default)]
#[must_use]
pub struct Outcome {
    before: u32,
    after: u32,
    gate: Option<(Arc<Signal>, u64)>,
    error: Option<Error>,
}

impl Outcome {
    /// The call does its work at once.
    pub fn proceed() -> Self {
        Self::default()
    }

    /// The call fails, and changes nothing.
    pub fn fail(error: Error) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// The call is pending this many times before it does its work, and as often between that and its answer.
    pub fn pending(mut self, times: u32) -> Self {
        (self.before, self.after) = (times, times);
        self
    }

    /// The call does its work once the signal is beyond this number.
    pub fn wait_beyond(mut self, signal: Arc<Signal>, number: u64) -> Self {
        self.gate = Some((signal, number));
        self
    }
}

type Hook = dyn Fn(Call) -> Outcome + Send + Sync;

/// The hook of one backend, if any.
#[derive(Default)]
pub(super) struct Hooks {
    /// Spares calls the lock while there is no hook.
    active: AtomicBool,
    hook: Mutex<Option<Arc<Hook>>>,
}

impl Hooks {
    pub(super) fn set(&self, hook: Option<Arc<Hook>>) {
        let mut held = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        self.active.store(hook.is_some(), Ordering::Release);
        *held = hook;
    }

    /// What stands before a call's work. What is returned stands behind it.
    pub(super) async fn enter(&self, call: Call) -> Result<Leave> {
        if !self.active.load(Ordering::Acquire) {
            return Ok(Leave(0));
        }
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(hook) = hook else { return Ok(Leave(0)) };
        let outcome = hook(call);
        pending(outcome.before).await;
        if let Some((signal, number)) = outcome.gate {
            signal.wait_beyond(number).await;
        }
        outcome.error.map_or(Ok(Leave(outcome.after)), Err)
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("active", &self.active).finish_non_exhaustive()
    }
}

/// What stands between a call's work and its answer.
#[must_use]
pub(super) struct Leave(u32);

impl Leave {
    pub(super) async fn leave(self) {
        pending(self.0).await;
    }
}

async fn pending(mut times: u32) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
