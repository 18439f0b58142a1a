//! Searches that need no message's text.

use super::table::{Entry, Table};
use crate::backend::{Query, SearchRequest};
use crate::mail::UidSet;

/// Answers a search by what is known of each message; `None` when a text is to be looked for.
pub(super) fn search(table: &Table, uids: &UidSet, request: &SearchRequest) -> Option<UidSet> {
    if !is_known(&request.query) {
        return None;
    }
    let within = request.within.intersection(uids);
    let mut near = 0;
    let mut found = UidSet::new();
    for (low, high) in within.ranges() {
        let places = table.places(low, high, near);
        near = places.end;
        found.extend(table.walk(places).filter(|entry| matches(entry, &request.query)).map(|entry| entry.uid));
    }
    Some(found)
}

fn is_known(query: &Query) -> bool {
    match query {
        Query::All
        | Query::Uids(_)
        | Query::Flags(_)
        | Query::Keyword(_)
        | Query::Larger(_)
        | Query::Smaller(_)
        | Query::Before(_)
        | Query::On(_)
        | Query::Since(_)
        | Query::ReceivedUntil(_)
        | Query::ReceivedFrom(_)
        | Query::ModSeq(_) => true,
        Query::Not(query) => is_known(query),
        Query::And(queries) | Query::Or(queries) => queries.iter().all(is_known),
        _ => false,
    }
}

/// Only asked of what [`is_known`] admits.
fn matches(entry: &Entry<'_>, query: &Query) -> bool {
    let date = || entry.rest.internal_date;
    match query {
        Query::All => true,
        Query::Uids(uids) => uids.contains(entry.uid),
        Query::Flags(flags) => entry.system.contains(*flags),
        Query::Keyword(keyword) => entry.keywords.contains(keyword),
        Query::Larger(octets) => entry.rest.body.len() > *octets,
        Query::Smaller(octets) => entry.rest.body.len() < *octets,
        Query::Before(day) => date().days() < *day,
        Query::On(day) => date().days() == *day,
        Query::Since(day) => date().days() >= *day,
        Query::ReceivedUntil(time) => date().unix() <= *time,
        Query::ReceivedFrom(time) => date().unix() >= *time,
        Query::ModSeq(modseq) => entry.modseq >= *modseq,
        Query::Not(query) => !matches(entry, query),
        Query::And(queries) => queries.iter().all(|query| matches(entry, query)),
        Query::Or(queries) => queries.iter().any(|query| matches(entry, query)),
        _ => false,
    }
}
