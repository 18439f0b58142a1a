//! The policies of a maildrop as they are carried out: the delay between logins, bulletins, and what CAPA tells of them
//! (RFC 2449, sections 6.5 and 6.7).
//!
//! None of them ever costs a user the login or a message: where the store can't keep a policy, the session goes on
//! without it, and the log says why.

use pillarbox_proto_core::Env;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::{Account, LoginDelay, Policies};

use super::report::{clock_set_back, delivered, warn};
use crate::session::unix_time;

/// How often the record of logins is read again when somebody has replaced it meanwhile.
const ATTEMPTS: usize = 3;

/// What has become of the question whether a login is too soon.
pub(super) enum Admission {
    /// The account has no delay, or it can't be kept now.
    Free,
    /// The login is recorded.
    Recorded { before: Option<i64>, at: i64 },
    /// It is too soon after the last one.
    TooSoon,
}

/// Asks whether the user may log in now, and records that. Of several who ask at once, one may.
pub(super) async fn admit(account: &dyn Account, env: &dyn Env) -> Admission {
    let Some(delay) = account.login_delay().filter(|delay| delay.seconds() > 0) else { return Admission::Free };
    for _ in 0..ATTEMPTS {
        let before = match delay.last().await {
            Ok(before) => before,
            Err(error) => return free(&error),
        };
        // Read after the record was, so that a login that has just been recorded by another thread is not in the future.
        let at = unix_time(env);
        if before.is_some_and(|before| is_too_soon(before, at, delay.seconds())) {
            return Admission::TooSoon;
        }
        if let Some(ahead) = before.map(|before| before.saturating_sub(at)).filter(|ahead| *ahead > 0) {
            clock_set_back(ahead);
        }
        match delay.replace(before, Some(at)).await {
            Ok(true) => return Admission::Recorded { before, at },
            // Somebody else was quicker: mostly another login, which then counts.
            Ok(false) => {}
            Err(error) => return free(&error),
        }
    }
    Admission::TooSoon
}

fn free(error: &pillarbox_proto_core::backend::Error) -> Admission {
    warn("the login delay can't be kept", error);
    Admission::Free
}

/// A last login in the future is one by a clock that has been set back since. It tells nothing, and so holds up nobody.
fn is_too_soon(last: i64, now: i64, seconds: u32) -> bool {
    last <= now && now.saturating_sub(last) < i64::from(seconds)
}

/// Takes the record of a login back that has come to nothing, so that it does not keep the user out: RFC 2449 counts
/// from an `+OK`. Whatever was recorded since stays.
pub(super) async fn withdraw(account: &dyn Account, admission: Admission) {
    if let (Admission::Recorded { before, at }, Some(delay)) = (admission, account.login_delay())
        && let Err(error) = delay.replace(Some(at), before).await
    {
        warn("a login that came to nothing still counts for the login delay", &error);
    }
}

/// Notes the end of a session as if it were another login.
pub(super) async fn refresh(account: &dyn Account, env: &dyn Env) {
    let Some(delay) = account.login_delay().filter(|delay| delay.seconds() > 0) else { return };
    for _ in 0..ATTEMPTS {
        let replaced = async {
            let last = delay.last().await?;
            let now = unix_time(env);
            if last == Some(now) { Ok(true) } else { delay.replace(last, Some(now)).await }
        };
        match replaced.await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return warn("the end of a session is not noted for the login delay", &error),
        }
    }
}

/// Delivers the bulletins that the user has not had.
pub(super) async fn bulletins(account: &dyn Account, identity: &Identity) {
    let Some(bulletins) = account.bulletins() else { return };
    match bulletins.deliver().await {
        Ok(count) => delivered(identity.user(), count),
        Err(error) => warn("bulletins are not delivered, or not all", &error),
    }
}

/// What a user is told of their own account. A delay that can't be kept now is not told of.
pub(super) async fn of_account(account: &dyn Account) -> Policies {
    let mut policies = Policies::default();
    if let Some(delay) = account.login_delay().filter(|delay| delay.seconds() > 0) {
        policies.login_delay = usable(delay).await.then(|| delay.seconds());
    }
    policies.expire = account.expiry().map(|expiry| expiry.days());
    policies
}

async fn usable(delay: &dyn LoginDelay) -> bool {
    match delay.check().await {
        Ok(()) => true,
        Err(error) => {
            warn("the login delay is not announced", &error);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_ends_to_the_second_and_no_clock_keeps_a_user_out() {
        assert!(is_too_soon(100, 100, 60));
        assert!(is_too_soon(100, 159, 60));
        assert!(!is_too_soon(100, 160, 60));
        assert!(!is_too_soon(100, 99, 60));
        assert!(!is_too_soon(i64::MAX, 0, u32::MAX));
        assert!(!is_too_soon(i64::MIN, i64::MAX, u32::MAX));
    }
}
