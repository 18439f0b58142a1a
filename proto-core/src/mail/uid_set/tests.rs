use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn u(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn set(text: &str) -> UidSet {
    let ranges = text.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        u(first.parse().unwrap())..=u(last.parse().unwrap())
    });
    ranges.collect()
}

/// Every question that can be asked, against a model.
fn agree(set: &UidSet, model: &BTreeSet<u32>) {
    set.tree.check();
    let members: Vec<u32> = model.iter().copied().collect();
    assert_eq!(set.len(), members.len() as u64);
    assert_eq!(set.is_empty(), members.is_empty());
    assert_eq!(set.first().map(Uid::get), members.first().copied());
    assert_eq!(set.last().map(Uid::get), members.last().copied());
    assert_eq!(set.iter().map(Uid::get).collect::<Vec<_>>(), members);
    assert_eq!(set.iter().rev().map(Uid::get).collect::<Vec<_>>(), members.iter().rev().copied().collect::<Vec<_>>());
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &member in &members {
        match runs.last_mut() {
            Some(run) if run.1 + 1 == member => run.1 = member,
            _ => runs.push((member, member)),
        }
    }
    let plain = |(first, last): (Uid, Uid)| (first.get(), last.get());
    assert_eq!(set.ranges().map(plain).collect::<Vec<_>>(), runs);
    let mut down: Vec<_> = set.ranges().rev().map(plain).collect();
    down.reverse();
    assert_eq!(down, runs);
    // From both ends in turn.
    let (mut both, mut low, mut high) = (set.iter(), Vec::new(), Vec::new());
    while let Some(uid) = both.next() {
        low.push(uid.get());
        high.extend(both.next_back().map(Uid::get));
        assert_eq!(both.len(), members.len() - low.len() - high.len());
    }
    low.extend(high.into_iter().rev());
    assert_eq!(low, members);
    for (at, &member) in members.iter().enumerate() {
        assert_eq!(set.rank(u(member)), Some(at as u32));
        assert_eq!(set.nth(at as u32), Some(u(member)));
        for near in [member.saturating_sub(1), member, member.saturating_add(1)] {
            if let Some(near) = Uid::new(near) {
                assert_eq!(set.contains(near), model.contains(&near.get()));
                assert_eq!(set.rank(near).is_some(), set.contains(near));
                assert_eq!(set.rank_lower_bound(near) as usize, members.partition_point(|m| *m < near.get()));
            }
        }
    }
    assert_eq!(set.nth(members.len() as u32), None);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u32),
    Remove(u32, u32),
    Append(u32, u32),
    Union(Vec<(u32, u32)>),
    Difference(Vec<(u32, u32)>),
    Intersection(Vec<(u32, u32)>),
    RetainFrom(u32),
}

/// Numbers that meet each other and the borders of blocks, and a few at the far end.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => 1u32..80,
        6 => (0u32..6, 0u32..12).prop_map(|(block, near)| (block * 2048 + near).saturating_sub(6).max(1)),
        4 => 1u32..12_000,
        1 => u32::MAX - 5000..=u32::MAX,
        2 => (1u32..500).prop_map(|n| n * 7919),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![5 => Just(0u32), 3 => 0u32..40, 2 => 0u32..5000]
}

fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    prop_oneof![
        prop::collection::vec((number(), length()), 0..12),
        // Many single members in few blocks, so that there are bitmaps.
        prop::collection::vec((1u32..5000, Just(0)), 0..200),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (number(), length()).prop_map(|(a, b)| Step::Insert(a, b)),
        4 => (number(), length()).prop_map(|(a, b)| Step::Remove(a, b)),
        3 => (1u32..5, length()).prop_map(|(a, b)| Step::Append(a, b)),
        2 => ranges().prop_map(Step::Union),
        2 => ranges().prop_map(Step::Difference),
        1 => ranges().prop_map(Step::Intersection),
        1 => number().prop_map(Step::RetainFrom),
    ]
}

fn model_of(ranges: &[(u32, u32)]) -> BTreeSet<u32> {
    ranges.iter().flat_map(|&(first, more)| first..=first.saturating_add(more)).collect()
}

