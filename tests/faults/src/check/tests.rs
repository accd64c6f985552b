//! The check of histories that are written by hand: sound ones pass, each fault is named.

use super::*;
use crate::doctor::doctored;
use crate::history::Stretch;

const fn present(revision: Revision) -> Present {
    Present {
        revision,
        value: revision * 10,
    }
}

/// Times are microseconds; the value of a write is ten times its revision.
fn op(called: u64, answered: u64, request: Request, answer: Answer) -> Operation {
    Operation {
        key: 1,
        called,
        answered,
        request,
        answer,
    }
}

/// Of another object.
fn other(called: u64, answered: u64, request: Request, answer: Answer) -> Operation {
    Operation {
        key: 2,
        ..op(called, answered, request, answer)
    }
}

fn event(revision: Revision) -> Event {
    Event {
        key: 1,
        revision,
        value: Some(revision * 10),
    }
}

/// Created, replaced, refused, read, deleted, and read again; another one that stays; two watchers.
fn sound() -> History {
    let gone = Event {
        value: None,
        ..event(9)
    };
    let second = Event {
        key: 2,
        ..event(11)
    };
    let stretch = |events: &[Event]| Stretch {
        from: 2,
        to: 11,
        events: events.to_vec(),
    };
    History {
        operations: vec![
            op(0, 10, Request::Create(30), Answer::Wrote(3)),
            op(
                11,
                30,
                Request::Replace(Some(present(3)), 50),
                Answer::Wrote(5),
            ),
            op(
                12,
                40,
                Request::Replace(Some(present(3)), 51),
                Answer::Conflict,
            ),
            op(41, 50, Request::Read, Answer::Seen(Some(present(5)))),
            op(51, 60, Request::Replace(None, 70), Answer::Unknown),
            op(61, 70, Request::Read, Answer::Seen(Some(present(7)))),
            op(71, 80, Request::Create(80), Answer::Exists),
            op(81, 90, Request::Delete(Some(present(7))), Answer::Deleted),
            op(91, 99, Request::Read, Answer::Seen(None)),
            op(100, 110, Request::Replace(None, 99), Answer::Absent),
            other(120, 130, Request::Create(110), Answer::Wrote(11)),
            other(140, 150, Request::Read, Answer::Seen(Some(present(11)))),
        ],
        watchers: vec![
            vec![stretch(&[event(3), event(5), event(7), gone, second])],
            // It has listed anew in between.
            vec![
                Stretch {
                    from: 2,
                    to: 3,
                    events: vec![event(3)],
                },
                Stretch {
                    from: 5,
                    to: 11,
                    events: vec![event(7), gone, second],
                },
            ],
        ],
    }
}

#[test]
fn a_sound_history_has_no_violation() {
    assert_eq!(violations(&sound()), []);
    assert_eq!(violations(&History::default()), []);
}

#[test]
fn every_planted_fault_is_seen() {
    let copies = doctored(&sound());
    assert_eq!(copies.len(), 7);
    for (what, copy) in copies {
        let found = violations(&copy);
        assert!(!found.is_empty(), "{what}: nothing was seen");
    }
}

/// Each for itself, so that no rule hides behind another one.
#[test]
fn each_rule_sees_its_own() {
    let planted = |what: &str| {
        let mut copies = doctored(&sound()).into_iter();
        let (_, copy) = copies.find(|(name, _)| *name == what).unwrap();
        violations(&copy)
    };
    let has = |what: &str, is_it: fn(&Violation) -> bool| {
        let found = planted(what);
        assert!(found.iter().any(is_it), "{what}: {found:?}");
    };
    let stale = "a read sees what was replaced before";
    has(stale, |one| matches!(one, Violation::Stale { .. }));
    let is_order = |one: &Violation| matches!(one, Violation::NotLinearizable { .. });
    has(stale, is_order);
    has("of two compare-and-swaps, both succeed", is_order);
    has("a watcher is not told of a change", |one| {
        matches!(one, Violation::Lost { watcher: 0, .. })
    });
    let is_repeated = |one: &Violation| matches!(one, Violation::Repeated { .. });
    has("a watcher is told twice", is_repeated);
    has("a watcher is told out of order", is_repeated);
    has("no watcher is told of an acknowledged write", |one| {
        matches!(one, Violation::Unheard { .. })
    });
}

/// What was not answered may have been done, or not, at any time since.
#[test]
fn what_was_not_answered_may_be_either() {
    let seen = |values: &[Option<Value>]| {
        let mut operations = vec![
            op(0, 10, Request::Create(30), Answer::Wrote(3)),
            op(20, 30, Request::Replace(None, 50), Answer::Unknown),
        ];
        for (number, value) in (0..).zip(values) {
            let at = 100 + 10 * number;
            let seen = value.map(|value| Present {
                revision: value / 10,
                value,
            });
            operations.push(op(at, at + 5, Request::Read, Answer::Seen(seen)));
        }
        is_linearizable(&operations.iter().collect::<Vec<_>>())
    };
    assert!(seen(&[Some(30), Some(30)]), "never");
    assert!(seen(&[Some(50), Some(50)]), "before the reads");
    assert!(seen(&[Some(30), Some(50)]), "late");
    assert!(!seen(&[Some(50), Some(30)]), "and back");
    assert!(!seen(&[None]));
}

#[test]
fn values_of_refused_writes_are_never_told() {
    let mut history = sound();
    history
        .operations
        .push(op(160, 170, Request::Create(130), Answer::Exists));
    history.watchers[0][0].events.push(event(13));
    let found = violations(&history);
    assert!(
        found.contains(&Violation::Invented { event: event(13) }),
        "{found:?}"
    );
}
