//! `everleaf ca roll`: what a person wants of a roll, and how far it has come. The roll itself is
//! carried out where the CA's key is ([`crate::up`]); the two speak by ConfigMaps.

use crate::args::OutputFormat;
use crate::args::ca::{RollCommand, RollStatusArgs};
use crate::args::token::ServerArgs;
use crate::calls::{Calls, Refused, connect};
use crate::print;
use crate::up::entropy;
use crate::up::rolling::{ANSWER_MAX, COMMAND_AGE_MAX, COMMAND_NAME, ROLL_NAMESPACE, STATUS_NAME};
use anyhow::{Result, anyhow, bail};
use everleaf_api::meta;
use everleaf_controllers::roll::{Command, Ended, Phase, Roll, Start};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often it is looked whether a command is answered.
const ANSWER_LOOK: Duration = Duration::from_millis(500);
/// Most names in one line; `-o json` has more.
const NAMES_MAX: usize = 10;

/// Dispatches.
pub(super) fn run(command: &RollCommand) -> Result<ExitCode> {
    match command {
        RollCommand::Start(args) => {
            let start = Start {
                per_minute: args.per_minute,
                may_finish: args.finish,
            };
            tell(&args.server, &Command::Start(start))
        }
        RollCommand::Status(args) => status(args),
        RollCommand::Pause(args) => tell(&args.server, &Command::Pause),
        RollCommand::Resume(args) => tell(&args.server, &Command::Resume),
        RollCommand::Back(args) => tell(&args.server, &Command::Back),
        RollCommand::Finish(args) => tell(&args.server, &Command::Finish),
        RollCommand::Run(args) => super::roll_run::run(args),
        RollCommand::Assume(args) => {
            let names: BTreeSet<_> = args.names.iter().cloned().collect();
            tell(&args.server, &Command::Assume(names))
        }
    }
}

fn path_of(name: &str) -> String {
    format!("/api/v1/namespaces/{ROLL_NAMESPACE}/configmaps/{name}")
}

/// What the roll says of itself; null where it says nothing.
pub(super) async fn read(calls: &Calls) -> Result<Value> {
    let what = "read the status of the roll";
    let object = calls
        .object(what, Method::GET, &path_of(STATUS_NAME), None)
        .await?;
    let text = object.unwrap_or_default()["data"]["status"]
        .as_str()
        .map(str::to_owned);
    Ok(text.map_or(Value::Null, |text| {
        serde_json::from_str(&text).unwrap_or_default()
    }))
}

