//! A record in as few bytes as it takes: one allocation, without what can be told from the name.
//!
//! What is kept of a hundred thousand closed requests is most of what controllers keep. The form is
//! this process's own and lives in its memory alone.

use super::{Certificate, LeafFacts, Mark, Record};
use crate::builtin::BuiltinSigner;
use crate::serving::NODE_PREFIX;
use jiff::Timestamp;
use std::sync::Arc;

/// See the module documentation. Clones share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

impl Packed {
    /// Packs a record; its name is left to whoever keeps it.
    pub fn of(record: &Record) -> Self {
        let mut out = Writer {
            name: &record.name,
            bytes: Vec::with_capacity(256),
        };
        out.text(&record.uid);
        out.bytes.push(u8::from(record.has_conditions));
        for mark in [record.approved, record.denied, record.failed] {
            match mark {
                Mark::Absent => out.bytes.push(0),
                Mark::At(None) => out.bytes.push(1),
                Mark::At(Some(at)) => {
                    out.bytes.push(2);
                    out.time(at);
                }
            }
        }
        out.bytes.push(u8::from(record.created.is_some()));
        if let Some(created) = record.created {
            out.time(created);
        }
        out.text(&record.resource_version);
        out.text(&record.signer_name);
        out.text(&record.username);
        match &record.certificate {
            Certificate::Absent => out.bytes.push(0),
            Certificate::Unreadable(why) => {
                out.bytes.push(1);
                out.text(why);
            }
            Certificate::Present(leaf) => {
                out.bytes.push(2);
                out.text(&leaf.common_name);
                out.text(&leaf.fingerprint);
                out.text(&leaf.serial);
                out.time(leaf.not_before);
                out.time(leaf.not_after);
            }
        }
        Self(out.bytes.into())
    }

    /// The record of the request with this name.
    pub fn record(&self, name: &str) -> Record {
        let mut bytes = self.reader(name);
        let uid = bytes.text();
        let has_conditions = bytes.byte() == 1;
        let [approved, denied, failed] = std::array::from_fn(|_| match bytes.byte() {
            0 => Mark::Absent,
            1 => Mark::At(None),
            _ => Mark::At(Some(bytes.time())),
        });
        let created = (bytes.byte() == 1).then(|| bytes.time());
        Record {
            approved,
            created,
            denied,
            failed,
            has_conditions,
            name: name.to_owned(),
            resource_version: bytes.text(),
            signer_name: bytes.text(),
            uid,
            username: bytes.text(),
            certificate: match bytes.byte() {
                0 => Certificate::Absent,
                1 => Certificate::Unreadable(bytes.text()),
                _ => Certificate::Present(LeafFacts {
                    common_name: bytes.text(),
                    fingerprint: bytes.text(),
                    serial: bytes.text(),
                    not_before: bytes.time(),
                    not_after: bytes.time(),
                }),
            },
        }
    }

    /// The uid of the request with this name.
    pub fn uid(&self, name: &str) -> String {
        self.reader(name).text()
    }

    fn reader<'a>(&'a self, name: &'a str) -> Reader<'a> {
        Reader {
            name,
            bytes: &self.0,
        }
    }
}

/// How a text is kept: as it is, …
const PLAIN: u8 = 0;
/// … as the bytes whose lower or upper hex it is, …
const LOWER_HEX: u8 = 1;
const UPPER_HEX: u8 = 2;
/// … as the 16 bytes of a UUID (RFC 9562), …
const UUID: u8 = 3;
/// … as the name of a signer, by its place among them, …
const SIGNER: u8 = 4;
/// … or as what a node with the request's name is called.
const NODE: u8 = 5;
/// Where a UUID has its hyphens, counted in bytes before each.
const UUID_GROUPS: [usize; 5] = [4, 2, 2, 2, 6];

struct Writer<'a> {
    name: &'a str,
    bytes: Vec<u8>,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        let signer = BuiltinSigner::ALL
            .iter()
            .position(|signer| signer.name() == text);
        if text.strip_prefix(NODE_PREFIX) == Some(self.name) && !self.name.is_empty() {
            self.bytes.push(NODE);
        } else if let Some(place) = signer {
            self.bytes.extend([SIGNER, place as u8]);
        } else if let Some(uuid) = un_uuid(text) {
            self.bytes.push(UUID);
            self.bytes.extend(uuid);
        } else if let Some(bytes) = un_hex(text, false) {
            self.sized(LOWER_HEX, &bytes);
        } else if let Some(bytes) = un_hex(text, true) {
            self.sized(UPPER_HEX, &bytes);
        } else {
            self.sized(PLAIN, text.as_bytes());
        }
    }

    fn sized(&mut self, form: u8, bytes: &[u8]) {
        self.bytes.push(form);
        let mut left = bytes.len();
        while left >= 0x80 {
            self.bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.bytes.push(left as u8);
        self.bytes.extend_from_slice(bytes);
    }

    fn time(&mut self, time: Timestamp) {
        self.bytes.extend(time.as_second().to_le_bytes());
        self.bytes.extend(time.subsec_nanosecond().to_le_bytes());
    }
}

