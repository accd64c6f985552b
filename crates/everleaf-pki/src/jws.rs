//! Detached signatures with a shared secret: JSON Web Signature (RFC 7515), algorithm HS256.
//!
//! What `staging/src/k8s.io/cluster-bootstrap/token/jws` makes with a bootstrap token, so that
//! whoever wants to join can tell that the cluster's kubeconfig comes from somebody who knows it.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Signs `content`; the signature does not hold it (RFC 7515 appendix F). `key_id` goes into the
/// header as it is: letters and digits.
#[must_use]
pub fn detached(key_id: &str, secret: &[u8], content: &[u8]) -> String {
    let header = format!(r#"{{"alg":"HS256","kid":"{key_id}"}}"#);
    let header = URL_SAFE_NO_PAD.encode(header);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()));
    format!("{header}..{mac}")
}

/// Whether `signature` is what [`detached`] makes of the same: the form and the header have to be
/// these, the code is compared in constant time.
///
/// ```
/// use everleaf_pki::jws;
///
/// let signature = jws::detached("abcdef", b"secret", b"content");
/// assert!(jws::is_signed("abcdef", b"secret", b"content", &signature));
/// assert!(!jws::is_signed("abcdef", b"secret", b"another", &signature));
/// ```
#[must_use]
pub fn is_signed(key_id: &str, secret: &[u8], content: &[u8], signature: &str) -> bool {
    let wanted = detached(key_id, secret, content);
    constant_time::verify_slices_are_equal(wanted.as_bytes(), signature.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `staging/src/k8s.io/cluster-bootstrap/token/jws/jws_test.go`.
    #[test]
    fn upstreams_signatures() {
        const HEADER: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9";
        const SECRET: &str = "my voice is my passcode";
        const CONTENT: &str = "Hello from the other side. I must have called a thousand times.";
        for (case, secret, content, mac) in [
            (
                "103",
                SECRET,
                CONTENT,
                "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8",
            ),
            (
                "104: no content",
                SECRET,
                "",
                "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk",
            ),
            (
                "105: no secret",
                "",
                CONTENT,
                "UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8",
            ),
        ] {
            let signature = detached("joshua", secret.as_bytes(), content.as_bytes());
            assert_eq!(signature, format!("{HEADER}..{mac}"), "{case}");
        }
    }
}