/// Gives a command, waits for the answer, and says it. Whoever stops waiting takes it back.
fn tell(server: &ServerArgs, command: &Command) -> Result<ExitCode> {
    super::runtime()?.block_on(async {
        let (calls, _) = connect(server)?;
        // For the server's clock.
        calls
            .object("ask who it is", Method::GET, "/version", None)
            .await?;
        let version = refuse_another(&calls).await?;
        let nonce = entropy::letters(16)?;
        let mut document = command.to_json();
        document["nonce"] = nonce.clone().into();
        document["at"] = meta::format_time(calls.now()).into();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let answered = async {
            write(&calls, &document, version).await?;
            answer(&calls, &nonce).await
        };
        let stopped = "stopped before the command was answered";
        let answered = tokio::select! {
            answered = answered => answered,
            _ = terminate.recv() => Err(anyhow!(stopped)),
            _ = interrupt.recv() => Err(anyhow!(stopped)),
        };
        let status = match answered {
            Ok(status) => status,
            Err(error) => {
                withdraw(&calls, &nonce).await;
                return Err(error);
            }
        };
        let reply = print::harmless_line(status["reply"].as_str().unwrap_or_default());
        if status["refusal"] == true {
            bail!("{reply}");
        }
        print::answer(&reply)?;
        if matches!(command, Command::Start(_)) {
            eprintln!("everleaf: see how far it has come: everleaf ca roll status");
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits for the answer to a command: the status that has it.
async fn answer(calls: &Calls, nonce: &str) -> Result<Value> {
    let mut waited = Duration::ZERO;
    let mut trouble = None;
    while waited < ANSWER_MAX {
        tokio::time::sleep(ANSWER_LOOK).await;
        waited += ANSWER_LOOK;
        let status = read(calls).await?;
        if status["answered"] == nonce {
            return Ok(status);
        }
        trouble = status["trouble"].as_str().map(print::harmless_line);
    }
    if let Some(trouble) = trouble {
        bail!(
            "the command cannot be carried out: {trouble}. It is taken back, and the roll is as it was; mend that where `everleaf up` (or `everleaf ca roll run`) \
             runs, and give it again"
        );
    }
    Err(anyhow!(
        "nobody has answered the command within {} s, and it is taken back. Only the `everleaf up` that keeps the CA of this cluster can carry it out: \
         look whether it runs, and at its log. With another API server `everleaf ca roll run` does, where the CA's key is: docs/ca.md",
        ANSWER_MAX.as_secs()
    ))
}

/// The resource version of the last command, if there was one; an error while it is not answered.
async fn refuse_another(calls: &Calls) -> Result<Option<String>> {
    let what = "read the last command";
    let path = path_of(COMMAND_NAME);
    let Some(object) = calls.object(what, Method::GET, &path, None).await? else {
        return Ok(None);
    };
    let text = object["data"]["command"].as_str().unwrap_or_default();
    let last: Value = serde_json::from_str(text).unwrap_or_default();
    let answered = read(calls).await?["answered"].take();
    if is_waiting(&last, &answered, calls.now()) {
        bail!("{}", another(last["verb"].as_str().unwrap_or_default()));
    }
    let version = object["metadata"]["resourceVersion"].as_str();
    Ok(version.map(str::to_owned))
}

/// Whether somebody waits for the answer to this command.
fn is_waiting(last: &Value, answered: &Value, now: Timestamp) -> bool {
    let at = last["at"].as_str().and_then(meta::parse_time);
    let is_young = at.is_some_and(|at| now.duration_since(at).abs() <= COMMAND_AGE_MAX);
    is_young && last["nonce"] != *answered
}

fn another(verb: &str) -> String {
    format!(
        "another command, `everleaf ca roll {}`, is being carried out: nothing is changed by this one; give it again in a moment",
        print::harmless_line(verb)
    )
}

/// Puts the command there, in the place of the one of this version; nobody else's is overwritten.
async fn write(calls: &Calls, command: &Value, version: Option<String>) -> Result<()> {
    let what = format!("write the ConfigMap {ROLL_NAMESPACE}/{COMMAND_NAME}");
    let path = path_of(COMMAND_NAME);
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": COMMAND_NAME, "namespace": ROLL_NAMESPACE},
        "data": {"command": command.to_string()},
    });
    let all = path.rsplit_once('/').map_or("", |(all, _)| all);
    let (method, path) = match version {
        Some(version) => {
            object["metadata"]["resourceVersion"] = version.into();
            (Method::PUT, path.as_str())
        }
        None => (Method::POST, all),
    };
    match calls.object(&what, method, path, Some(object)).await {
        Err(error) if is_conflict(&error) => bail!("{}", another("…")),
        Ok(None) => {
            bail!("cannot {what}: somebody has removed it just now; give the command again")
        }
        other => other.map(drop),
    }
}

fn is_conflict(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == StatusCode::CONFLICT)
}

/// Nobody is to find this command later.
async fn withdraw(calls: &Calls, nonce: &str) {
    let path = path_of(COMMAND_NAME);
    let what = "take the command back";
    let gone = async {
        let Some(object) = calls.object(what, Method::GET, &path, None).await? else {
            return anyhow::Ok(());
        };
        let text = object["data"]["command"].as_str().unwrap_or_default();
        let last: Value = serde_json::from_str(text).unwrap_or_default();
        if last["nonce"] == nonce {
            let version = &object["metadata"]["resourceVersion"];
            let options = json!({"preconditions": {"resourceVersion": version}});
            calls
                .object(what, Method::DELETE, &path, Some(options))
                .await?;
        }
        Ok(())
    };
    if let Err(error) = gone.await {
        eprintln!("everleaf: {error}");
    }
}

fn status(args: &RollStatusArgs) -> Result<ExitCode> {
    let (status, now) = super::runtime()?.block_on(async {
        let (calls, _) = connect(&args.server)?;
        let status = read(&calls).await?;
        anyhow::Ok((status, calls.now()))
    })?;
    match args.output {
        Some(OutputFormat::Json) => print::json(&status)?,
        Some(OutputFormat::Yaml) => print::yaml(&status)?,
        Some(OutputFormat::Wide) | None => print::answer(&words(&status, now))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// That no roll is under way, and what the last one has left.
fn over(status: &Value, now: Timestamp) -> String {
    let none = "no roll of the CA is under way";
    if let Some(ended) = Ended::of_json(&status["ended"]) {
        let age = everleaf_api::duration::human(now.duration_since(ended.at).as_secs().max(0));
        let words = print::harmless_line(&ended.words());
        return format!("{none}; {words} ({age} ago)");
    }
    match status["reply"].as_str() {
        Some(reply) if !reply.is_empty() => {
            format!("{none}; the last word was: {}", print::harmless_line(reply))
        }
        _ => none.to_owned(),
    }
}

/// Names of a list, a few of them in a sentence, out of so many.
fn names(list: &Value, all: u64) -> String {
    let list = list.as_array().into_iter().flatten();
    let shown: Vec<_> = list
        .filter_map(|name| name.as_str().map(print::harmless_line))
        .take(NAMES_MAX)
        .collect();
    match all.saturating_sub(shown.len() as u64) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many have shown what the phase asks for, and of whom it is only assumed.
fn counts(status: &Value, phase: Phase) -> String {
    let what = match phase {
        Phase::Publish => "trust both",
        Phase::Renew => "use nothing of the old CA",
    };
    let count = |key: &str| status[key].as_u64();
    let Some((all, left)) = count("all").zip(count("waitedFor")) else {
        return match status["toDo"].as_array().is_some_and(|all| !all.is_empty()) {
            true => "nodes are told when that is done".to_owned(),
            false => "the fleet is being looked at".to_owned(),
        };
    };
    let assumed = count("assumed").unwrap_or_default();
    let proven = all.saturating_sub(left).saturating_sub(assumed);
    let line = format!("{proven} of {all} {what}");
    match assumed {
        0 => line,
        assumed => format!(
            "{line}: {proven} proven, {assumed} assumed: {}",
            names(&status["assumedNames"], assumed)
        ),
    }
}

/// For whom it waits, and for whom not, a line each.
fn waited_for(status: &Value) -> Vec<String> {
    let stragglers = status["stragglers"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<_> = stragglers
        .iter()
        .map(|one| {
            let word = |key: &str| print::harmless_line(one[key].as_str().unwrap_or_default());
            format!("  {}  {}", word("who"), word("why"))
        })
        .collect();
    let named = stragglers.len() as u64;
    let more = status["waitedFor"]
        .as_u64()
        .unwrap_or_default()
        .saturating_sub(named);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    let refused = status["refused"].as_array().map_or(0, Vec::len) as u64;
    if refused > 0 {
        lines.push(format!(
            "not waited for, since the server accepts no certificate of theirs: {}",
            names(&status["refused"], refused)
        ));
    }
    lines
}

/// What people have to put in place before it goes on, two lines each.
fn to_do(status: &Value) -> Vec<String> {
    let all = status["toDo"].as_array().map_or(&[][..], Vec::as_slice);
    let word = |one: &Value, key: &str| print::harmless_line(one[key].as_str().unwrap_or_default());
    all.iter()
        .flat_map(|one| {
            [
                format!("to do: {}", word(one, "what")),
                format!("  {}", word(one, "remedy")),
            ]
        })
        .collect()
}

/// How far a roll has come, for people.
pub(super) fn words(status: &Value, now: Timestamp) -> String {
    let trouble = status["trouble"].as_str();
    let trouble = trouble.map(|why| format!("it does not go on: {}", print::harmless_line(why)));
    let to_do = to_do(status);
    let Some(roll) = Roll::of_json(&status["roll"]) else {
        let over = over(status, now);
        return std::iter::once(over)
            .chain(to_do)
            .chain(trouble)
            .collect::<Vec<_>>()
            .join("\n");
    };
    let age = now.duration_since(roll.since).as_secs().max(0);
    let age = everleaf_api::duration::human(age);
    let (from, to) = (&roll.from.subject, &roll.to.subject);
    let (trusted, signs) = match to_do.is_empty() {
        true => ("trusted", "signs"),
        false => ("to be trusted", "is to sign"),
    };
    let mut lines = vec![format!("roll from {from} to {to}")];
    lines.push(match roll.phase {
        Phase::Publish => {
            format!("phase 1 of 2, publish, for {age}: both are {trusted}, {from} signs")
        }
        Phase::Renew => format!("phase 2 of 2, renew, for {age}: both are trusted, {to} {signs}"),
    });
    lines.extend(to_do);
    lines.push(counts(status, roll.phase));
    if let Some(renewal) = roll.renewal {
        lines.push(format!(
            "agents renew until {:.0}, {} certificates a minute",
            renewal.until, roll.per_minute
        ));
    }
    lines.extend(waited_for(status));
    lines.push(roll.outlook());
    lines.extend(trouble);
    if status["byOthers"] == true && roll.phase == Phase::Renew {
        lines.push(format!(
            "nobody can see who else has a client certificate of {from}: make those of controllers, schedulers, API servers (for kubelets) and people anew first"
        ));
    }
    if status["isReady"] == true && !roll.is_paused && !roll.may_finish {
        let nobody = match status["assumed"].as_u64().unwrap_or_default() {
            0 => format!("nobody needs {from} any more"),
            assumed => format!(
                "nobody is waited for, but {assumed} are only assumed not to need {from}: whoever of them does is refused after finish"
            ),
        };
        lines.push(match status["byOthers"] == true {
            true => format!("{nobody}. When those are made anew: everleaf ca roll finish"),
            false => format!(
                "{nobody}. Copies of admin.conf that were made before end with it: hand out the new file, then: everleaf ca \
                 roll finish"
            ),
        });
    }
    lines
        .iter()
        .map(|line| print::harmless(line).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_controllers::roll::Authority;

    #[test]
    fn the_status_is_told_in_words() {
        let now: Timestamp = "2030-01-01T00:05:00Z".parse().unwrap();
        let authority = |name: &str| Authority {
            subject: format!("CN={name}"),
            pin: format!("sha256:{name}"),
            key_id: name.to_owned(),
        };
        let start = Start {
            per_minute: 60,
            may_finish: false,
        };
        let begun = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut roll = Roll::begin(authority("old"), authority("new"), start, begun);
        let status = |roll: &Roll, left: usize| {
            let stragglers: Vec<_> = (0..left.min(2))
                .map(|n| json!({"who": format!("node/n{n}"), "why": "waits"}))
                .collect();
            json!({
                "roll": roll.to_json(), "all": 5, "waitedFor": left, "stragglers": stragglers,
                "isReady": roll.phase == Phase::Renew && left == 0,
            })
        };
        let told = words(&status(&roll, 3), now);
        for expected in [
            "roll from CN=old to CN=new",
            "phase 1 of 2, publish, for 5m: both are trusted, CN=old signs",
            "2 of 5 trust both",
            "  node/n0  waits",
            "  and 1 more",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        roll.phase = Phase::Renew;
        let told = words(&status(&roll, 0), now);
        assert!(told.contains("5 of 5 use nothing of the old CA"), "{told}");
        assert!(told.contains("everleaf ca roll finish"), "{told}");
        roll.may_finish = true;
        assert!(!words(&status(&roll, 0), now).contains("finish"));
        assert_eq!(words(&Value::Null, now), "no roll of the CA is under way");
    }

    fn authority(name: &str) -> Authority {
        Authority {
            subject: format!("CN={name}"),
            pin: format!("sha256:{name}"),
            key_id: name.to_owned(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_assumed_is_not_told_as_proven() {
        let start = Start {
            per_minute: 60,
            may_finish: false,
        };
        let begun = at("2030-01-01T00:00:00Z");
        let mut roll = Roll::begin(authority("old"), authority("new"), start, begun);
        roll.phase = Phase::Renew;
        let mut status = json!({
            "roll": roll.to_json(), "all": 3, "proven": 2, "assumed": 1, "waitedFor": 0,
            "assumedNames": ["node/n2"], "stragglers": [], "refused": ["node/n4"],
            "isReady": true, "endsByItself": false, "trouble": "the disk is full",
        });
        let told = words(&status, begun);
        for expected in [
            "2 of 3 use nothing of the old CA: 2 proven, 1 assumed: node/n2",
            "1 are only assumed not to need CN=old",
            "accepts no certificate of theirs: node/n4",
            "it does not go on: the disk is full",
        ] {
            assert!(told.contains(expected), "{told}");
        }
        assert!(!told.contains("nobody needs"), "{told}");
        roll.may_finish = true;
        status["roll"] = roll.to_json();
        let told = words(&status, begun);
        assert!(
            told.contains("it will end by itself when nobody needs CN=old"),
            "{told}"
        );
        assert!(told.contains("everleaf ca roll pause"), "{told}");
    }

    #[test]
    fn a_roll_that_is_over_is_told_as_over() {
        let ended = Ended {
            at: at("2030-01-01T00:00:00Z"),
            stays: authority("new"),
            dropped: authority("old"),
        };
        let status = json!({"roll": null, "reply": "stands at publish", "ended": ended.to_json()});
        assert_eq!(
            words(&status, at("2030-01-01T00:05:00Z")),
            "no roll of the CA is under way; the last roll of the CA ended at 2030-01-01T00:00:00Z: CN=new stays alone, CN=old was dropped (5m ago)"
        );
    }

    #[test]
    fn a_command_waits_until_it_is_answered_or_too_old() {
        let last = json!({"nonce": "a", "at": "2030-01-01T00:00:00Z"});
        let check = |last: &Value, answered: &str, now: &str| {
            is_waiting(last, &Value::from(answered), at(now))
        };
        assert!(check(&last, "b", "2030-01-01T00:00:30Z"));
        assert!(!check(&last, "a", "2030-01-01T00:00:30Z"));
        assert!(!check(&last, "b", "2030-01-01T00:00:31Z"));
        assert!(!check(&Value::Null, "b", "2030-01-01T00:00:00Z"));
    }
}
