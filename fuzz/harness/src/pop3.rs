//! Whole POP3 sessions.

use std::sync::Arc;
use std::time::Instant;

use pillarbox_pop3_proto::{Config, Internationalized, Pop3Service};
use pillarbox_proto_core::Connection;
use pillarbox_proto_core::connection::{ChannelBinding, SessionId, TlsInfo, TlsMode};

use crate::control::{self, Control};
use crate::drive::{self, Run, show};
use crate::heap;
use crate::store::{self, Mood, Policies};

/// Holds the session in one piece and in many, with a calm store and with one as the input says.
pub fn pop3(data: &[u8]) {
    let (text, mut control) = control::split(data);
    let (bits, mood) = (control.byte(), Mood::of(control.byte()));
    let shape = Shape { bits, policies: Policies(control.byte()) };
    let calm = hold(text, shape, Mood::default(), &control, |_| usize::MAX, |_| usize::MAX);
    calm.compare(
        &hold(text, shape, Mood::default(), &control, |control| control.piece(), |control| control.piece()),
        "in pieces",
    );
    // What is fetched ahead depends on the pipeline, and so do the calls.
    hold(text, shape, mood, &control, |_| usize::MAX, |_| usize::MAX);
    hold(text, shape, mood, &control, |control| control.piece(), |control| control.piece());
    if text.len() < 1024 {
        calm.compare(&hold(text, shape, Mood::default(), &control, |_| 1, |_| 1), "octet by octet");
    }
}

/// What a calm session on this input answers.
#[cfg(test)]
fn answer(data: &[u8]) -> String {
    let (text, mut control) = control::split(data);
    let (bits, _) = (control.byte(), control.byte());
    let shape = Shape { bits, policies: Policies(control.byte()) };
    show(&hold(text, shape, Mood::default(), &control, |_| usize::MAX, |_| usize::MAX).output)
}

/// The connection, the configuration and the account.
#[derive(Clone, Copy)]
struct Shape {
    bits: u8,
    policies: Policies,
}

fn hold(
    text: &[u8],
    Shape { bits: shape, policies }: Shape,
    mood: Mood,
    control: &Control<'_>,
    sends: fn(&mut Control<'_>) -> usize,
    takes: fn(&mut Control<'_>) -> usize,
) -> Run {
    let mut config = Config::default();
    config.allow_plaintext = shape & 1 != 0;
    config.tls_mode = if shape & 2 != 0 { TlsMode::OnDemand } else { TlsMode::No };
    config.limits.bad_commands = 1000;
    if shape & 4 != 0 {
        config.limits.inline = 16;
        config.limits.read_ahead = 2;
        config.limits.output_high_water = 256;
    }
    let mut connection = Connection::new(SessionId::new(1));
    connection.externally_secured = shape & 3 == 0;
    if shape & 8 != 0 {
        let mut tls = TlsInfo::default();
        tls.client_certificates = vec![store::CERTIFICATE.to_vec().into()];
        tls.exporter = Some(ChannelBinding::new(b"binding"));
        connection.tls = Some(Arc::new(tls));
        config.tls_mode = TlsMode::Connection;
    }
    if shape & 16 != 0 {
        config.internationalized = Internationalized::Refuse;
    }
    config.undelete = shape & 32 != 0;
    let store = store::open_maildrop(mood, policies, text, control);
    let hooked = store.clone();
    let (mut sending, mut taking) = (control.clone(), control.clone());
    taking.byte();
    let (run, grown) = heap::growth(|| {
        let service = Pop3Service::new(Arc::new(store), config, store::env());
        let mut conversation = service.connect(connection, Instant::now());
        drive::run(&mut conversation, text, || sends(&mut sending), || takes(&mut taking))
    });
    // The hook holds the store, and the store the hook.
    hooked.unhook();
    let most = 3 * run.output.len() + 64 * text.len() + (2 << 20);
    assert!(grown <= most, "{grown} octets of heap for {} of input and {} of output", text.len(), run.output.len());
    // A client that is dropped may have got no more than a part of its greeting.
    let begins = if run.whole { &b"+OK"[..] } else { &b"+OK"[..run.output.len().min(3)] };
    assert!(run.output.starts_with(begins), "{}", show(&run.output));
    assert!(!run.whole || run.output.ends_with(b"\r\n"), "{}", show(&run.output));
    // Lines of such a message may look like anything.
    if !policies.is_input_a_message() {
        responses(text, &run.output);
    }
    run
}

/// Responses fit into a line of 512 octets (RFC 2449, section 4), are UTF-8, and are ASCII for clients that know nothing of
/// LANG and UTF8, as are the header fields that every message here begins with.
fn responses(text: &[u8], output: &[u8]) {
    let text = text.to_ascii_uppercase();
    let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    for line in output.split_inclusive(|octet| *octet == b'\n') {
        let is_response = line.starts_with(b"+OK") || line.starts_with(b"-ERR");
        let is_header = [&b"From: "[..], b"To: ", b"Subject: ", b"Return-Path: ", b"X-Note: "]
            .iter()
            .any(|name| line.starts_with(name));
        if is_response {
            assert!(line.len() <= 512 && std::str::from_utf8(line).is_ok(), "{}", show(line));
            assert!(line.is_ascii() || has(b"LANG") || has(b"UTF8"), "{}", show(line));
        }
        assert!(!is_header || line.is_ascii() || has(b"UTF8"), "{}", show(line));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the inputs are there for.
    #[test]
    fn the_inputs_reach_what_they_are_named_after() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/pop3");
        for (seed, expected) in [
            ("utf8", "Subject: =?utf-8?q?caf=C3=A9?= \\xc3\\xa9"),
            ("downgrade", "Subject: =?utf-8?q?caf=C3=A9?= =?utf-8?Q?_=C3=A9?="),
            ("downgrade_streamed", "<invalid@internationalized-address.invalid>"),
            ("refuse_utf8", "-ERR [UTF8]"),
            ("lang", "+OK de Sprache gewechselt"),
            ("stls_after_utf8", "-ERR Incorrect state: STLS"),
            ("auth_tokens", "+OK Maildrop has"),
            ("auth_cram_md5", "+OK Maildrop has"),
            ("auth_external", "+OK Maildrop has"),
            ("auth_anonymous", "+OK Maildrop has"),
            ("auth_scram", "+OK Maildrop has"),
            ("apop", "+OK Maildrop has"),
            ("login_delay", "-ERR [LOGIN-DELAY]"),
            ("login_delay_first", "LOGIN-DELAY 60"),
            ("expire", "EXPIRE 2"),
            ("bulletins", "Subject: second"),
            ("message", "Subject: a =?utf-8?Q?=C3=A9?="),
        ] {
            let answer = answer(&std::fs::read(folder.join(seed)).unwrap());
            assert!(answer.contains(expected), "{seed}: {answer}");
        }
    }
}
