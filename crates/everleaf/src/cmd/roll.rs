//! `everleaf ca roll`: what a person wants of a roll, and how far it has come. The roll itself is
//! carried out where the CA's key is ([`crate::up`]); the two speak by ConfigMaps.

use crate::args::OutputFormat;
use crate::args::ca::{RollCommand, RollStatusArgs};
use crate::args::token::ServerArgs;
use crate::calls::{Calls, connect};
use crate::print;
use crate::up::entropy;
use crate::up::rolling::{COMMAND_NAME, ROLL_NAMESPACE, STATUS_NAME};
use anyhow::{Result, anyhow, bail};
use everleaf_api::meta;
use everleaf_controllers::roll::{Command, Phase, Roll, Start};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

/// Longest wait until a command is answered, and how often it is looked.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const ANSWER_LOOK: Duration = Duration::from_millis(500);

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

/// Gives a command, waits for the answer, and says it.
fn tell(server: &ServerArgs, command: &Command) -> Result<ExitCode> {
    super::runtime()?.block_on(async {
        let (calls, _) = connect(server)?;
        // For the server's clock.
        calls.object("ask who it is", Method::GET, "/version", None).await?;
        let nonce = entropy::letters(16)?;
        let mut document = command.to_json();
        document["nonce"] = nonce.clone().into();
        document["at"] = meta::format_time(calls.now()).into();
        write(&calls, &document).await?;
        let mut waited = Duration::ZERO;
        while waited < ANSWER_MAX {
            tokio::time::sleep(ANSWER_LOOK).await;
            waited += ANSWER_LOOK;
            let status = read(&calls).await?;
            if status["answered"] != nonce.as_str() {
                continue;
            }
            let reply = print::harmless_line(status["reply"].as_str().unwrap_or_default());
            if status["refusal"] == true {
                bail!("{reply}");
            }
            print::answer(&reply)?;
            if matches!(command, Command::Start(_)) {
                eprintln!("everleaf: see how far it has come: everleaf ca roll status");
            }
            return Ok(ExitCode::SUCCESS);
        }
        withdraw(&calls).await;
        Err(anyhow!(
            "nobody answers the command: the CA of this cluster is not kept by a running `everleaf up`, and only that one can replace it. How \
             to do it by hand with another API server: docs/ca.md. Nothing is changed"
        ))
    })
}

async fn write(calls: &Calls, command: &Value) -> Result<()> {
    let what = format!("write the ConfigMap {ROLL_NAMESPACE}/{COMMAND_NAME}");
    let path = path_of(COMMAND_NAME);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": COMMAND_NAME, "namespace": ROLL_NAMESPACE},
        "data": {"command": command.to_string()},
    });
    let put = calls.object(&what, Method::PUT, &path, Some(object.clone()));
    if put.await?.is_none() {
        let all = path.rsplit_once('/').map_or("", |(all, _)| all);
        calls.object(&what, Method::POST, all, Some(object)).await?;
    }
    Ok(())
}

/// Nobody is to find the command later.
async fn withdraw(calls: &Calls) {
    let path = path_of(COMMAND_NAME);
    let gone = calls.object("take the command back", Method::DELETE, &path, None);
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

/// How far a roll has come, for people.
pub(super) fn words(status: &Value, now: Timestamp) -> String {
    let Some(roll) = Roll::of_json(&status["roll"]) else {
        return match status["reply"].as_str() {
            Some(reply) if !reply.is_empty() => format!(
                "no roll of the CA is under way; the last word was: {}",
                print::harmless_line(reply)
            ),
            _ => "no roll of the CA is under way".to_owned(),
        };
    };
    let count = |key: &str| status[key].as_u64();
    let age = now.duration_since(roll.since).as_secs().max(0);
    let age = everleaf_api::duration::human(age);
    let (from, to) = (&roll.from.subject, &roll.to.subject);
    let mut lines = vec![format!("roll from {from} to {to}")];
    lines.push(match roll.phase {
        Phase::Publish => {
            format!("phase 1 of 2, publish, for {age}: both are trusted, {from} signs")
        }
        Phase::Renew => format!("phase 2 of 2, renew, for {age}: both are trusted, {to} signs"),
    });
    if roll.is_paused {
        lines.push("paused: everleaf ca roll resume".to_owned());
    }
    let what = match roll.phase {
        Phase::Publish => "trust both",
        Phase::Renew => "use nothing of the old CA",
    };
    match count("all").zip(count("waitedFor")) {
        Some((all, left)) => lines.push(format!("{} of {all} {what}", all.saturating_sub(left))),
        None => lines.push("the fleet is being looked at".to_owned()),
    }
    if let Some(renewal) = roll.renewal {
        lines.push(format!(
            "agents renew until {:.0}, {} certificates a minute",
            renewal.until, roll.per_minute
        ));
    }
    for one in status["stragglers"].as_array().into_iter().flatten() {
        let word = |key: &str| print::harmless_line(one[key].as_str().unwrap_or_default());
        lines.push(format!("  {}  {}", word("who"), word("why")));
    }
    let named = status["stragglers"].as_array().map_or(0, Vec::len);
    if let Some(more) = count("waitedFor").and_then(|left| left.checked_sub(named as u64))
        && more > 0
    {
        lines.push(format!("  and {more} more"));
    }
    if status["isReady"] == true && !roll.may_finish {
        lines.push(format!(
            "nobody needs {from} any more. Copies of admin.conf that were made before end with it: hand out the new file, then: everleaf ca \
             roll finish"
        ));
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
}
