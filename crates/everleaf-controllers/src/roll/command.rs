//! What people say to a roll, and what follows from it.

use super::{Fleet, Phase, Roll, Start, tally};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Most names that a refusal lists; it also says how many more there are.
const NAMED_MAX: usize = 10;

/// What a person wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin.
    Start(Start),
    /// Let nothing go on by itself, and take `Finish` back.
    Pause,
    /// Go on.
    Resume,
    /// Take it back.
    Back,
    /// Drop the old CA once nobody needs it.
    Finish,
    /// These need no proof in this phase.
    Assume(BTreeSet<String>),
}

/// What follows from a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and only for a moment"
)]
pub enum Change {
    /// Make another CA, and begin.
    Begin(Start),
    /// The roll goes on like this.
    Go(Roll),
    /// The CA that was to come is dropped: it has signed nothing.
    Withdraw,
}

/// What follows from `command`; the error says why it cannot be. The fleet counts where names are
/// assumed.
pub fn obey(
    roll: Option<&Roll>,
    command: Command,
    fleet: &Fleet,
    now: Timestamp,
) -> Result<Change, String> {
    let Some(roll) = roll else {
        return match command {
            Command::Start(start) => Ok(Change::Begin(start)),
            _ => Err("no roll is under way; begin one: everleaf ca roll start".to_owned()),
        };
    };
    let go = |roll: Roll| Ok(Change::Go(roll));
    match command {
        Command::Start(_) => Err(format!(
            "a roll from {} to {} is under way already; see: everleaf ca roll status",
            roll.from.subject, roll.to.subject
        )),
        // Who renews is told no time any more.
        Command::Pause => go(Roll {
            is_paused: true,
            may_finish: false,
            renewal: None,
            ..roll.clone()
        }),
        Command::Resume => go(Roll {
            is_paused: false,
            ..roll.clone()
        }),
        Command::Finish => finish(roll).map(Change::Go),
        Command::Assume(names) => assume(roll, names, fleet, now).map(Change::Go),
        Command::Back => match roll.phase {
            Phase::Publish => Ok(Change::Withdraw),
            Phase::Renew => go(Roll {
                from: roll.to.clone(),
                to: roll.from.clone(),
                epoch: roll.epoch + 1,
                since: now,
                is_paused: false,
                may_finish: false,
                renewal: None,
                assumed: BTreeSet::new(),
                ..roll.clone()
            }),
        },
    }
}

/// Whoever says so has to have seen the phase in which it means something.
fn finish(roll: &Roll) -> Result<Roll, String> {
    let from = &roll.from.subject;
    if roll.phase == Phase::Publish {
        return Err(format!(
            "there is nothing to finish yet: the roll stands at publish, {from} still signs, and everybody needs it. Nothing is changed; say it \
             again when `everleaf ca roll status` shows phase 2"
        ));
    }
    if roll.is_paused {
        return Err(
            "the roll is paused, and nothing is dropped meanwhile. Nothing is changed; first: everleaf ca roll resume".to_owned(),
        );
    }
    Ok(Roll {
        may_finish: true,
        ..roll.clone()
    })
}

/// Only of those for whom it waits can anything be assumed: every other name is a mistake, and
/// another one would go on being waited for.
fn assume(
    roll: &Roll,
    names: BTreeSet<String>,
    fleet: &Fleet,
    now: Timestamp,
) -> Result<Roll, String> {
    let names = names.into_iter().map(|name| match name.contains('/') {
        true => name,
        false => format!("node/{name}"),
    });
    let tally = tally(roll, fleet, now);
    let left: BTreeSet<_> = tally.waited_for.iter().map(|one| &one.who).collect();
    let is_known = |name: &String| left.contains(name) || roll.assumed.contains(name);
    let (known, unknown): (BTreeSet<_>, BTreeSet<_>) = names.partition(is_known);
    if unknown.is_empty() {
        let mut roll = roll.clone();
        roll.assumed.extend(known);
        return Ok(roll);
    }
    let waits = match left.is_empty() {
        true => "it waits for nobody".to_owned(),
        false => format!("it waits for {}", listed(left.into_iter())),
    };
    Err(format!(
        "the roll does not wait for {} in the phase {}; {waits}. Nothing is assumed",
        listed(unknown.iter()),
        roll.phase.as_str()
    ))
}

/// Names, in a sentence.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let shown: Vec<_> = names.take(NAMED_MAX).map(String::as_str).collect();
    let shown = shown.join(", ");
    match more {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What whoever gave the command is told, once the roll goes on as `after`.
pub fn answer(command: &Command, after: &Roll) -> String {
    let (from, to) = (&after.from.subject, &after.to.subject);
    let stands = format!(
        "the roll from {from} to {to} stands at {}",
        after.phase.as_str()
    );
    let outlook = after.outlook();
    match command {
        Command::Back => format!(
            "turned round: {to} signs again and stays, what {from} has signed is renewed, and both are trusted meanwhile; {outlook}"
        ),
        Command::Assume(_) => {
            let all: BTreeSet<_> = after.assumed.iter().collect();
            format!(
                "{stands}; nothing is waited for from {}, and who needs what goes is refused later; {outlook}",
                listed(all.into_iter())
            )
        }
        Command::Pause if after.phase == Phase::Renew => {
            format!("{stands}; {outlook}; finish is taken back, and has to be said again")
        }
        _ => format!("{stands}; {outlook}"),
    }
}
