//! What a bootstrap token is, and until when.
//!
//! The rules of kubernetes 1.37 `staging/src/k8s.io/cluster-bootstrap/util/secrets` and
//! `pkg/controller/bootstrap/util.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt;
use zeroize::Zeroizing;

/// Type of the Secrets that hold tokens.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What their names begin with; the token's id follows.
const NAME_PREFIX: &str = "bootstrap-token-";
/// Characters of an id: small letters and digits.
const ID_LEN: usize = 6;

/// Until when a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// Until then.
    At(Timestamp),
    /// For ever.
    Never,
    /// Nobody can read it: not any more.
    Unreadable,
}

impl Expiration {
    /// Whether it is over.
    pub fn is_past(self, now: Timestamp) -> bool {
        match self {
            Self::At(end) => now >= end,
            Self::Never => false,
            Self::Unreadable => true,
        }
    }

    fn read(text: Option<&str>) -> Self {
        match text {
            None | Some("") => Self::Never,
            Some(text) => meta::parse_time(text).map_or(Self::Unreadable, Self::At),
        }
    }
}

/// A Secret that holds a bootstrap token, or should.
pub struct Token {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub resource_version: String,
    /// `token-id`
    pub id: String,
    /// `token-secret`
    pub secret: Zeroizing<String>,
    /// `expiration`
    pub expiration: Expiration,
    /// `usage-bootstrap-signing` is `true`.
    pub may_sign: bool,
}

impl Token {
    /// Reads a Secret; `None`: it is of another type.
    pub fn read(object: &Value) -> Option<Self> {
        if object["type"] != SECRET_TYPE {
            return None;
        }
        let data = |key: &str| {
            let text = object["data"][key].as_str()?;
            let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
            let text = std::str::from_utf8(&bytes).ok()?;
            Some(Zeroizing::new(text.to_owned()))
        };
        // What is no text is no date either.
        let has_expiration = object["data"]["expiration"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        let expiration = match data("expiration") {
            None if has_expiration => Expiration::Unreadable,
            text => Expiration::read(text.as_deref().map(String::as_str)),
        };
        Some(Self {
            name: meta::name(object).to_owned(),
            uid: meta::uid(object).to_owned(),
            resource_version: meta::resource_version(object).to_owned(),
            id: data("token-id").map_or_else(String::new, |id| id.to_string()),
            secret: data("token-secret").unwrap_or_default(),
            expiration,
            may_sign: data("usage-bootstrap-signing").is_some_and(|text| *text == "true"),
        })
    }

    /// Whether what this token signs may be believed now.
    pub fn is_valid_for_signing(&self, now: Timestamp) -> bool {
        let id = self.name.strip_prefix(NAME_PREFIX).unwrap_or_default();
        let is_id = id.len() == ID_LEN
            && id
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        is_id
            && id == self.id
            && !self.secret.is_empty()
            && self.may_sign
            && !self.expiration.is_past(now)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("expiration", &self.expiration)
            .field("may_sign", &self.may_sign)
            .finish_non_exhaustive()
    }
}
