//! LIST and LSUB (RFC 9051, section 6.3.9; RFC 3501, section 6.3.9), NAMESPACE (RFC 2342).

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use pillarbox_proto_core::backend::{ListEntry, ListRequest, Result};
use pillarbox_proto_core::mail::{MailboxName, SpecialUse};

use super::Context;
use super::completion::Completion;
use super::port::Port;
use super::reply::Reply;
use super::status;
use crate::wire::command::{ListReturn, ListSelection};
use crate::wire::encode::{self, ListExtras};

/// Untagged lines are handed on when this many octets have come together.
const HAND_ON: usize = 16 * 1024;

/// A LIST whose strings have been decoded.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Reference and pattern put together (RFC 9051, section 6.3.9: canonical LIST patterns).
    pub(crate) patterns: Vec<String>,
    pub(crate) selection: ListSelection,
    pub(crate) returns: ListReturn,
    /// LSUB: only subscriptions, in the form of RFC 3501.
    pub(crate) lsub: bool,
}

/// One name as LIST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: MailboxName,
    pub(crate) attributes: Vec<&'static str>,
    /// Some mailbox below it is subscribed, and that was asked for.
    pub(crate) child_info: bool,
    /// It is a mailbox that was asked for itself, so it may have a STATUS.
    pub(crate) status: bool,
}

/// Answers LIST and LSUB.
pub(crate) async fn list(context: Context, plan: Plan) -> Completion {
    let text = if plan.lsub { "LSUB completed" } else { "LIST completed" };
    match lines(&context, &plan).await {
        Ok(lines) => tell(&context, &plan, lines).await,
        Err(error) => return error.into(),
    }
    context.port.settle().await;
    Completion::ok(text)
}

async fn tell(context: &Context, plan: &Plan, lines: Vec<Line>) {
    let delimiter = context.account.delimiter();
    let mut out = BytesMut::new();
    for line in lines {
        if plan.lsub {
            encode::lsub(&mut out, line.attributes.iter().copied(), delimiter, &line.name, context.rev2);
        } else {
            let extras = ListExtras { subscribed_children: line.child_info, ..ListExtras::default() };
            encode::list(&mut out, line.attributes.iter().copied(), delimiter, &line.name, extras, context.rev2);
        }
        if line.status && !plan.returns.status.is_empty() {
            // A mailbox that went away meanwhile, or may not be looked into, has no STATUS (RFC 5819, section 2).
            if let Ok(status) = status::look(context, &line.name, plan.returns.status).await {
                status::encode(&mut out, context, &line.name, plan.returns.status, &status);
            }
        }
        if out.len() >= HAND_ON {
            context.port.emit(Reply::Lines(out.split().freeze())).await;
        }
    }
    if !out.is_empty() {
        context.port.emit(Reply::Lines(out.freeze())).await;
    }
}

/// The names that the plan asks for, in order.
async fn lines(context: &Context, plan: &Plan) -> Result<Vec<Line>> {
    let entries = context.account.list(&ListRequest::all()).await?;
    let mut pace = Pace { port: &context.port, spent: 0 };
    Ok(choose(entries, plan, context.account.delimiter(), context.rev2, &mut pace).await)
}

/// Names compared with patterns before others have their turn.
const COMPARISONS: usize = 2048;

/// Many names and many patterns are a long work in which nothing is waited for: it pauses by itself.
struct Pace<'a> {
    port: &'a Port,
    spent: usize,
}

impl Pace<'_> {
    async fn spend(&mut self, comparisons: usize) {
        self.spent += comparisons.max(1);
        if self.spent >= COMPARISONS {
            self.spent = 0;
            self.port.cooperate().await;
        }
    }
}

/// A name with what is known of it and of what is below it.
#[derive(Debug)]
struct Known {
    entry: ListEntry,
    matches: bool,
    /// It meets all selection options; of LSUB, that it is subscribed.
    selected: bool,
    /// A name below it exists.
    children: bool,
    /// A selected name is below it.
    selected_below: bool,
    /// A selected name is below it that the patterns do not match, so that nothing else tells of it.
    hidden_below: bool,
}

fn meets(entry: &ListEntry, plan: &Plan) -> bool {
    let selection = plan.selection;
    (!(selection.subscribed || plan.lsub) || entry.subscribed)
        && (!selection.special_use || !entry.special_use.is_empty())
}

