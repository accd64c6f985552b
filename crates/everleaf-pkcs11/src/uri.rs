//! `pkcs11:` URIs (RFC 7512): which key, in which token, through which module.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::path::{Path, PathBuf};

/// A URI names too much, too little, or a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PKCS#11 URI cannot be used: {0}")]
pub struct UriError(String);

/// Which token, through which module, with the PIN of which file. `Display` is the URI, which holds
/// no PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    module_path: PathBuf,
    pin_source: Option<PathBuf>,
    which: Which,
    object: Option<String>,
}

/// What a URI says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Which {
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot_id: Option<u64>,
}

/// Where a key is. `Display` is the URI, which holds no PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUri {
    token: TokenUri,
    id: Option<Vec<u8>>,
}

impl KeyUri {
    /// Whether a text means to be one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads the URI of a private key.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead. A PIN in it is not repeated.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let uri = Self::read(text)?;
        if uri.object().is_none() && uri.id.is_none() {
            return fail("it does not say which key: object=LABEL or id=%01");
        }
        Ok(uri)
    }

    fn read(text: &str) -> Result<Self, UriError> {
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return fail("it does not begin with pkcs11:");
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (module_path, pin_source) = read_query(query)?;
        let mut which = Which::default();
        let (mut object, mut id) = (None, None);
        for (name, value) in attributes(path, ';')? {
            if name == "id" {
                id = Some(value);
                continue;
            }
            let value = text_of(name, &value)?;
            match name {
                "token" => which.token = Some(value),
                "manufacturer" => which.manufacturer = Some(value),
                "model" => which.model = Some(value),
                "serial" => which.serial = Some(value),
                "object" => object = Some(value),
                "slot-id" => {
                    let number = value.parse();
                    which.slot_id =
                        Some(number.map_err(|_| UriError("slot-id is not a number".to_owned()))?);
                }
                "type" if value == "private" => {}
                "type" => return fail("type is not private, and one signs with a private key"),
                other => return Err(unknown(other)),
            }
        }
        Ok(Self {
            token: TokenUri {
                text: text.to_owned(),
                module_path,
                pin_source,
                which,
                object,
            },
            id,
        })
    }

    /// The token that it is in.
    pub fn token(&self) -> &TokenUri {
        &self.token
    }

    /// The key's label.
    pub fn object(&self) -> Option<&str> {
        self.token.object.as_deref()
    }

    /// The key's identifier.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }
}

impl TokenUri {
    /// Reads the URI of a token in which keys are to be made. `object` may stand in it: what their
    /// labels begin with.
    ///
    /// # Errors
    /// As [`KeyUri::parse`], and when it names one key by `id`.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let uri = KeyUri::read(text)?;
        if uri.id.is_some() {
            return fail("id names one key, and keys are made in the token: leave it out");
        }
        Ok(uri.token)
    }

    /// The library.
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// The file of the PIN.
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }

    /// What the labels of its keys begin with.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// Whether both say the same of which token is meant.
    pub(crate) fn means_token_of(&self, other: &Self) -> bool {
        self.which == other.which
    }

    /// The URI of one of its keys.
    pub(crate) fn key(&self, label: &str, id: &[u8]) -> KeyUri {
        let rest = self.text.strip_prefix(SCHEME).unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let of_token = |part: &&str| {
            !part.is_empty() && !part.starts_with("object=") && !part.starts_with("type=")
        };
        let mut parts: Vec<String> = path
            .split(';')
            .filter(of_token)
            .map(str::to_owned)
            .collect();
        let label_text = utf8_percent_encode(label, RESERVED);
        let id_text: String = id.iter().map(|byte| format!("%{byte:02X}")).collect();
        parts.push(format!("object={label_text}"));
        parts.push(format!("id={id_text}"));
        parts.push("type=private".to_owned());
        KeyUri {
            token: Self {
                text: format!("{SCHEME}{}?{query}", parts.join(";")),
                object: Some(label.to_owned()),
                ..self.clone()
            },
            id: Some(id.to_vec()),
        }
    }

    /// Whether a token is the one that is meant.
    pub(crate) fn fits(
        &self,
        label: &str,
        manufacturer: &str,
        model: &str,
        serial: &str,
        slot: u64,
    ) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted == found.trim_end())
        };
        let which = &self.which;
        fits(&which.token, label)
            && fits(&which.manufacturer, manufacturer)
            && fits(&which.model, model)
            && fits(&which.serial, serial)
            && which.slot_id.is_none_or(|wanted| wanted == slot)
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token.fmt(f)
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn fail<T>(reason: &str) -> Result<T, UriError> {
    Err(UriError(reason.to_owned()))
}

/// The module and the file of the PIN.
fn read_query(query: &str) -> Result<(PathBuf, Option<PathBuf>), UriError> {
    let (mut module_path, mut pin_source) = (PathBuf::new(), None);
    for (name, value) in attributes(query, '&')? {
        let value = text_of(name, &value)?;
        match name {
            "module-path" => module_path = PathBuf::from(value),
            "pin-source" => pin_source = Some(pin_file(&value)?),
            "pin-value" => {
                return fail(
                    "pin-value would show the PIN to everybody who lists processes: put it into a file, and name \
                     that with pin-source=file:/path",
                );
            }
            "module-name" => {
                return fail(
                    "module-name is not supported: give the library's path with module-path",
                );
            }
            other => return Err(unknown(other)),
        }
    }
    if !module_path.is_absolute() {
        return fail(
            "it needs the absolute path of the token's library: ?module-path=/usr/lib/….so",
        );
    }
    Ok((module_path, pin_source))
}

