//! Messages, with the members that are used (etcd: `api/etcdserverpb/rpc.proto`,
//! `api/mvccpb/kv.proto`).

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

/// In every answer.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Header {
    /// Revision of the whole store when it was answered.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// A key at one revision.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Revision of its creation.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of its last change.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Changes since its creation, itself included.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// Value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

/// Reads keys.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The first key that is not read; empty: the one key.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// At most so many; 0: all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// As of this revision; 0: now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// The number alone.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RangeResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// In the order of the keys.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// There are more than the limit.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// Writes a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PutRequest {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
    /// The lease with which it ends; 0: none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

/// Deletes a key.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteRangeRequest {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
}

/// One step of a transaction.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RequestOp {
    /// Which.
    #[prost(oneof = "Op", tags = "1, 2, 3")]
    pub request: Option<Op>,
}

/// The steps that there are.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Op {
    /// Read.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Write.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Delete.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

/// What a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// The number of changes since the creation.
    Version = 0,
    /// The revision of the creation.
    Create = 1,
    /// The revision of the last change.
    Mod = 2,
}

/// A condition: equality.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Compare {
    /// What.
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// Of which key.
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    /// With what.
    #[prost(oneof = "Union", tags = "4, 6")]
    pub union: Option<Union>,
}

/// What a condition compares with.
#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum Union {
    /// A number of changes.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// A revision of the last change; 0: there is no such key.
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

/// Conditions, and what is done if all hold, or else.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnRequest {
    /// Conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// If they hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// If not.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// What a transaction came to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TxnResponse {
    /// Its revision is that of the change, if there was one.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// The conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// An answer for each step.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// The answer to one step.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResponseOp {
    /// Of a read.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// Forgets history.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct CompactionRequest {
    /// Up to here.
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

/// History is forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct CompactionResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
}

/// To a watch.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchRequest {
    /// Which.
    #[prost(oneof = "WatchOp", tags = "1, 3")]
    pub request: Option<WatchOp>,
}

/// What can be said to a watch.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum WatchOp {
    /// Begin.
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
    /// Tell how far you are.
    #[prost(message, tag = "3")]
    Progress(WatchProgressRequest),
}

/// What is watched.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchCreateRequest {
    /// The first key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// The first key that is not watched.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    /// The first revision that is told.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Tell how far it is from time to time.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// Tell what was there before, too.
    #[prost(bool, tag = "6")]
    pub prev_kv: bool,
    /// A revision of many changes may come in parts.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

/// Asks how far a watch is.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct WatchProgressRequest {}

/// From a watch.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WatchResponse {
    /// Its revision is how far the watch is, if nothing else is in the answer.
    #[prost(message, optional, tag = "1")]
    pub header: Option<Header>,
    /// Which watch; -1 in an answer for all.
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    /// It begins.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// It ended.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// What it should have told is forgotten up to here.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it ended.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// The rest of the revision comes with the next one.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// Changes.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

/// A change.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Event {
    /// 0: written; 1: deleted.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// What it is now; of a delete, key and revision alone.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    /// What was there before.
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

/// Makes a lease.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LeaseGrantRequest {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
}

/// A lease.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaseGrantResponse {
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
}
