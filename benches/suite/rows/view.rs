//! A mailbox of 1,000,000 messages, every second UID missing: what the view of it costs, alone and in many sessions.

use std::hint::black_box;

use pillarbox_proto_core::mail::{Uid, UidSet};

use crate::Options;
use crate::heap;
use crate::measure;
use crate::report::{Figure, Reach, Row};
use crate::support::drive::Client;
use crate::support::synthetic::Synthetic;

const MESSAGES: u32 = 1_000_000;
const SESSIONS: usize = 50;

pub(crate) fn run(options: &Options) -> Vec<Row> {
    let (uids, heap) = heap::count(|| (0..MESSAGES).filter_map(|number| Uid::new(2 * number + 1)).collect::<UidSet>());
    let store = Synthetic::new(uids.clone());
    let mut clients: Vec<Client> = (0..SESSIONS).map(|_| Client::new(store.clone())).collect();
    let ((), sessions) = heap::count(|| {
        for client in &mut clients {
            client.command("s EXAMINE INBOX\r\n", "s");
        }
    });
    let mut state = 1_u32;
    let mut other = 1_u32;
    let pair = measure::calls(
        options,
        || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            black_box(Uid::new((state % (2 * MESSAGES)) | 1).and_then(|uid| uids.rank(uid)));
        },
        || {
            other = other.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            black_box(uids.nth(other % MESSAGES));
        },
    );
    vec![
        Row::new("View of 1,000,000 messages, every second UID missing", format!("{} octets", heap.held), "-")
            .figure(Figure::new(heap.held as f64 / 1024.0, "KiB", Reach::AtMost(300.0))),
        Row::new(format!("The same selected in {SESSIONS} sessions: what each adds"), "-", "-").figure(Figure::new(
            sessions.held as f64 / 1024.0 / SESSIONS as f64,
            "KiB",
            Reach::Told,
        )),
        Row::new("The same: UID to number, number to UID", format!("{:.0} ns, {:.0} ns", pair.ours, pair.peer), "-"),
    ]
}
