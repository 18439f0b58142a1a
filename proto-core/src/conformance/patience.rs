//! Waiting without a runtime, and giving up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};

/// A backend that settles late is not waited for much longer than it needs.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Resolves after a while. Its thread ends with it.
struct Alarm {
    rings: oneshot::Receiver<()>,
    _off: Sender<()>,
}

impl Alarm {
    fn after(time: Duration) -> Self {
        let (ring, rings) = oneshot::channel();
        let (off, turned_off) = channel();
        thread::spawn(move || {
            if turned_off.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                let _ = ring.send(());
            }
        });
        Self { rings, _off: off }
    }

    async fn wait(&mut self) {
        let _ = (&mut self.rings).await;
    }
}

pub(super) async fn pause(time: Duration) {
    Alarm::after(time).wait().await;
}

/// Waits no longer than this; `None` when it was not enough.
pub(super) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut alarm = Alarm::after(time);
    match select(pin!(future), pin!(alarm.wait())).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Waits for something that should come soon; `None` when it did not.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    within(Duration::from_secs(20), future).await
}

/// Pauses between attempts, growing, until the backend had time to settle.
pub(super) struct Pauses {
    next: Duration,
    left: Duration,
}

impl Pauses {
    pub(super) const fn new(settle: Duration) -> Self {
        Self { next: Duration::from_millis(5), left: settle }
    }

    /// Whether there is to be another attempt.
    pub(super) async fn again(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        let time = self.next.min(self.left);
        (self.next, self.left) = ((self.next * 2).min(LONGEST_PAUSE), self.left - time);
        pause(time).await;
        true
    }
}

/// Tries a check again for a while: what a dropped call has left to threads of its own may still be going on.
macro_rules! eventually {
    ($world:expr, $check:expr) => {{
        let mut pauses = super::patience::Pauses::new($world.options.settle);
        loop {
            match $check.await {
                Err(super::world::Stop::Fail(_)) if pauses.again().await => {}
                other => break other,
            }
        }
    }};
}
pub(super) use eventually;

/// Polls a future so many times, and drops it then. `None` if it was dropped.
pub(super) async fn dropped_after<T>(polls: usize, future: impl Future<Output = T> + Send) -> Option<T> {
    let mut future = Some(Box::pin(future));
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            future = None;
        }
        let Some(running) = &mut future else { return Poll::Ready(None) };
        left -= 1;
        match running.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => {
                future = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Whether a future is ready when it is first polled.
pub(super) async fn is_ready<T>(future: impl Future<Output = T> + Send) -> bool {
    dropped_after(1, future).await.is_some()
}
