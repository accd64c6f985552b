//! Whole requests, one after another on one server: `METHOD PATH`, a header a line, an empty line,
//! a body; a line of `====` before the next. Any answer will do that is no defect.

#![no_main]

use bytes::Bytes;
use everleaf_fuzz::World;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;

const REQUESTS_MAX: usize = 6;
const BREAK: &[u8] = b"\n====\n";

fuzz_target!(|data: &[u8]| {
    let world = World::default();
    let mut rest = data;
    for _ in 0..REQUESTS_MAX {
        let end = find(rest, BREAK);
        let one = &rest[..end.unwrap_or(rest.len())];
        if let Some(request) = request(one) {
            world.send(request);
        }
        let Some(end) = end else {
            return;
        };
        rest = &rest[end + BREAK.len()..];
    }
});

fn request(text: &[u8]) -> Option<Request<Bytes>> {
    let (head, body) = match find(text, b"\n\n") {
        Some(end) => (&text[..end], &text[end + 2..]),
        None => (text, &[][..]),
    };
    let mut lines = head.split(|&byte| byte == b'\n');
    let line = lines.next()?;
    let space = line.iter().position(|&byte| byte == b' ')?;
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = Method::from_bytes(&line[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&line[space + 1..]).ok()?;
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|at| at == pattern)
}
