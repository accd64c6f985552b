//! Files of a configuration as kube-apiserver has them: YAML or JSON, with apiVersion and kind at
//! their head, and members of which none may be misspelt. What is in them, each knows itself.

use serde::de::DeserializeOwned;

/// A kind of file.
pub(crate) struct Kind {
    /// What it says of itself.
    pub(crate) name: &'static str,
    /// In which versions; the first is the one to write.
    pub(crate) versions: &'static [&'static str],
}

/// A file as it is written.
pub(crate) trait File: DeserializeOwned {
    /// What it has to be.
    const KIND: Kind;

    /// What it says that it is: apiVersion and kind.
    fn head(&self) -> (&str, &str);
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// It is no YAML or JSON, or has members that it should not have.
    #[error("it is no {kind}: {what}")]
    Unreadable {
        /// What it should be.
        kind: &'static str,
        /// What is wrong.
        what: String,
    },
    /// It is of another type.
    #[error(
        "it says apiVersion {api_version:?}, kind {kind:?}; write apiVersion: {wanted_version}, kind: {wanted_kind}"
    )]
    OtherType {
        /// What it says.
        api_version: String,
        /// What it says.
        kind: String,
        /// What it should say.
        wanted_version: &'static str,
        /// What it should say.
        wanted_kind: &'static str,
    },
    /// A member has a value that it cannot have.
    #[error("{path}: {what}")]
    Invalid {
        /// Which, as `jwt[0].issuer.url`.
        path: String,
        /// What is wrong.
        what: String,
    },
}

impl ConfigFileError {
    pub(crate) fn invalid(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.into(),
            what: what.into(),
        }
    }
}

/// The member at `path` cannot have its value.
pub(crate) fn invalid<T>(
    path: impl Into<String>,
    what: impl Into<String>,
) -> Result<T, ConfigFileError> {
    Err(ConfigFileError::invalid(path, what))
}

/// Reads the text of a file.
pub(crate) fn parse<F: File>(text: &str) -> Result<F, ConfigFileError> {
    let Kind { name, versions } = F::KIND;
    let options = serde_saphyr::options! { with_snippet: false };
    let file: F = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        ConfigFileError::Unreadable {
            kind: name,
            what: error.to_string().replace('\n', " "),
        }
    })?;
    let (api_version, kind) = file.head();
    if !versions.contains(&api_version) || kind != name {
        return Err(ConfigFileError::OtherType {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            wanted_version: versions.first().copied().unwrap_or_default(),
            wanted_kind: name,
        });
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[serde(default, rename = "apiVersion")]
        version: String,
        #[serde(default)]
        kind: String,
        size: u8,
    }

    impl File for Thing {
        const KIND: Kind = Kind {
            name: "Thing",
            versions: &["example.org/v1", "example.org/v1beta1"],
        };

        fn head(&self) -> (&str, &str) {
            (&self.version, &self.kind)
        }
    }

    #[test]
    fn a_file_is_what_it_says_and_has_no_other_members() {
        for version in Thing::KIND.versions {
            let text =
                format!("{{\"apiVersion\": \"{version}\", \"kind\": \"Thing\", \"size\": 1}}");
            assert_eq!(parse::<Thing>(&text).unwrap().size, 1);
        }
        let refused = |text: &str| parse::<Thing>(text).unwrap_err().to_string();
        assert_eq!(
            refused("apiVersion: v1\nkind: Thing\nsize: 1"),
            "it says apiVersion \"v1\", kind \"Thing\"; write apiVersion: example.org/v1, kind: Thing"
        );
        for text in [
            "apiVersion: example.org/v1\nkind: Thing\nsizes: 1\nsize: 1",
            "apiVersion: example.org/v1\nkind: Thing\nsize: x",
            "[",
            "",
        ] {
            let error = refused(text);
            assert!(error.starts_with("it is no Thing: "), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
