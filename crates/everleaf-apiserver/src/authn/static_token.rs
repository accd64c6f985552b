//! The static token file (`--token-auth-file`): CSV of `token,user,uid[,"group1,group2"]`, read
//! once at start (`apiserver/pkg/authentication/token/tokenfile/tokenfile.go`).

use super::ConfigError;
use crate::user::User;
use aws_lc_rs::digest;
use std::collections::HashMap;

/// Users by the SHA-256 of their token: what a look-up takes then says nothing about how much of a
/// guess was right, and no token stays in memory.
#[derive(Default)]
pub(super) struct StaticTokens {
    users: HashMap<[u8; 32], User>,
}

impl StaticTokens {
    /// Of lines with the same token the last counts; a line with an empty token is ignored.
    pub(super) fn from_csv(text: &str) -> Result<Self, ConfigError> {
        let mut users = HashMap::new();
        for (line, record) in records(text)? {
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(ConfigError::BadTokenLine {
                    line,
                    reason: "needs at least three columns: token, user, uid",
                });
            };
            if token.is_empty() {
                tracing::warn!(line, "token file: empty token, line ignored");
                continue;
            }
            let groups = match rest.first().map(String::as_str) {
                None | Some("") => Vec::new(),
                Some(groups) => groups.split(',').map(str::to_owned).collect(),
            };
            let user = User {
                name: name.clone(),
                uid: uid.clone(),
                groups,
                ..User::default()
            };
            if users.insert(hash(token), user).is_some() {
                tracing::warn!(line, "token file: token given twice, the last line counts");
            }
        }
        Ok(Self { users })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The user of this token.
    pub(super) fn user(&self, token: &str) -> Option<User> {
        if self.users.is_empty() {
            return None;
        }
        self.users.get(&hash(token)).cloned()
    }
}

fn hash(token: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Splits CSV (RFC 4180) into records with the line each begins on; blank lines are skipped, a
/// quoted field may hold commas, doubled quotes and line breaks, and blanks before a field are
/// dropped.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, ConfigError> {
    let mut records = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while !rest.is_empty() {
        let start = line;
        let mut record = Vec::new();
        loop {
            let (field, ended, after) = next_field(rest, &mut line)?;
            record.push(field);
            rest = after;
            if ended {
                break;
            }
        }
        if record != [""] {
            records.push((start, record));
        }
    }
    Ok(records)
}

/// One field, whether its record ended with it, and what follows.
fn next_field<'a>(text: &'a str, line: &mut usize) -> Result<(String, bool, &'a str), ConfigError> {
    let text = text.trim_start_matches([' ', '\t']);
    let (field, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (field, rest) = unquote(quoted).ok_or(ConfigError::BadTokenLine {
                line: *line,
                reason: "a quoted field does not end",
            })?;
            *line += field.matches('\n').count();
            (field, rest)
        }
        None => {
            let end = text.find([',', '\n']).unwrap_or(text.len());
            let (field, rest) = text.split_at(end);
            if field.contains('"') {
                return Err(ConfigError::BadTokenLine {
                    line: *line,
                    reason: "a quote inside an unquoted field",
                });
            }
            (field.trim_end_matches('\r').to_owned(), rest)
        }
    };
    let rest = rest
        .strip_prefix('\r')
        .filter(|rest| rest.is_empty() || rest.starts_with('\n'))
        .unwrap_or(rest);
    match rest.as_bytes().first() {
        None => Ok((field, true, "")),
        Some(b',') => Ok((field, false, &rest[1..])),
        Some(b'\n') => {
            *line += 1;
            Ok((field, true, &rest[1..]))
        }
        Some(_) => Err(ConfigError::BadTokenLine {
            line: *line,
            reason: "text after a quoted field",
        }),
    }
}

/// The text up to the closing quote (already past the opening one), and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(doubled) => {
                field.push('"');
                rest = doubled;
            }
            None => return Some((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(csv: &str, token: &str) -> Option<(String, String, Vec<String>)> {
        StaticTokens::from_csv(csv)
            .expect("well-formed")
            .user(token)
            .map(|user| (user.name, user.uid, user.groups))
    }

    #[test]
    fn lines() {
        let one = |name: &str, uid: &str, groups: &[&str]| {
            let groups = groups.iter().map(|&group| group.to_owned()).collect();
            Some((name.to_owned(), uid.to_owned(), groups))
        };
        assert_eq!(check("t,bob,1", "t"), one("bob", "1", &[]));
        assert_eq!(check("t,bob,1\r\n", "t"), one("bob", "1", &[]));
        assert_eq!(
            check("t,bob,1,\"a,b\"\n", "t"),
            one("bob", "1", &["a", "b"])
        );
        assert_eq!(check("t, bob, 1, a", "t"), one("bob", "1", &["a"]));
        assert_eq!(check("t,bob,1,a,b", "t"), one("bob", "1", &["a"]));
        assert_eq!(check("t,bob,1,", "t"), one("bob", "1", &[]));
        assert_eq!(
            check("\n\nt,\"b\"\"ob\",1\n\n", "t"),
            one("b\"ob", "1", &[])
        );
        assert_eq!(check("t,bob,1\nt,eve,2", "t"), one("eve", "2", &[]));
        assert_eq!(check(",bob,1\nt,eve,2", ""), None);
        assert_eq!(check("t,bob,1", "T"), None);
        assert_eq!(check("", "t"), None);
    }

    #[test]
    fn bad_lines_name_themselves() {
        let bad = |csv: &str| match StaticTokens::from_csv(csv) {
            Err(ConfigError::BadTokenLine { line, .. }) => line,
            other => panic!("expected a bad line, got {:?}", other.map(|_| ())),
        };
        assert_eq!(bad("t,bob,1\nt2,eve"), 2);
        assert_eq!(bad("t,\"bo\nb\",1\nt2"), 3);
        assert_eq!(bad("t,\"bob,1"), 1);
        assert_eq!(bad("t,\"bob\"x,1"), 1);
        assert_eq!(bad("t,bo\"b,1"), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a,\"\r\n \t]{0,40}") {
            drop(StaticTokens::from_csv(&text));
        }
        #[test]
        fn quoting_is_undone(token in "[ -~]{1,20}", name in "[ -~\n]{0,20}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let csv = format!("{},{},1", quote(&token), quote(&name));
            prop_assert_eq!(check(&csv, &token), Some((name, "1".to_owned(), vec![])));
        }
    }
}
