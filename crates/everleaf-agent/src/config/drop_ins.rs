//! `--config-dir`: a directory of files that are merged over `--config`, as a kubelet does it
//! (Kubernetes `cmd/kubelet/app/server.go`, `mergeKubeletConfigurations`; KEP-3983).

use super::Resolver;
use serde_json::{Map, Value};
use std::fs::{read_dir, symlink_metadata};
use std::io;
use std::path::{Path, PathBuf};

/// How a file's name must end for it to be read.
const EXTENSION: &str = "conf";
/// Most files and directories that are looked at.
const ENTRIES_MAX: usize = 1000;

/// The files to merge, in their order: directories below are walked in the place of their name, and
/// names are sorted as bytes. What is wrong goes to `resolver`.
pub(super) fn files(dir: &Path, resolver: &mut Resolver) -> Vec<PathBuf> {
    let shown = dir.display();
    match symlink_metadata(dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            resolver.problem(format!(
                "--config-dir {shown} is no directory, and a kubelet reads nothing through a link: name the directory itself"
            ));
            return Vec::new();
        }
        Err(error) => {
            resolver.problem(format!("cannot read --config-dir {shown}: {error}"));
            return Vec::new();
        }
    }
    let mut walk = Walk::default();
    match walk.enter(dir) {
        Ok(()) => {}
        Err((at, error)) => resolver.problem(format!(
            "cannot read --config-dir {shown}: {}: {error}",
            at.display()
        )),
    }
    for path in walk.skipped {
        resolver.remark(format!(
            "--config-dir: {} is not read: its name does not end in .{EXTENSION}",
            path.display()
        ));
    }
    walk.files
}

#[derive(Default)]
struct Walk {
    files: Vec<PathBuf>,
    skipped: Vec<PathBuf>,
    entries: usize,
}

impl Walk {
    fn enter(&mut self, dir: &Path) -> Result<(), (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        let mut entries = Vec::new();
        for entry in read_dir(dir).map_err(at(dir))? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                let text = format!("more than {ENTRIES_MAX} files and directories");
                return Err(at(dir)(io::Error::other(text)));
            }
            let entry = entry.map_err(at(dir))?;
            // Of the entry itself: links to directories are not followed.
            let kind = entry.file_type().map_err(at(&entry.path()))?;
            entries.push((entry.file_name(), entry.path(), kind.is_dir()));
        }
        entries.sort();
        for (name, path, is_dir) in entries {
            if is_dir {
                self.enter(&path)?;
            } else if extension(name.as_encoded_bytes()) == Some(EXTENSION.as_bytes()) {
                self.files.push(path);
            } else {
                self.skipped.push(path);
            }
        }
        Ok(())
    }
}

/// What follows the last dot, as Go's `filepath.Ext` sees it: `.conf` has an extension, too.
fn extension(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    name.get(dot + 1..)
}

/// Merges `patch` into `target`: maps are merged, `null` removes, everything else replaces (RFC
/// 7396, section 2).
pub(super) fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(members) => {
                let inner = target.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, members);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A, whose documents are maps.
    #[test]
    fn merging_is_that_of_the_rfc() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let (Value::Object(mut merged), Value::Object(patch)) = (target, patch) else {
                panic!("no maps");
            };
            merge(&mut merged, patch);
            assert_eq!(Value::Object(merged), expected);
        }
    }

    #[test]
    fn extensions_are_those_of_go() {
        for (name, expected) in [
            ("10-a.conf", Some("conf")),
            (".conf", Some("conf")),
            ("a.conf.bak", Some("bak")),
            ("..data", Some("data")),
            ("conf", None),
            ("a.", Some("")),
        ] {
            let found = extension(name.as_bytes());
            assert_eq!(found, expected.map(str::as_bytes), "{name}");
        }
    }
}
