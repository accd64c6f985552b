//! Copies of a history, each with one fault planted: the check has to see each.

use crate::history::{Answer, History, Present, Request};
use std::collections::BTreeSet;

/// Plants one; none: the history is too poor for it.
type Plant = fn(&mut History) -> Option<()>;

/// The copies, and what was done to each. A history that is too poor for one of them has fewer.
pub fn doctored(history: &History) -> Vec<(&'static str, History)> {
    let plants: [(&'static str, Plant); 7] = [
        ("a read sees what was replaced before", stale_read),
        ("a read does not see what was acknowledged", lost_write),
        ("of two compare-and-swaps, both succeed", two_winners),
        ("a watcher is not told of a change", lost_event),
        ("a watcher is told twice", repeated_event),
        ("a watcher is told out of order", swapped_events),
        ("no watcher is told of an acknowledged write", unheard_write),
    ];
    let copies = plants.into_iter().filter_map(|(what, plant)| {
        let mut copy = history.clone();
        plant(&mut copy).map(|()| (what, copy))
    });
    copies.collect()
}

/// The last read of an object sees the value that an acknowledged write replaced long before.
fn stale_read(history: &mut History) -> Option<()> {
    let writes: Vec<_> = history
        .operations
        .iter()
        .filter_map(|one| match (one.request, one.answer) {
            (Request::Replace(Some(before), _), Answer::Wrote(_)) => {
                Some((one.key, one.answered, before))
            }
            _ => None,
        })
        .collect();
    history.operations.iter_mut().find_map(|one| {
        let Answer::Seen(Some(_)) = one.answer else {
            return None;
        };
        let (key, called) = (one.key, one.called);
        let mut replaced = writes.iter();
        let (_, _, before) = replaced.find(|(of, at, _)| *of == key && *at < called)?;
        one.answer = Answer::Seen(Some(*before));
        Some(())
    })
}

/// The last read of an object finds nothing, where something is, and nothing was left open.
fn lost_write(history: &mut History) -> Option<()> {
    let open = history.operations.iter();
    let open = open.filter(|one| one.answer == Answer::Unknown);
    let open: BTreeSet<u32> = open.map(|one| one.key).collect();
    let last = history
        .operations
        .iter_mut()
        .filter(|one| matches!(one.answer, Answer::Seen(_)) && !open.contains(&one.key))
        .max_by_key(|one| one.called)?;
    let Answer::Seen(Some(_)) = last.answer else {
        return None;
    };
    last.answer = Answer::Seen(None);
    Some(())
}

/// One that was refused since another had won was done, too.
fn two_winners(history: &mut History) -> Option<()> {
    let mut all = history.operations.iter_mut();
    let loser = all.find(|one| {
        matches!(one.request, Request::Replace(Some(_), _)) && one.answer == Answer::Conflict
    })?;
    let Request::Replace(Some(Present { revision, .. }), _) = loser.request else {
        return None;
    };
    loser.answer = Answer::Wrote(revision + 1);
    Some(())
}

/// Of each watcher's events, the one in the middle.
fn lost_event(history: &mut History) -> Option<()> {
    let stretch = history.watchers.first_mut()?.first_mut()?;
    let middle = stretch.events.len() / 2;
    (middle < stretch.events.len()).then(|| {
        stretch.events.remove(middle);
    })
}

fn repeated_event(history: &mut History) -> Option<()> {
    let stretch = history.watchers.first_mut()?.first_mut()?;
    let middle = stretch.events.len() / 2;
    let event = *stretch.events.get(middle)?;
    stretch.events.insert(middle, event);
    Some(())
}

fn swapped_events(history: &mut History) -> Option<()> {
    let stretch = history.watchers.first_mut()?.first_mut()?;
    (stretch.events.len() > 1).then(|| stretch.events.swap(0, 1))
}

fn unheard_write(history: &mut History) -> Option<()> {
    let revision = history.operations.iter().find_map(|one| match one.answer {
        Answer::Wrote(revision) => Some(revision),
        _ => None,
    })?;
    for stretch in history.watchers.iter_mut().flatten() {
        stretch.events.retain(|event| event.revision != revision);
    }
    Some(())
}
