//! Long answers are compressed for clients that take it
//! (`apiserver/pkg/endpoints/handlers/responsewriters`, `deferredResponseWriter`).

use super::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue, Response};
use std::io::Write as _;

/// Shortest answer that is compressed, in bytes.
pub(super) const LENGTH_MIN: usize = 128 * 1024;

/// Does the client take gzip?
pub(super) fn is_taken(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(ACCEPT_ENCODING).iter();
    let codings = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut codings = codings.map(|coding| coding.split_once(';').unwrap_or((coding, "")));
    codings.any(|(coding, quality)| {
        let is_refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        coding.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// All of it at once, for what is made once and sent often.
pub(super) fn whole(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written
        .expect("invariant: memory takes what is written")
        .into()
}

/// The answer to a request with these headers, compressed as it goes out if it is long.
pub(super) fn answer(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    if response.body().ready_bytes() < LENGTH_MIN || !is_taken(headers) {
        return response;
    }
    told(response.map(Body::gzipped))
}

/// With the headers of what is compressed.
pub(super) fn told(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Compresses piece by piece; upstream's level, the fastest.
pub(super) struct Encoder(Option<GzEncoder<Vec<u8>>>);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(Some(GzEncoder::new(Vec::new(), Compression::fast())))
    }

    /// What comes out for a piece, empty when it is kept for later; None after the end, which the
    /// first None brings.
    pub(super) fn next(&mut self, piece: Option<Bytes>) -> Option<Bytes> {
        let Some(piece) = piece else {
            let rest = self.0.take()?.finish();
            return Some(
                rest.expect("invariant: memory takes what is written")
                    .into(),
            );
        };
        let encoder = self.0.as_mut()?;
        encoder
            .write_all(&piece)
            .expect("invariant: memory takes what is written");
        Some(std::mem::take(encoder.get_mut()).into())
    }
}

/// Compresses a stream of events, each batch of those that are there at once as a whole: whoever
/// reads it has all that was sent, and between batches there is no state to keep
/// (`apiserver/pkg/endpoints/handlers/watch.go`, `perFlushGzipWriter`).
#[derive(Default)]
pub(super) struct Batches(Option<GzEncoder<Vec<u8>>>);

/// Bytes of a batch after which what is compressed of it goes out.
const BATCH_BYTES: usize = 64 * 1024;

impl Batches {
    /// Takes an event; what comes out, if it is worth to be sent.
    pub(super) fn push(&mut self, event: &[u8]) -> Option<Bytes> {
        let new = || GzEncoder::new(Vec::new(), Compression::fast());
        let encoder = self.0.get_or_insert_with(new);
        encoder
            .write_all(event)
            .expect("invariant: memory takes what is written");
        let out = encoder.get_mut();
        (out.len() >= BATCH_BYTES).then(|| std::mem::take(out).into())
    }

    /// Nothing more is there for now: the rest of the batch, if there is one.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        let mut encoder = self.0.take()?;
        // In a block before the last: Go's reader keeps what the last block has until it knows what
        // follows, and nothing may follow for an hour.
        let rest = encoder.flush().and_then(|()| encoder.finish());
        Some(
            rest.expect("invariant: memory takes what is written")
                .into(),
        )
    }
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_with_a_block_that_has_nothing() {
        let mut batches = Batches::default();
        assert_eq!(batches.finish(), None);
        for text in ["one", "another"] {
            assert_eq!(batches.push(text.as_bytes()), None);
            let batch = batches.finish().unwrap();
            let (data, trailer) = batch.split_at(batch.len() - 8);
            assert_eq!(trailer[4..], (text.len() as u32).to_le_bytes());
            assert!(data.ends_with(&[0, 0, 0xff, 0xff, 3, 0]), "{data:x?}");
        }
    }
}
