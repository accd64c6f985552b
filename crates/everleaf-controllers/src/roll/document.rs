//! Rolls and commands as JSON: on disk, and in the ConfigMap by which people and a roll speak.

use super::{Authority, Command, Ended, Phase, Roll, Start};
use everleaf_api::authorities::Renewal;
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(meta::parse_time)
}

fn names(value: &Value) -> BTreeSet<String> {
    let names = value.as_array().into_iter().flatten();
    names
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

impl Authority {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({"subject": self.subject, "pin": self.pin, "keyId": self.key_id})
    }

    fn of_json(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        Some(Self {
            subject: text("subject")?,
            pin: text("pin")?,
            key_id: text("keyId")?,
        })
    }
}

impl Roll {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        let mut document = json!({
            "from": self.from.to_json(),
            "to": self.to.to_json(),
            "phase": self.phase.as_str(),
            "epoch": self.epoch,
            "since": meta::format_time(self.since),
            "paused": self.is_paused,
            "mayFinish": self.may_finish,
            "perMinute": self.per_minute,
            "assumed": self.assumed,
        });
        if let Some(renewal) = self.renewal {
            document["renewFrom"] = meta::format_time(renewal.from).into();
            document["renewUntil"] = meta::format_time(renewal.until).into();
        }
        document
    }

    /// From JSON; none when it is no roll's.
    pub fn of_json(value: &Value) -> Option<Self> {
        let phase = match value["phase"].as_str()? {
            "publish" => Phase::Publish,
            "renew" => Phase::Renew,
            _ => return None,
        };
        let renewal = time(&value["renewFrom"]).zip(time(&value["renewUntil"]));
        Some(Self {
            from: Authority::of_json(&value["from"])?,
            to: Authority::of_json(&value["to"])?,
            phase,
            epoch: value["epoch"].as_i64()?,
            since: time(&value["since"])?,
            is_paused: value["paused"].as_bool()?,
            may_finish: value["mayFinish"].as_bool()?,
            per_minute: u32::try_from(value["perMinute"].as_u64()?).ok()?,
            renewal: renewal.map(|(from, until)| Renewal { from, until }),
            assumed: names(&value["assumed"]),
        })
    }
}

impl Ended {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "at": meta::format_time(self.at),
            "stays": self.stays.to_json(),
            "dropped": self.dropped.to_json(),
        })
    }

    /// From JSON; none when it is none.
    pub fn of_json(value: &Value) -> Option<Self> {
        Some(Self {
            at: time(&value["at"])?,
            stays: Authority::of_json(&value["stays"])?,
            dropped: Authority::of_json(&value["dropped"])?,
        })
    }
}

impl Command {
    /// As JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Start(start) => json!({
                "verb": "start", "perMinute": start.per_minute, "mayFinish": start.may_finish,
            }),
            Self::Pause => json!({"verb": "pause"}),
            Self::Resume => json!({"verb": "resume"}),
            Self::Back => json!({"verb": "back"}),
            Self::Finish => json!({"verb": "finish"}),
            Self::Assume(names) => json!({"verb": "assume", "names": names}),
        }
    }

    /// From JSON; none when it is no command.
    pub fn of_json(value: &Value) -> Option<Self> {
        Some(match value["verb"].as_str()? {
            "start" => Self::Start(Start {
                per_minute: u32::try_from(value["perMinute"].as_u64()?).ok()?,
                may_finish: value["mayFinish"].as_bool()?,
            }),
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "back" => Self::Back,
            "finish" => Self::Finish,
            "assume" => Self::Assume(names(&value["names"])),
            _ => return None,
        })
    }
}
