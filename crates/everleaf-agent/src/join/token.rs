//! Bootstrap tokens as text (`staging/src/k8s.io/cluster-bootstrap/token/api/types.go`).

use crate::secret::Secret;

/// `id.secret`: six and sixteen small letters or digits. The id is public, it is part of a Secret's
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: Secret,
}

impl BootstrapToken {
    /// Characters of the public part.
    pub const ID_LENGTH: usize = 6;
    /// Characters of the secret part.
    pub const SECRET_LENGTH: usize = 16;

    /// Reads one; none when the text has another form.
    ///
    /// ```
    /// use everleaf_agent::join::BootstrapToken;
    ///
    /// let token = BootstrapToken::parse("abcdef.0123456789abcdef").unwrap();
    /// assert_eq!(token.id(), "abcdef");
    /// assert!(BootstrapToken::parse("abcdef").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let is_secret = secret.len() == Self::SECRET_LENGTH && has_its_letters(secret);
        (Self::is_id(id) && is_secret).then(|| Self {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
        })
    }

    /// Whether a text is the public part of one.
    pub fn is_id(text: &str) -> bool {
        text.len() == Self::ID_LENGTH && has_its_letters(text)
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Both, as they are sent.
    pub fn bearer(&self) -> Secret {
        Secret::new(format!("{}.{}", self.id, self.secret.expose()))
    }
}

fn has_its_letters(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}
