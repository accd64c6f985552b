//! `pkcs11:` URIs (RFC 7512): which key, in which token, through which module.

use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::{Path, PathBuf};

/// A URI names too much, too little, or a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the PKCS#11 URI cannot be used: {0}")]
pub struct UriError(String);

/// Where a key is. `Display` is the URI, which holds no PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUri {
    text: String,
    module_path: PathBuf,
    pin_source: Option<PathBuf>,
    token: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    slot_id: Option<u64>,
    object: Option<String>,
    id: Option<Vec<u8>>,
}

impl KeyUri {
    /// Whether a text means to be one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// Reads a URI.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead. A PIN in it is not repeated.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let fail = |reason: &str| Err(UriError(reason.to_owned()));
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return fail("it does not begin with pkcs11:");
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self {
            text: text.to_owned(),
            module_path: PathBuf::new(),
            pin_source: None,
            token: None,
            manufacturer: None,
            model: None,
            serial: None,
            slot_id: None,
            object: None,
            id: None,
        };
        for (name, value) in attributes(query, '&')? {
            let value = text_of(name, &value)?;
            match name {
                "module-path" => uri.module_path = PathBuf::from(value),
                "pin-source" => uri.pin_source = Some(pin_file(&value)?),
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
        for (name, value) in attributes(path, ';')? {
            if name == "id" {
                uri.id = Some(value);
                continue;
            }
            let value = text_of(name, &value)?;
            match name {
                "token" => uri.token = Some(value),
                "manufacturer" => uri.manufacturer = Some(value),
                "model" => uri.model = Some(value),
                "serial" => uri.serial = Some(value),
                "object" => uri.object = Some(value),
                "slot-id" => {
                    let number = value.parse();
                    uri.slot_id =
                        Some(number.map_err(|_| UriError("slot-id is not a number".to_owned()))?);
                }
                "type" if value == "private" => {}
                "type" => return fail("type is not private, and a CA signs with a private key"),
                other => return Err(unknown(other)),
            }
        }
        if !uri.module_path.is_absolute() {
            return fail(
                "it needs the absolute path of the token's library: ?module-path=/usr/lib/….so",
            );
        }
        if uri.object.is_none() && uri.id.is_none() {
            return fail("it does not say which key: object=LABEL or id=%01");
        }
        Ok(uri)
    }

    /// The library.
    pub fn module_path(&self) -> &Path {
        &self.module_path
    }

    /// The file of the PIN.
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }

    /// The key's label.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The key's identifier.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// Whether a token is the one that is meant.
    pub fn fits(
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
        fits(&self.token, label)
            && fits(&self.manufacturer, manufacturer)
            && fits(&self.model, model)
            && fits(&self.serial, serial)
            && self.slot_id.is_none_or(|wanted| wanted == slot)
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

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
        assert_eq!(uri.module_path(), Path::new("/lib/p11.so"));
        assert_eq!(uri.pin_source(), Some(Path::new("/run/pin")));
        assert_eq!((uri.object(), uri.id()), (Some("ca"), Some(&[1, 0xff][..])));
        assert!(uri.fits("My CA                 ", "m", "o", "s", 7));
        assert!(!uri.fits("Other", "m", "o", "s", 7));
        let uri = KeyUri::parse(
            "pkcs11:serial=1;slot-id=3;model=m;manufacturer=x;object=a?module-path=/l",
        );
        let uri = uri.unwrap();
        assert!(uri.fits("any", "x", "m", "1", 3));
        for (manufacturer, model, serial, slot) in [
            ("y", "m", "1", 3),
            ("x", "n", "1", 3),
            ("x", "m", "2", 3),
            ("x", "m", "1", 4),
        ] {
            assert!(!uri.fits("any", manufacturer, model, serial, slot));
        }
        for source in ["/run/pin", "file:///run/pin"] {
            let text = format!("pkcs11:object=a?pin-source={source}&module-path=/l");
            let uri = KeyUri::parse(&text).unwrap();
            assert_eq!(uri.pin_source(), Some(Path::new("/run/pin")));
        }
        assert!(KeyUri::is_meant(text) && !KeyUri::is_meant("/pkcs11:"));
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
