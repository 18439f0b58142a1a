//! The memory backend keeps the rules, whether it answers at once or makes its callers wait.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![cfg(all(feature = "conformance", feature = "memory"))]

use std::sync::Arc;

use futures::executor::block_on;
use pillarbox_proto_core::auth::Identity;
use pillarbox_proto_core::backend::Expiry;
use pillarbox_proto_core::conformance::{Options, Subject, Verdict, check_all, check_with, checks};
use pillarbox_proto_core::memory::{Builder, Call, MemoryBackend, Outcome};
use pillarbox_proto_core::{Connection, Signal};

fn subject(backend: MemoryBackend) -> Subject {
    Subject::new(Arc::new(backend), Connection::default(), Identity::new("alice")).bulletins(3)
}

fn described() -> Builder {
    let builder = MemoryBackend::builder().user("alice", "secret").user("bob", "hidden");
    let builder = builder.login_delay(60).login_delay_of("bob", 90).expiry(Expiry::after(7)).expiry_of("bob", None);
    builder.bulletin("Subject: a\r\n\r\n").bulletin("Subject: b\r\n\r\n").bulletin("Subject: c\r\n\r\n")
}

#[test]
fn the_memory_backend_keeps_the_rules() {
    let report = block_on(check_all(&|| async { subject(described().append_limit(1_000_000).build().unwrap()) }));
    assert_eq!(report.verdicts().count(), checks().count());
    assert_eq!(report.skipped().collect::<Vec<_>>(), []);
    report.into_result().unwrap();
}

#[test]
fn a_memory_backend_that_makes_callers_wait_keeps_the_rules() {
    let fresh = || async {
        let backend = described().build().unwrap();
        backend.hook(|_| Outcome::proceed().pending(2));
        subject(backend)
    };
    block_on(check_all(&fresh)).into_result().unwrap();
}

#[test]
fn a_memory_backend_that_forgets_removals_keeps_the_rules() {
    let fresh = || async { subject(described().expunge_history(1).build().unwrap()) };
    for seed in 0..5 {
        let mut options = Options::default();
        (options.seed, options.only) = (seed, Some("changes".to_owned()));
        let report = block_on(check_with(&fresh, &options));
        assert_eq!(report.verdicts().count(), 2);
        report.into_result().unwrap();
    }
}

#[test]
fn what_a_read_only_backend_does_not_offer_is_skipped() {
    let fresh = || async {
        let backend = described()
            .message("alice", "INBOX", pillarbox_proto_core::mail::SystemFlags::SEEN, "Subject: a\r\n\r\nb\r\n")
            .read_only("alice", "INBOX")
            .build()
            .unwrap();
        subject(backend).read_only()
    };
    let report = block_on(check_all(&fresh));
    assert_eq!(report.verdict("rows-order"), Some(&Verdict::Passed));
    assert!(matches!(report.verdict("append"), Some(Verdict::Skipped(_))));
    report.into_result().unwrap();
}

#[test]
fn the_kit_can_be_spawned_on_any_executor() {
    fn spawnable(_: impl Future<Output = ()> + Send + 'static) {}
    spawnable(async {
        let report = check_all(&|| async { subject(described().build().unwrap()) }).await;
        report.into_result().unwrap();
    });
}

#[test]
fn a_call_that_never_ends_fails_its_check() {
    let fresh = || async {
        let backend = described().build().unwrap();
        let never = Arc::new(Signal::new(0));
        backend.hook(move |call| match call {
            Call::Message => Outcome::proceed().wait_beyond(Arc::clone(&never), 0),
            _ => Outcome::proceed(),
        });
        subject(backend)
    };
    let mut options = Options::default();
    (options.only, options.patience) = (Some("message-reads".to_owned()), std::time::Duration::from_millis(50));
    let report = block_on(check_with(&fresh, &options));
    let Some(Verdict::Failed(what)) = report.verdict("message-reads") else { panic!("{report}") };
    assert_eq!(what, "did not end within 50ms");
}
