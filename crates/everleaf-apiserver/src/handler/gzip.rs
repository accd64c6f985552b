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
    let mut response = response.map(Body::gzipped);
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

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}