/// What [`Writer`] wrote.
struct Reader<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N));
        array
    }

    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn text(&mut self) -> String {
        match self.byte() {
            NODE => format!("{NODE_PREFIX}{}", self.name),
            SIGNER => {
                let place = usize::from(self.byte());
                BuiltinSigner::ALL[place].name().to_owned()
            }
            UUID => uuid(self.array()),
            form => {
                let bytes = self.sized();
                match form {
                    LOWER_HEX => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                    UPPER_HEX => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
                    _ => String::from_utf8_lossy(bytes).into_owned(),
                }
            }
        }
    }

    fn sized(&mut self) -> &[u8] {
        let (mut count, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            count |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.take(count);
            }
            shift += 7;
        }
    }

    fn time(&mut self) -> Timestamp {
        let seconds = i64::from_le_bytes(self.array());
        let nanoseconds = i32::from_le_bytes(self.array());
        Timestamp::new(seconds, nanoseconds).expect("invariant: it was one")
    }
}

/// The bytes whose hex this is, in one case throughout.
fn un_hex(text: &str, is_upper: bool) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' if !is_upper => Some(byte - b'a' + 10),
        b'A'..=b'F' if is_upper => Some(byte - b'A' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn un_uuid(text: &str) -> Option<[u8; 16]> {
    let bytes: [u8; 16] = un_hex(&text.replace('-', ""), false)?.try_into().ok()?;
    (uuid(bytes) == text).then_some(bytes)
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut rest = bytes.as_slice();
    let groups = UUID_GROUPS.map(|count| {
        let (group, after) = rest.split_at(count);
        rest = after;
        group
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("kubernetes.io/kubelet-serving".to_owned()),
            Just("system:node:n1".to_owned()),
            Just("system:node:".to_owned()),
            Just("a3b8df84-722d-4ac2-8eb5-ef3573e60da1".to_owned()),
            Just("a3b8df84722d4ac28eb5ef3573e60da1".to_owned()),
            Just("a3b8df84-722d4ac2-8eb5-ef3573e60da1-".to_owned()),
            "[0-9a-f]{0,70}",
            "[0-9A-F]{0,300}",
            ".{0,40}",
        ]
    }

    fn time() -> impl Strategy<Value = Timestamp> {
        (-4_000_000_000..200_000_000_000_i64, 0..1_000_000_000_i32)
            .prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap())
    }

    fn mark() -> impl Strategy<Value = Mark> {
        prop_oneof![
            Just(Mark::Absent),
            Just(Mark::At(None)),
            time().prop_map(|at| Mark::At(Some(at))),
        ]
    }

    fn certificate() -> impl Strategy<Value = Certificate> {
        let leaf = (text(), text(), text(), time(), time());
        let present = leaf.prop_map(
            |(common_name, fingerprint, serial, not_before, not_after)| {
                Certificate::Present(LeafFacts {
                    common_name,
                    fingerprint,
                    not_after,
                    not_before,
                    serial,
                })
            },
        );
        prop_oneof![
            Just(Certificate::Absent),
            text().prop_map(Certificate::Unreadable),
            present,
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        let texts = proptest::array::uniform4(text());
        let marks = proptest::array::uniform3(mark());
        let name = prop_oneof![Just("n1".to_owned()), Just(String::new()), ".{0,20}"];
        let created = proptest::option::of(time());
        (texts, marks, name, created, certificate(), any::<bool>()).prop_map(
            |(texts, marks, name, created, certificate, has_conditions)| {
                let [resource_version, signer_name, uid, username] = texts;
                let [approved, denied, failed] = marks;
                Record {
                    approved,
                    certificate,
                    created,
                    denied,
                    failed,
                    has_conditions,
                    name,
                    resource_version,
                    signer_name,
                    uid,
                    username,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(record in record()) {
            let packed = Packed::of(&record);
            prop_assert_eq!(packed.uid(&record.name), record.uid.clone());
            prop_assert_eq!(packed.record(&record.name), record);
        }
    }

    #[test]
    fn an_issued_request_of_a_node_takes_little() {
        let now = Timestamp::UNIX_EPOCH;
        let record = Record {
            approved: Mark::At(Some(now)),
            certificate: Certificate::Present(LeafFacts {
                common_name: "system:node:n1".to_owned(),
                fingerprint: "ab".repeat(32),
                not_after: now,
                not_before: now,
                serial: "68D3AD026B8A8DECF1DF4455899EBE74".to_owned(),
            }),
            created: Some(now),
            name: "n1".to_owned(),
            resource_version: "1234567".to_owned(),
            signer_name: BuiltinSigner::KubeApiserverClientKubelet.name().to_owned(),
            uid: "a3b8df84-722d-4ac2-8eb5-ef3573e60da1".to_owned(),
            username: "system:bootstrap:abcdef".to_owned(),
            ..Record::default()
        };
        assert_eq!(Packed::of(&record).0.len(), 160);
    }
}
