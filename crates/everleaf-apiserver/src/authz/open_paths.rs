//! Paths that everybody may see whom this server lets in, whatever the authorizers say or cannot
//! say: probes must not depend on another server (`apiserver/pkg/authorization/path`).

use super::Attributes;

/// Such paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenPaths {
    paths: Vec<String>,
    /// How those begin that are given with a `*` at their end.
    begins: Vec<String>,
}

impl OpenPaths {
    /// Reads them; one may end in `*`, and the `/` at its beginning may be left out.
    ///
    /// # Errors
    /// The one that has a `*` elsewhere.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut found = Self::default();
        for path in paths {
            let bare = path.strip_prefix('/').unwrap_or(path);
            let (begin, is_begin) = match bare.strip_suffix('*') {
                Some(begin) => (begin, true),
                None => (bare, false),
            };
            if begin.contains('*') {
                return Err(format!("only trailing * allowed in {path:?}"));
            }
            let kind = match is_begin {
                true => &mut found.begins,
                false => &mut found.paths,
            };
            kind.push(begin.to_owned());
        }
        Ok(found)
    }

    /// Is that what is asked for?
    pub(super) fn covers(&self, attributes: &Attributes<'_>) -> bool {
        if !attributes.resource.is_empty() || attributes.path.is_empty() {
            return false;
        }
        let path = attributes.path;
        let path = path.strip_prefix('/').unwrap_or(path);
        self.paths.iter().any(|one| one == path)
            || self
                .begins
                .iter()
                .any(|begin| path.starts_with(begin.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::user;

    #[test]
    fn a_path_is_covered_as_it_is_or_by_its_beginning() {
        let open = OpenPaths::new(["/livez", "readyz", "/debug/*"]).unwrap();
        let bob = user("bob", &[]);
        for (path, expected) in [
            ("/livez", true),
            ("/livez/ping", false),
            ("/readyz", true),
            ("/debug/a", true),
            ("/debug", false),
            ("/", false),
            ("", false),
        ] {
            let request = Attributes {
                verb: "get",
                path,
                ..Attributes::of(&bob)
            };
            assert_eq!(open.covers(&request), expected, "{path}");
        }
        let pods = Attributes {
            verb: "get",
            resource: "pods",
            path: "/livez",
            ..Attributes::of(&bob)
        };
        assert!(!open.covers(&pods), "a resource has no path");
        assert!(OpenPaths::new(["/a*b"]).is_err());
        assert!(!OpenPaths::default().covers(&Attributes {
            path: "/livez",
            ..Attributes::of(&bob)
        }));
    }
}