/// Every name, and every parent that a name implies, in order.
async fn with_parents(
    entries: Vec<ListEntry>,
    plan: &Plan,
    delimiter: Option<char>,
    pace: &mut Pace<'_>,
) -> BTreeMap<MailboxName, Known> {
    let known = |entry: ListEntry| Known {
        matches: plan.patterns.iter().any(|pattern| MailboxName::matches(pattern, entry.name.as_str(), delimiter)),
        selected: meets(&entry, plan),
        entry,
        children: false,
        selected_below: false,
        hidden_below: false,
    };
    let mut names: BTreeMap<MailboxName, Known> = BTreeMap::new();
    for entry in entries {
        names.insert(entry.name.clone(), known(entry));
        pace.spend(plan.patterns.len()).await;
    }
    names.entry(MailboxName::inbox()).or_insert_with(|| known(ListEntry::new(MailboxName::inbox())));
    let Some(delimiter) = delimiter else { return names };
    let children: Vec<_> = names
        .values()
        .map(|name| (name.entry.name.clone(), name.entry.exists, name.selected, name.selected && !name.matches))
        .collect();
    for (name, exists, selected, hidden) in children {
        let mut below = name;
        while let Some(parent) = below.parent(delimiter) {
            pace.spend(plan.patterns.len()).await;
            let parent_known = names.entry(parent.clone()).or_insert_with(|| known(ListEntry::absent(parent.clone())));
            let told = (!exists || parent_known.children)
                && (!selected || parent_known.selected_below)
                && (!hidden || parent_known.hidden_below);
            parent_known.children |= exists;
            parent_known.selected_below |= selected;
            parent_known.hidden_below |= hidden;
            if told && (exists || selected) {
                break;
            }
            below = parent;
        }
    }
    names
}

async fn choose(
    entries: Vec<ListEntry>,
    plan: &Plan,
    delimiter: Option<char>,
    rev2: bool,
    pace: &mut Pace<'_>,
) -> Vec<Line> {
    with_parents(entries, plan, delimiter, pace)
        .await
        .values()
        .filter(|known| known.matches)
        .filter_map(|known| if plan.lsub { lsub_line(known, plan, delimiter) } else { list_line(known, plan, rev2) })
        .collect()
}

/// RFC 3501, section 6.3.9: a name that is not subscribed is told, as `\Noselect`, where `%` hides a subscribed one
/// below it.
fn lsub_line(known: &Known, plan: &Plan, delimiter: Option<char>) -> Option<Line> {
    let entry = &known.entry;
    let line = |attributes| Line { name: entry.name.clone(), attributes, child_info: false, status: false };
    if entry.subscribed {
        return Some(line(Vec::new()));
    }
    let hides =
        |pattern: &String| pattern.ends_with('%') && MailboxName::matches(pattern, entry.name.as_str(), delimiter);
    (known.hidden_below && plan.patterns.iter().any(hides)).then(|| line(vec!["\\Noselect"]))
}

fn list_line(known: &Known, plan: &Plan, rev2: bool) -> Option<Line> {
    let entry = &known.entry;
    let selection = plan.selection;
    let child_info = selection.recursive_match && known.selected_below;
    // A name that was not asked for itself is told of only for children that are not told themselves (RFC 9051,
    // section 6.3.9.3).
    if !(known.selected || selection.recursive_match && known.hidden_below) {
        return None;
    }
    // A name that is nowhere is told only as a subscription or for what is below it.
    if !entry.exists && !known.children && !(selection.subscribed && (entry.subscribed || child_info)) {
        return None;
    }
    let mut attributes = Vec::new();
    if !entry.exists {
        // RFC 3501 has no \NonExistent; clients that read RFC 5258 know both, and the weaker one is always true.
        if rev2 || plan.selection.subscribed {
            attributes.push("\\NonExistent");
        } else {
            attributes.push("\\Noselect");
        }
    } else if !entry.selectable {
        attributes.push("\\Noselect");
    }
    if !entry.inferiors {
        attributes.push("\\Noinferiors");
    }
    match entry.marked {
        Some(true) if entry.selectable => attributes.push("\\Marked"),
        Some(false) if entry.selectable => attributes.push("\\Unmarked"),
        _ => {}
    }
    if known.children {
        attributes.push("\\HasChildren");
    } else if entry.inferiors {
        attributes.push("\\HasNoChildren");
    }
    if (plan.returns.subscribed || selection.subscribed) && entry.subscribed {
        attributes.push("\\Subscribed");
    }
    attributes.extend(entry.special_use.iter().map(|usage: &SpecialUse| usage.as_str()));
    let status = entry.selectable && known.selected;
    Some(Line { name: entry.name.clone(), attributes, child_info, status })
}

