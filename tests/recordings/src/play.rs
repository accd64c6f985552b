//! Plays a scenario: resolves each request, sends it, keeps what came back.

use crate::answers::Answer;
use crate::merge::{Known, fixtures, merge};
use crate::message;
use crate::normal::{self, Raw};
use crate::scenario::{Ask, Scenario, Subjects};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use jiff::Timestamp;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Path of the PEM file with the client certificate and its key that a request's connection is made
/// with: an extension of the request.
#[derive(Debug, Clone)]
pub struct ClientCertificate(pub PathBuf);

/// A server to play against.
pub trait Player {
    /// Sends one request, over a connection with its [`ClientCertificate`] if it has one, and reads
    /// the answer to its end; a watch ends by its own timeout.
    fn send(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>>;
    /// Waits until what was written has reached everything in the server that looks at it.
    fn settle(&mut self);
    /// The server's time.
    fn now(&self) -> Timestamp;
}

/// Answers by request, or why a request could not be made (what it refers to never came).
pub type Answers = BTreeMap<String, Result<Answer, String>>;

/// Plays a scenario from its first request to its last.
pub fn play(
    scenario: &Scenario,
    subjects: &Subjects,
    dir: &Path,
    player: &mut dyn Player,
) -> Result<Answers> {
    let mut known = Known {
        lets: &scenario.lets,
        answers: BTreeMap::new(),
        dir: dir.to_owned(),
        start: Timestamp::from_second(player.now().as_second())?,
        dated: RefCell::default(),
    };
    let mut raws = Vec::new();
    let mut failed = Answers::new();
    for ask in &scenario.asks {
        let request = match request(ask, subjects, &known) {
            Ok(request) => request,
            Err(error) => {
                failed.insert(ask.id.clone(), Err(format!("{error:#}")));
                continue;
            }
        };
        if ask.settle {
            player.settle();
        }
        let response = player
            .send(request)
            .with_context(|| format!("{} {}", scenario.name, ask.id))?;
        let raw = read(ask, response);
        known.answers.insert(ask.id.clone(), raw.body.clone());
        raws.push(raw);
    }
    let mut sent = fixtures(dir)?;
    sent.append(&mut known.dated.borrow_mut());
    let mut answers: Answers = normal::normalise(raws, sent, player.now())
        .into_iter()
        .map(|(id, answer)| (id, Ok(answer)))
        .collect();
    answers.append(&mut failed);
    Ok(answers)
}

/// The request as it is sent.
fn request(ask: &Ask, subjects: &Subjects, known: &Known<'_>) -> Result<Request<Bytes>> {
    let mut builder = Request::builder()
        .method(ask.method.as_str())
        .uri(known.text(&ask.path)?);
    let subject = subjects.find(&ask.subject)?;
    for (name, value) in &subject.headers {
        builder = builder.header(name, value);
    }
    if let Some(name) = &subject.certificate {
        let path = known.dir.join("clients").join(format!("{name}.pem"));
        builder = builder.extension(ClientCertificate(path));
    }
    for (name, value) in &ask.headers {
        builder = builder.header(name, known.text(value)?);
    }
    let body = match &ask.body {
        None => Bytes::new(),
        Some(body) => {
            let mut body = known.resolve(body)?;
            if let Some(patch) = &ask.merge {
                merge(&mut body, &known.resolve(patch)?);
            }
            match body {
                _ if ask.protobuf => message::encode_document(&body)?.into(),
                Value::String(text) => text.into(),
                tree => tree.to_string().into(),
            }
        }
    };
    Ok(builder.body(body)?)
}

/// The answer with its body read by its content type.
fn read<'a>(ask: &'a Ask, response: Response<Bytes>) -> Raw<'a> {
    let (parts, bytes) = response.into_parts();
    let kind = header(&parts.headers, "content-type");
    Raw {
        id: &ask.id,
        reading: &ask.reading,
        status: parts.status.as_u16(),
        body: if ask.reading.no_body {
            Value::Null
        } else {
            read_body(&kind, &bytes)
        },
        headers: parts.headers,
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn read_body(kind: &str, bytes: &[u8]) -> Value {
    let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
    if kind.starts_with("application/vnd.kubernetes.protobuf") {
        return if kind.contains("stream=watch") {
            message::decode_watch(bytes)
        } else {
            message::decode_document(bytes)
        };
    }
    if kind.starts_with("application/json") {
        let lines: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(bytes)
            .into_iter()
            .collect();
        return match lines {
            Ok(mut values) if values.len() == 1 && !is_event(&values[0]) => values.remove(0),
            Ok(values) => Value::Array(values),
            Err(_) => text(),
        };
    }
    if kind.starts_with("application/yaml") {
        return serde_saphyr::from_str(&String::from_utf8_lossy(bytes)).unwrap_or_else(|_| text());
    }
    text()
}

fn is_event(value: &Value) -> bool {
    value["type"].is_string() && value["object"].is_object()
}