fn set_of(ranges: &[(u32, u32)]) -> UidSet {
    ranges.iter().map(|&(first, more)| u(first)..=u(first.saturating_add(more))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_tree_of_numbers(steps in prop::collection::vec(step(), 1..24)) {
        let (mut set, mut model) = (UidSet::new(), BTreeSet::new());
        let mut kept: Vec<(UidSet, BTreeSet<u32>)> = Vec::new();
        for step in steps {
            kept.push((set.clone(), model.clone()));
            match step {
                Step::Insert(first, more) => {
                    let last = first.saturating_add(more);
                    if first == last {
                        prop_assert_eq!(set.insert(u(first)), model.insert(first));
                    } else {
                        set.insert_range(u(first), u(last));
                        model.extend(first..=last);
                    }
                }
                Step::Remove(first, more) => {
                    let last = first.saturating_add(more);
                    if first == last {
                        prop_assert_eq!(set.remove(u(first)), model.remove(&first));
                    } else {
                        set.remove_range(u(first), u(last));
                        model.retain(|m| !(first..=last).contains(m));
                    }
                }
                Step::Append(gap, more) => {
                    let first = model.last().copied().unwrap_or(0).saturating_add(gap).max(1);
                    let last = first.saturating_add(more);
                    set.insert_range(u(first), u(last));
                    model.extend(first..=last);
                }
                Step::Union(ranges) => {
                    let other = set_of(&ranges);
                    prop_assert_eq!(set.union(&other), other.union(&set));
                    set.union_with(&other);
                    model.extend(model_of(&ranges));
                }
                Step::Difference(ranges) => {
                    set.difference_with(&set_of(&ranges));
                    let other = model_of(&ranges);
                    model.retain(|m| !other.contains(m));
                }
                Step::Intersection(ranges) => {
                    let other = set_of(&ranges);
                    prop_assert_eq!(set.intersection(&other), other.intersection(&set));
                    set.intersect_with(&other);
                    let other = model_of(&ranges);
                    model.retain(|m| other.contains(m));
                }
                Step::RetainFrom(from) => {
                    set.retain_from(u(from));
                    model.retain(|m| *m >= from);
                }
            }
            agree(&set, &model);
        }
        // What was cloned before is as it was: nothing shared was changed.
        for (set, model) in kept {
            prop_assert_eq!(set.iter().map(Uid::get).collect::<BTreeSet<_>>(), model);
        }
    }

    #[test]
    fn compares_like_a_tree_of_numbers(a in ranges(), b in ranges(), from in number(), more in length()) {
        let (x, y) = (set_of(&a), set_of(&b));
        let (p, q) = (model_of(&a), model_of(&b));
        agree(&x, &p);
        prop_assert_eq!(x == y, p == q);
        prop_assert_eq!(x.is_subset(&y), p.is_subset(&q));
        prop_assert_eq!(x.intersects(&y), !p.is_disjoint(&q));
        prop_assert!(x.intersection(&y).is_subset(&x));
        prop_assert!(x.is_subset(&x.union(&y)));
        prop_assert!(!x.difference(&y).intersects(&y));
        agree(&x.union(&y), &(&p | &q));
        agree(&x.difference(&y), &(&p - &q));
        agree(&x.intersection(&y), &(&p & &q));
        let to = from.saturating_add(more);
        let within: Vec<u32> = p.range(from..=to).copied().collect();
        prop_assert_eq!(x.range(u(from), u(to)).map(Uid::get).collect::<Vec<_>>(), within.clone());
        let mut down: Vec<u32> = x.range(u(from), u(to)).rev().map(Uid::get).collect();
        down.reverse();
        prop_assert_eq!(down, within);
        prop_assert_eq!(x.after(u(from)).iter().map(Uid::get).collect::<Vec<_>>(),
            p.iter().copied().filter(|m| *m > from).collect::<Vec<_>>());
        prop_assert_eq!(set(&x.to_string()), x);
    }
}

#[test]
fn display_is_an_imap_set() {
    assert_eq!(set("9,7:8,1:3,5,2").to_string(), "1:3,5,7:9");
    assert_eq!(UidSet::new().to_string(), "");
    assert_eq!(UidSet::full().to_string(), "1:4294967295");
    assert_eq!(UidSet::from_range(u(5), u(3)).to_string(), "3:5");
    assert_eq!(UidSet::from(u(7)).to_string(), "7");
}

#[test]
fn debug_is_short() {
    let odd: UidSet = (0..1000).map(|n| u(2 * n + 1)).collect();
    assert_eq!(format!("{:?}", set("1:3,5")), "UidSet(1:3,5)");
    let text = format!("{odd:?}");
    assert!(text.ends_with(",31,... 1000 in all)"), "{text}");
}

#[test]
fn ranges_the_wrong_way_round_are_empty_in_code() {
    let mut set = set("1:9");
    set.insert_range(u(20), u(15));
    set.remove_range(u(5), u(4));
    assert_eq!(set.to_string(), "1:9");
    assert!([RangeInclusive::new(u(3), u(2))].into_iter().collect::<UidSet>().is_empty());
    assert_eq!(set.range(u(5), u(4)).count(), 0);
}

#[test]
fn the_set_of_all_uids_needs_no_heap() {
    let full = UidSet::full();
    assert_eq!((full.len(), full.heap_size()), (4_294_967_295, 0));
    assert_eq!(full.nth(u32::MAX - 1), Some(Uid::MAX));
    assert_eq!(full.rank(Uid::MAX), Some(u32::MAX - 1));
    let mut holed = full.clone();
    assert!(holed.remove(u(3_000_000_000)));
    assert!(holed.remove(u(4096)));
    assert!(holed.remove(Uid::MAX));
    holed.tree.check();
    assert_eq!(holed.to_string(), "1:4095,4097:2999999999,3000000001:4294967294");
    assert_eq!(holed.len(), 4_294_967_292);
    assert!(holed.heap_size() < 2000, "{}", holed.heap_size());
    assert_eq!(full.difference(&holed).to_string(), "4096,3000000000,4294967295");
    assert_eq!(holed.union(&full), full);
    assert_eq!(holed.rank(u(4097)), Some(4095));
    assert_eq!(holed.nth(2_999_999_998), Some(u(3_000_000_001)));
    assert_eq!(holed.iter().next_back(), Uid::new(u32::MAX - 1));
}

#[test]
fn a_million_messages_with_every_second_uid_missing_fit_300_kib() {
    let view: UidSet = (1..=1_000_000).map(|n| u(2 * n)).collect();
    view.tree.check();
    assert_eq!(view.count(), 1_000_000);
    assert!(view.heap_size() <= 300 * 1024, "{}", view.heap_size());
    for n in (0..1_000_000).step_by(997) {
        assert_eq!(view.nth(n), Some(u(2 * n + 2)));
        assert_eq!(view.rank(u(2 * n + 2)), Some(n));
    }
    // A session that has seen one more expunge owns a page and a bitmap, and the list of pages.
    let mut session = view.clone();
    assert!(session.remove(u(1_000_000)));
    session.tree.check();
    let own = session.tree.unshared(&view.tree);
    assert!(own < 2048 + 1024, "{own}");
    // One that has seen arrivals owns nothing but that list.
    let mut session = view.clone();
    session.insert_range(u(2_000_001), u(2_000_100));
    assert_eq!(session.tree.unshared(&view.tree), 0);
}

#[test]
fn a_contiguous_view_stays_without_heap() {
    let mut view = UidSet::new();
    for n in 1..=10_000 {
        view.insert(u(n));
    }
    view.remove_range(u(1), u(5000));
    assert_eq!((view.to_string(), view.heap_size()), ("5001:10000".to_owned(), 0));
}

#[test]
fn filling_the_gaps_gives_back_the_memory() {
    let mut set: UidSet = (1..=100_000).map(|n| u(2 * n)).collect();
    let odd: UidSet = (0..100_000).map(|n| u(2 * n + 1)).collect();
    let whole = set.union(&odd);
    assert_eq!(whole.to_string(), "1:200000");
    assert!(whole.heap_size() < 2000, "{}", whole.heap_size());
    for uid in &odd {
        set.insert(uid);
    }
    set.tree.check();
    assert_eq!(set, whole);
    assert!(set.heap_size() < 20_000, "{}", set.heap_size());
    for n in 1..=200_000 {
        assert!(set.remove(u(n)));
    }
    assert!(set.is_empty() && set.tree.get(tree::Place::default()).is_none());
}

#[test]
fn scattered_uids_cost_few_octets_each() {
    let far: UidSet = (1..=1000).map(|n| u(n * 4_000_000)).collect();
    assert!(far.heap_size() < 40 * 1000, "{}", far.heap_size());
    let eight_a_block: UidSet = (1..=8000).map(|n| u(n * 256)).collect();
    assert!(eight_a_block.heap_size() < 40 * 8000, "{}", eight_a_block.heap_size());
}

#[test]
fn sets_from_hostile_lists() {
    // Descending, doubled and overlapping ranges, as a command may list them.
    let down: UidSet = (1..=50_000).rev().map(|n| u(n * 4099)).collect();
    down.tree.check();
    assert_eq!(down.count(), 50_000);
    let shuffled: UidSet = (0u32..50_000).map(|n| u((n * 7919 % 50_000 + 1) * 4099)).collect();
    assert_eq!(down, shuffled);
    let nested: UidSet = (1..=20_000).map(|n| u(n)..=u(40_001 - n)).collect();
    assert_eq!((nested.to_string(), nested.heap_size()), ("1:40000".to_owned(), 0));
    let same: UidSet = std::iter::repeat_n(u(1)..=Uid::MAX, 10_000).collect();
    assert_eq!(same, UidSet::full());
    // One by one from the top, and from the middle outwards.
    let mut set = UidSet::new();
    for n in (1..=20_000).rev() {
        assert!(set.insert(u(n * 4099)));
    }
    set.tree.check();
    for n in 1..=10_000 {
        assert!(set.remove(u((10_000 + n) * 4099)));
        assert!(set.remove(u((10_001 - n) * 4099)));
    }
    assert!(set.is_empty());
}
