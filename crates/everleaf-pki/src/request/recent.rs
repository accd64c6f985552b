//! What was verified a moment ago is not verified again.

use super::{RequestError, VerifiedRequest};
use crate::key::MlDsa;
use aws_lc_rs::digest::{self, SHA256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that are remembered: more than a process works on at once, but for a storm.
const REQUESTS_MAX: usize = 256;
/// Longest text of one that is remembered, in bytes: what a node asks for has a tenth of that, and
/// what names a thousand hosts is some fifty times as large once it is read. Key and signature of
/// ML-DSA, which are no larger once they are read, come on top.
const TEXT_BYTES_MAX: usize = 4096;

/// Requests that this process has verified lately, for all in it that look at the same ones: the
/// signature of each is checked once. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct RecentRequests(Arc<Mutex<Recent>>);

/// SHA-256 of a request's PEM text.
type Digest = [u8; 32];

#[derive(Debug, Default)]
struct Recent {
    by_digest: BTreeMap<Digest, VerifiedRequest>,
    /// Oldest first.
    order: VecDeque<Digest>,
}

impl RecentRequests {
    /// As [`VerifiedRequest::from_pem`].
    ///
    /// # Errors
    /// As there; what was refused is looked at again each time.
    pub fn from_pem(&self, text: &[u8]) -> Result<VerifiedRequest, RequestError> {
        if text.len() > TEXT_BYTES_MAX + MlDsa::MlDsa87.pem_bytes() {
            return VerifiedRequest::from_pem(text);
        }
        let mut key = Digest::default();
        key.copy_from_slice(digest::digest(&SHA256, text).as_ref());
        if let Some(known) = self.with(|recent| recent.by_digest.get(&key).cloned()) {
            return Ok(known);
        }
        let request = VerifiedRequest::from_pem(text)?;
        if text.len() <= TEXT_BYTES_MAX + request.public_key().pem_bytes_more() {
            self.with(|recent| recent.keep(key, request.clone()));
        }
        Ok(request)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Recent) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recent {
    fn keep(&mut self, key: Digest, request: VerifiedRequest) {
        if self.by_digest.insert(key, request).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REQUESTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_digest.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyAlgorithm, PrivateKey, Subject, Template};

    fn pem(key: &PrivateKey, node: &str) -> String {
        let template = Template {
            subject: Subject::node(node),
            ..Template::default()
        };
        template.to_request_pem(key).unwrap()
    }

    #[test]
    fn the_same_text_is_verified_once_and_no_other_is_taken_for_it() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let (first, second) = (pem(&key, "n1"), pem(&key, "n2"));
        let recent = RecentRequests::default();
        let verified = recent.from_pem(first.as_bytes()).unwrap();
        let again = recent.clone().from_pem(first.as_bytes()).unwrap();
        assert!(Arc::ptr_eq(&verified.parts, &again.parts));
        let other = recent.from_pem(second.as_bytes()).unwrap();
        assert_eq!(other.subject().common_name, "system:node:n2");
        // One letter of the signature is another one.
        let end = first.find("-----END").unwrap() - 10;
        let changed = if &first[end..=end] == "A" { "B" } else { "A" };
        let damaged = format!("{}{changed}{}", &first[..end], &first[end + 1..]);
        for _ in 0..2 {
            assert!(recent.from_pem(damaged.as_bytes()).is_err());
        }
    }

    #[test]
    fn it_stays_small() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let text = pem(&key, "n1");
        let recent = RecentRequests::default();
        let first = recent.from_pem(text.as_bytes()).unwrap();
        for number in 0..REQUESTS_MAX {
            // What comes before the block is no part of the request.
            recent
                .from_pem(format!("{number}\n{text}").as_bytes())
                .unwrap();
        }
        recent.with(|recent| {
            assert_eq!(recent.by_digest.len(), REQUESTS_MAX);
            assert_eq!(recent.order.len(), REQUESTS_MAX);
        });
        let again = recent.from_pem(text.as_bytes()).unwrap();
        assert!(!Arc::ptr_eq(&first.parts, &again.parts));
        // A long text is read each time, and not kept.
        let long = format!("{}\n{text}", "x".repeat(TEXT_BYTES_MAX));
        let long = || recent.from_pem(long.as_bytes()).unwrap();
        assert!(!Arc::ptr_eq(&long().parts, &long().parts));
    }
}