/// What RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const SCHEME: &str = "pkcs11:";

/// Names and decoded values; each name once.
fn attributes(text: &str, between: char) -> Result<Vec<(&str, Vec<u8>)>, UriError> {
    let mut found: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in text.split(between).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(UriError("a part of it is not NAME=VALUE".to_owned()));
        };
        if found.iter().any(|(known, _)| *known == name) {
            return Err(UriError(format!("{name} stands in it twice")));
        }
        found.push((name, percent_decode_str(value).collect()));
    }
    Ok(found)
}

fn text_of(name: &str, value: &[u8]) -> Result<String, UriError> {
    match std::str::from_utf8(value) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(UriError(format!("{name} is not UTF-8"))),
    }
}

/// `file:/path`, `file:///path`, or a path alone.
fn pin_file(value: &str) -> Result<PathBuf, UriError> {
    let path = value.strip_prefix("file:").unwrap_or(value);
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') {
        return Err(UriError(
            "pin-source is not the absolute path of a file: pin-source=file:/path".to_owned(),
        ));
    }
    Ok(PathBuf::from(path))
}

fn unknown(name: &str) -> UriError {
    UriError(format!("the attribute {name} is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_key_token_and_module() {
        let text = "pkcs11:token=My%20CA;object=ca;id=%01%ff;type=private?module-path=/lib/p11.so&pin-source=file:/run/pin";
        let uri = KeyUri::parse(text).unwrap();
        assert_eq!(uri.to_string(), text);
        assert_eq!(uri.token().module_path(), Path::new("/lib/p11.so"));
        assert_eq!(uri.token().pin_source(), Some(Path::new("/run/pin")));
        assert_eq!((uri.object(), uri.id()), (Some("ca"), Some(&[1, 0xff][..])));
        assert!(uri.token().fits("My CA                 ", "m", "o", "s", 7));
        assert!(!uri.token().fits("Other", "m", "o", "s", 7));
        let uri = KeyUri::parse(
            "pkcs11:serial=1;slot-id=3;model=m;manufacturer=x;object=a?module-path=/l",
        );
        let uri = uri.unwrap();
        assert!(uri.token().fits("any", "x", "m", "1", 3));
        for (manufacturer, model, serial, slot) in [
            ("y", "m", "1", 3),
            ("x", "n", "1", 3),
            ("x", "m", "2", 3),
            ("x", "m", "1", 4),
        ] {
            assert!(!uri.token().fits("any", manufacturer, model, serial, slot));
        }
        for source in ["/run/pin", "file:///run/pin"] {
            let text = format!("pkcs11:object=a?pin-source={source}&module-path=/l");
            let uri = KeyUri::parse(&text).unwrap();
            assert_eq!(uri.token().pin_source(), Some(Path::new("/run/pin")));
        }
        assert!(KeyUri::is_meant(text) && !KeyUri::is_meant("/pkcs11:"));
    }

    /// The URI of a key that was made says all that the token's says, and names that key.
    #[test]
    fn a_made_key_is_named_in_its_token() {
        let text = "pkcs11:token=a%3Bb;object=rack-7?module-path=/l.so&pin-source=/run/pin";
        let token = TokenUri::parse(text).unwrap();
        assert_eq!(token.object(), Some("rack-7"));
        let key = token.key("rack-7 n1;client", &[1, 0xff]);
        assert_eq!(
            key.to_string(),
            "pkcs11:token=a%3Bb;object=rack-7%20n1%3Bclient;id=%01%FF;type=private?module-path=/l.so&pin-source=/run/pin"
        );
        let read = KeyUri::parse(&key.to_string()).unwrap();
        assert_eq!(read, key);
        assert!(read.token().means_token_of(&token));
        let elsewhere = TokenUri::parse("pkcs11:token=a%3Bb?module-path=/new.so").unwrap();
        assert!(read.token().means_token_of(&elsewhere));
        let other = TokenUri::parse("pkcs11:token=b?module-path=/l.so").unwrap();
        assert!(!read.token().means_token_of(&other));
        let any = TokenUri::parse("pkcs11:?module-path=/l.so").unwrap();
        assert_eq!(
            any.key("k", &[0]).to_string(),
            "pkcs11:object=k;id=%00;type=private?module-path=/l.so"
        );
        let error = TokenUri::parse("pkcs11:id=%01?module-path=/l.so").unwrap_err();
        assert!(error.to_string().contains("leave it out"), "{error}");
    }

    #[test]
    fn what_a_uri_must_not_say() {
        for (text, expected) in [
            (
                "pkcs11:object=a?module-path=/l&pin-value=1234",
                "put it into a file",
            ),
            (
                "pkcs11:object=a?module-path=/l&pin-source=|cat",
                "absolute path of a file",
            ),
            ("pkcs11:object=a?module-name=softhsm", "module-path"),
            ("pkcs11:object=a", "?module-path="),
            ("pkcs11:object=a?module-path=l.so", "absolute path"),
            ("pkcs11:token=a?module-path=/l", "object=LABEL or id="),
            (
                "pkcs11:object=a;type=cert?module-path=/l",
                "type is not private",
            ),
            (
                "pkcs11:object=a;colour=red?module-path=/l",
                "the attribute colour",
            ),
            ("pkcs11:object=a;object=b?module-path=/l", "twice"),
            ("pkcs11:object?module-path=/l", "NAME=VALUE"),
            ("pkcs11:object=%ff?module-path=/l", "not UTF-8"),
            ("pkcs11:object=a;slot-id=x?module-path=/l", "slot-id"),
        ] {
            let error = KeyUri::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
