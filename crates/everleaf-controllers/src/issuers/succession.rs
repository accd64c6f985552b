//! What becomes of what an issuer signed when another takes its place.

use everleaf_pki::Leaf;

/// How a CA certificate relates to the one in whose place it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Succession {
    /// Another CA, or the first: what the old one signed needs the old one to be trusted.
    Other,
    /// The same CA, name and key, with new dates: what it signed stays good below either.
    Renewed,
}

/// Refuses a successor that clients would confuse with the CA before. Of two trusted CAs with one
/// name, OpenSSL tries the first and GnuTLS the last one, so no order of a trust bundle suits both
/// for certificates that do not name their issuer by key, and such are about.
pub(super) fn judge(old: &Leaf, new: &Leaf) -> Result<Succession, String> {
    let same_name = old.subject_der() == new.subject_der();
    let same_key = old.public_key() == new.public_key();
    let subject = new.subject_text();
    if same_name && !same_key {
        return Err(format!(
            "the new CA has the name of the old one, {subject}, and another key: clients that trust both take the \
             wrong one; give the new CA a name of its own (or, if that cannot be, restart this process to use it \
             all the same)"
        ));
    }
    if same_name && old.subject_key_id() != new.subject_key_id() {
        return Err(format!(
            "the certificate of {subject} was renewed with its key, but with another subject key identifier: clients \
             would refuse what it signed before; copy the identifier of the old certificate (docs/ca.md has the command)"
        ));
    }
    match same_name {
        true => Ok(Succession::Renewed),
        false => Ok(Succession::Other),
    }
}