/// LIST with an empty pattern: the delimiter and the root of the reference.
pub(crate) fn root(delimiter: Option<char>, rev2: bool) -> Bytes {
    let mut out = BytesMut::new();
    encode::list_root(&mut out, delimiter, "", rev2);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{self, Poll, Waker};

    use super::*;

    /// Returns the lines, and how often the work has paused.
    fn paced(entries: Vec<ListEntry>, plan: &Plan, delimiter: Option<char>, rev2: bool) -> (Vec<Line>, usize) {
        let mut pace = Pace { port: &Port::default(), spent: 0 };
        let mut work = pin!(super::choose(entries, plan, delimiter, rev2, &mut pace));
        let mut pauses = 0;
        loop {
            match work.as_mut().poll(&mut task::Context::from_waker(Waker::noop())) {
                Poll::Ready(lines) => return (lines, pauses),
                Poll::Pending => pauses += 1,
            }
        }
    }

    fn choose(entries: Vec<ListEntry>, plan: &Plan, delimiter: Option<char>, rev2: bool) -> Vec<Line> {
        paced(entries, plan, delimiter, rev2).0
    }

    fn entry(name: &str) -> ListEntry {
        ListEntry::new(MailboxName::new(name).unwrap())
    }

    fn subscribed(name: &str, exists: bool) -> ListEntry {
        let mut entry = if exists { entry(name) } else { ListEntry::absent(MailboxName::new(name).unwrap()) };
        entry.subscribed = true;
        entry
    }

    fn plan(pattern: &str) -> Plan {
        Plan {
            patterns: vec![pattern.into()],
            selection: ListSelection::default(),
            returns: ListReturn::default(),
            lsub: false,
        }
    }

    fn shown(lines: &[Line]) -> Vec<String> {
        lines
            .iter()
            .map(|line| {
                let info = if line.child_info { " +" } else { "" };
                format!("{} {}{info}", line.name, line.attributes.join(" "))
            })
            .collect()
    }

    #[test]
    fn missing_parents_are_shown() {
        let lines = choose(vec![entry("a/b/c")], &plan("*"), Some('/'), true);
        assert_eq!(
            shown(&lines),
            [
                "INBOX \\HasNoChildren",
                "a \\NonExistent \\HasChildren",
                "a/b \\NonExistent \\HasChildren",
                "a/b/c \\HasNoChildren"
            ]
        );
        let lines = choose(vec![entry("a/b/c")], &plan("%"), Some('/'), false);
        assert_eq!(shown(&lines), ["INBOX \\HasNoChildren", "a \\Noselect \\HasChildren"]);
    }

    #[test]
    fn subscriptions_outlive_mailboxes() {
        let mut wanted = plan("*");
        wanted.selection.subscribed = true;
        let lines = choose(vec![subscribed("gone", false), subscribed("here", true)], &wanted, Some('/'), true);
        assert_eq!(
            shown(&lines),
            ["gone \\NonExistent \\HasNoChildren \\Subscribed", "here \\HasNoChildren \\Subscribed"]
        );
        assert_eq!(
            shown(&choose(vec![subscribed("gone", false)], &plan("*"), Some('/'), true)),
            ["INBOX \\HasNoChildren"]
        );
    }

    #[test]
    fn recursive_match_tells_of_children() {
        let mut wanted = plan("%");
        wanted.selection.subscribed = true;
        wanted.selection.recursive_match = true;
        let entries = vec![entry("Foo"), subscribed("Foo/Bar/Baz", true), entry("Other")];
        assert_eq!(shown(&choose(entries, &wanted, Some('/'), true)), ["Foo \\HasChildren +"]);
    }

    #[test]
    fn parents_are_told_only_for_children_that_are_not() {
        let mut wanted = plan("*2");
        wanted.selection.subscribed = true;
        wanted.selection.recursive_match = true;
        let entries = vec![
            entry("foo2"),
            subscribed("foo2/bar1", true),
            subscribed("foo2/bar2", true),
            subscribed("baz2/b2", true),
        ];
        assert_eq!(
            shown(&choose(entries.clone(), &wanted, Some('/'), true)),
            ["baz2/b2 \\HasNoChildren \\Subscribed", "foo2 \\HasChildren +", "foo2/bar2 \\HasNoChildren \\Subscribed"]
        );
        // Options are cumulative, for children too.
        wanted.selection.special_use = true;
        assert!(choose(entries, &wanted, Some('/'), true).is_empty());
    }

    #[test]
    fn lsub_tells_parents_that_percent_hides() {
        let mut wanted = plan("%");
        wanted.lsub = true;
        let entries = vec![entry("foo"), subscribed("foo/bar", true), subscribed("top", false)];
        assert_eq!(shown(&choose(entries.clone(), &wanted, Some('/'), false)), ["foo \\Noselect", "top "]);
        wanted.patterns = vec!["*".into()];
        assert_eq!(shown(&choose(entries, &wanted, Some('/'), false)), ["foo/bar ", "top "]);
    }

    #[test]
    fn many_patterns_and_names_leave_others_their_turn() {
        let mut wanted = plan("nothing");
        wanted.patterns = (0..1000).map(|number| format!("x{number}")).collect();
        let entries: Vec<_> = (0..300).map(|number| entry(&format!("a/m{number}"))).collect();
        let (lines, pauses) = paced(entries, &wanted, Some('/'), false);
        assert!(lines.is_empty());
        assert!(pauses >= 100, "{pauses} pauses in 300,000 comparisons");
        assert_eq!(paced(vec![entry("x1")], &plan("*"), Some('/'), false).1, 0);
    }
}
