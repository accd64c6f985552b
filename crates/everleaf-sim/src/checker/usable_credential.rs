//! From its first certificate on, a node always holds a credential that the server accepts:
//! whole, with its key, and within its validity by the server's clock.

use everleaf_pki::Credential;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// Remembers who has had a credential.
#[derive(Debug, Default)]
pub struct UsableCredential {
    holders: BTreeSet<String>,
}

impl UsableCredential {
    /// Judges what `node` holds at `server_now`.
    pub fn judge(
        &mut self,
        node: &str,
        held: Option<&Credential>,
        server_now: Timestamp,
    ) -> Result<(), String> {
        let Some(credential) = held else {
            return if self.holders.contains(node) {
                Err(format!("{node} had a credential and holds none"))
            } else {
                Ok(())
            };
        };
        self.holders.insert(node.to_owned());
        let leaf = credential.leaf();
        if credential.key().public_key() != leaf.public_key() {
            return Err(format!("{node} holds a key that is not its leaf's"));
        }
        if server_now < leaf.not_before() || server_now > leaf.not_after() {
            return Err(format!(
                "{node} holds a leaf valid {} to {}, at {server_now}",
                leaf.not_before(),
                leaf.not_after()
            ));
        }
        Ok(())
    }

    /// How many nodes have had one.
    pub fn holders(&self) -> usize {
        self.holders.len()
    }
}
