//! One timer per connection, armed lazily.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// Wakes a task at a moment that mostly moves away: every command puts an auto-logout off by half an hour.
///
/// Moving tokio's timer costs a lock and a place in its wheel, so a moment further away leaves it as it is: it then
/// fires early, and is set again.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Whether the moment has come; if not, the task is woken then. No moment: never.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, moment: Option<Instant>) -> Poll<()> {
        let Some(moment) = moment.map(tokio::time::Instant::from_std) else {
            // A sleep left from before may still wake the task once, for nothing.
            return Poll::Pending;
        };
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if moment < sleep.deadline() {
                    sleep.as_mut().reset(moment);
                }
                sleep
            }
            none => none.insert(Box::pin(sleep_until(moment))),
        };
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= moment {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(moment);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_moves_away_is_waited_for() {
        let mut timer = Timer::default();
        let start = now();
        let mut asked = 0;
        poll_fn(|cx| {
            // The first time 10 s, then 100 s.
            asked += 1;
            let moment = start + Duration::from_secs(if asked == 1 { 10 } else { 100 });
            timer.poll(cx, Some(moment))
        })
        .await;
        assert!(now() - start >= Duration::from_secs(100));
        assert_eq!(asked, 3, "woken at 10 s, set again, and at 100 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_comes_nearer_is_not_missed() {
        let mut timer = Timer::default();
        let start = now();
        poll_fn(|cx| Poll::Ready(timer.poll(cx, Some(start + Duration::from_secs(1000))).is_ready())).await;
        poll_fn(|cx| timer.poll(cx, Some(start + Duration::from_secs(5)))).await;
        assert!(now() - start < Duration::from_secs(6));
    }
}
