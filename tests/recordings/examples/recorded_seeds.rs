//! Writes the recorded requests, as they go to a server, as seeds for the fuzz targets:
//! `seeds DIRECTORY`, with a folder for each target. `fuzz/src/lib.rs` says how an input is laid
//! out.

#[path = "../tests/ours/mod.rs"]
mod ours;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use everleaf_api::patch::PatchType;
use everleaf_api::schema::Type;
use everleaf_api::types;
use everleaf_apiserver::registry::known;
use everleaf_apiserver::registry::reviews::REVIEWS;
use everleaf_recordings::{Player, Scenario, Subjects, data_dir, play};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use jiff::Timestamp;
use ours::Ours;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest seed; what is longer only slows the fuzzer down.
const SEED_BYTES_MAX: usize = 8192;
/// Applies with the force bit, by the second manager of the target.
const APPLIED: u8 = 1 | 4;
/// Updates, by the third.
const UPDATED: u8 = 2 | 8;

fn main() -> Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from);
    let mut writer = Writer::new(directory.context("usage: seeds DIRECTORY")?);
    let dir = data_dir();
    let subjects = Subjects::read(&dir)?;
    for scenario in Scenario::read_all(&dir)? {
        let mut spy = Spy {
            ours: Ours::new()?,
            seen: Vec::new(),
        };
        let _ = play(&scenario, &subjects, &dir, &mut spy)?;
        for request in &spy.seen {
            writer.request(request)?;
        }
        writer.sequences(&spy.seen)?;
    }
    for (number, r#type) in types::ALL.iter().enumerate() {
        let number = u8::try_from(number)?;
        let empty = r#type.decode_value(serde_json::json!({}))?.object;
        let parts: [&[u8]; 2] = [&[number], &r#type.encode_protobuf(&empty)];
        writer.write("protobuf", &parts)?;
    }
    Ok(())
}

/// A server that keeps what it is asked.
struct Spy {
    ours: Ours,
    seen: Vec<Request<Bytes>>,
}

impl Player for Spy {
    fn send(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        self.seen.push(request.clone());
        self.ours.send(request)
    }

    fn settle(&mut self) {
        self.ours.settle();
    }

    fn now(&self) -> Timestamp {
        self.ours.now()
    }
}

struct Writer {
    directory: PathBuf,
    /// How many seeds a target has.
    counts: BTreeMap<&'static str, usize>,
}

impl Writer {
    fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            counts: BTreeMap::new(),
        }
    }

    fn write(&mut self, target: &'static str, parts: &[&[u8]]) -> Result<()> {
        let seed = parts.concat();
        if seed.len() > SEED_BYTES_MAX {
            return Ok(());
        }
        let folder: &Path = &self.directory.join(target);
        fs::create_dir_all(folder)?;
        let count = self.counts.entry(target).or_default();
        *count += 1;
        Ok(fs::write(folder.join(format!("recorded-{count}")), seed)?)
    }

    /// What one request is a seed for.
    fn request(&mut self, request: &Request<Bytes>) -> Result<()> {
        if let Some(query) = request.uri().query() {
            let pairs: Vec<(&str, &str)> = query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .collect();
            let value = |name: &str| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map_or(String::new(), |(_, value)| decoded(value))
            };
            let (labels, fields) = (value("labelSelector"), value("fieldSelector"));
            if !labels.is_empty() || !fields.is_empty() {
                let text = format!("{labels}\n{fields}\n{{\"a\":\"b\"}}");
                self.write("selectors", &[text.as_bytes()])?;
            }
        }
        let Some((number, r#type)) = type_of(request) else {
            return Ok(());
        };
        let (body, number) = (request.body().as_ref(), [number]);
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.map_or("", |value| value.to_str().unwrap_or(""));
        if let Some(kind) = PatchType::of_content_type(content_type) {
            let kind = PatchType::ALL.iter().position(|other| *other == kind);
            let kind = [u8::try_from(kind.unwrap_or_default())?];
            return self.write("patches", &[&kind, &number, body]);
        }
        match content_type {
            "application/apply-patch+yaml" => {
                self.write("apply", &[&number, &[APPLIED], &on_a_line(body)])
            }
            "application/yaml" => self.write("yaml", &[&number, body]),
            "application/vnd.kubernetes.protobuf" => self.write("protobuf", &[&number, body]),
            _ if body.is_empty() => Ok(()),
            _ => {
                self.write("json", &[&number, body])?;
                self.write("yaml", &[&number, body])?;
                if let Ok(object) = r#type.decode_json(body) {
                    let wire = r#type.encode_protobuf(&object.object);
                    self.write("protobuf", &[&number, &wire])?;
                }
                let line = on_a_line(body);
                let (update, apply) = ([UPDATED], [b'\n', APPLIED]);
                self.write("apply", &[&number, &update, &line, &apply, &line])
            }
        }
    }

    /// Whole requests, three at a time.
    fn sequences(&mut self, seen: &[Request<Bytes>]) -> Result<()> {
        for some in seen.chunks(3) {
            let texts: Vec<Vec<u8>> = some.iter().map(text_of).collect();
            self.write("requests", &[&texts.join(&b"\n====\n"[..])])?;
        }
        Ok(())
    }
}

fn text_of(request: &Request<Bytes>) -> Vec<u8> {
    let mut text = format!("{} {}", request.method(), request.uri()).into_bytes();
    for (name, value) in request.headers() {
        if name != "authorization" {
            text.extend(format!("\n{name}: ").into_bytes());
            text.extend(value.as_bytes());
        }
    }
    text.extend(b"\n\n");
    text.extend(request.body());
    text
}

/// The type that a request to a resource is about, and its number.
fn type_of(request: &Request<Bytes>) -> Option<(u8, &'static Type)> {
    let parts: Vec<&str> = request.uri().path().split('/').collect();
    let is_meant = |resource: &str| parts.contains(&resource);
    let stored = known().filter(|descriptor| is_meant(descriptor.resource));
    let reviews = REVIEWS.iter().filter(|review| is_meant(review.resource));
    let all = stored.map(|descriptor| descriptor.r#type);
    let mut all: Vec<&Type> = all.chain(reviews.map(|review| review.r#type)).collect();
    // `namespaces` is in the paths of others, too.
    all.sort_by_key(|r#type| r#type.kind == "Namespace");
    let found = *all.first()?;
    let found = match *request.method() {
        Method::DELETE => &types::DELETE_OPTIONS,
        _ => found,
    };
    let number = types::ALL
        .iter()
        .position(|other| std::ptr::eq(*other, found))?;
    Some((u8::try_from(number).ok()?, found))
}

/// JSON without line breaks.
fn on_a_line(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(tree) => tree.to_string().into_bytes(),
        Err(_) => body.to_vec(),
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match byte {
            b'%' => {
                let (high, low) = (hex(bytes.next()), hex(bytes.next()));
                let value = high.unwrap_or_default() * 16 + low.unwrap_or_default();
                out.extend(u8::try_from(value));
            }
            b'+' => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
