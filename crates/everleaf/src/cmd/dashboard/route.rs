//! What a path and a query ask for.

use everleaf_fleet::{Standing, State};
use percent_encoding::percent_decode_str;

/// Rows of a page.
pub(super) const PAGE: usize = 50;
/// Characters of a search that count.
const SEARCH_MAX: usize = 200;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Overview,
    Nodes(NodeQuery),
    Node(String),
    Requests(RequestQuery),
    Request(String, Option<Verdict>),
    Decide(String, Verdict),
    Events,
    Enter(String),
    Style,
    Script,
    Icon,
    Nothing,
}

/// What a person says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Approve,
    Deny,
}

impl Verdict {
    /// The word of a path.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }

    /// What is done then.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Approve => "approved",
            Self::Deny => "denied",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Approve, Self::Deny]
            .into_iter()
            .find(|verdict| verdict.as_str() == word || verdict.done() == word)
    }
}

/// By what nodes are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Who lapses first.
    #[default]
    Lapse,
    Name,
    /// The share of life used, the most first.
    Used,
    /// Who ends first.
    End,
}

impl Order {
    pub(super) const ALL: [Self; 4] = [Self::Lapse, Self::Used, Self::End, Self::Name];

    /// The word of a query.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Lapse => "lapse",
            Self::Name => "name",
            Self::Used => "used",
            Self::End => "end",
        }
    }
}

/// Which nodes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeQuery {
    /// Part of a name, whatever its case.
    pub(super) search: String,
    /// Of either certificate.
    pub(super) standing: Option<Standing>,
    pub(super) order: Order,
    /// From 1 on.
    pub(super) page: usize,
}

/// Which requests are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestQuery {
    /// Part of a name, requestor, node or signer, whatever its case.
    pub(super) search: String,
    pub(super) state: Option<State>,
    /// From 1 on.
    pub(super) page: usize,
}

/// The states of requests, as a query names them.
pub(super) const STATES: [State; 4] = [
    State::Pending,
    State::Approved,
    State::Denied,
    State::Failed,
];

impl Route {
    /// Of a request to read.
    pub(super) fn of(path: &str, query: &str) -> Self {
        let word = |key: &str| parameter(query, key).unwrap_or_default();
        let page = || word("page").parse().unwrap_or(1).max(1);
        let search = || word("q").trim().chars().take(SEARCH_MAX).collect();
        match segments(path).as_deref() {
            Some([]) => Self::Overview,
            Some([one]) => match &**one {
                "nodes" => Self::Nodes(NodeQuery {
                    search: search(),
                    standing: find(Standing::ALL, Standing::as_str, &word("standing")),
                    order: find(Order::ALL, Order::as_str, &word("by")).unwrap_or_default(),
                    page: page(),
                }),
                "requests" => Self::Requests(RequestQuery {
                    search: search(),
                    state: find(STATES, State::as_str, &word("state")),
                    page: page(),
                }),
                "events" => Self::Events,
                "enter" => Self::Enter(word("key")),
                "style.css" => Self::Style,
                "script.js" => Self::Script,
                "icon.svg" => Self::Icon,
                _ => Self::Nothing,
            },
            Some([kind, name]) if kind == "nodes" => Self::Node(name.clone()),
            Some([kind, name]) if kind == "requests" => {
                Self::Request(name.clone(), Verdict::of(&word("done")))
            }
            _ => Self::Nothing,
        }
    }

    /// Of a form.
    pub(super) fn of_form(path: &str) -> Self {
        match segments(path).as_deref() {
            Some([kind, name, verdict]) if kind == "requests" => match Verdict::of(verdict) {
                Some(known) if known.as_str() == verdict => Self::Decide(name.clone(), known),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }
}

/// The names of a path, decoded one by one; `None`: there is one that is no text, or that no object
/// can have.
fn segments(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    let all = path.split('/').map(|part| {
        let name = percent_decode_str(part).decode_utf8().ok()?;
        let is_name = !matches!(&*name, "" | "." | "..") && !name.contains(['/', '%', '\0']);
        is_name.then(|| name.into_owned())
    });
    all.collect()
}

fn find<T: Copy, const N: usize>(
    all: [T; N],
    word: fn(T) -> &'static str,
    told: &str,
) -> Option<T> {
    all.into_iter().find(|one| word(*one) == told)
}

/// The first value of that name in a query or a form.
pub(super) fn parameter(query: &str, key: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find_map(|(name, value)| (name == key).then(|| value.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_pages() {
        let of = |path: &str| Route::of(path, "");
        assert_eq!(of("/"), Route::Overview);
        assert_eq!(of("/nodes/a.b"), Route::Node("a.b".to_owned()));
        let hostile = Route::Request("<script>".to_owned(), None);
        assert_eq!(of("/requests/%3Cscript%3E"), hostile);
        for path in [
            "",
            "x",
            "//",
            "/nodes/",
            "/nodes/a/b",
            "/requests/..",
            "/requests/%2e%2e",
            "/requests/a%2Fb",
            "/requests/%25",
            "/requests/%ff",
            "/requests/%00",
            "/other",
        ] {
            assert_eq!(of(path), Route::Nothing, "{path}");
        }
    }

    #[test]
    fn queries_are_read_leniently() {
        let query = "q=+A%20b&standing=not+yet+valid&by=used&page=3&page=4";
        let read = Route::of("/nodes", query);
        let wanted = NodeQuery {
            search: "A b".to_owned(),
            standing: Some(Standing::NotYetValid),
            order: Order::Used,
            page: 3,
        };
        assert_eq!(read, Route::Nodes(wanted));
        let odd = Route::of("/nodes", "standing=x&by=&page=-1&q");
        let usual = NodeQuery {
            page: 1,
            ..NodeQuery::default()
        };
        assert_eq!(odd, Route::Nodes(usual));
        let read = Route::of("/requests", "state=denied&page=0");
        let wanted = RequestQuery {
            state: Some(State::Denied),
            page: 1,
            ..RequestQuery::default()
        };
        assert_eq!(read, Route::Requests(wanted));
        let done = Route::of("/requests/a", "done=approved");
        assert_eq!(done, Route::Request("a".to_owned(), Some(Verdict::Approve)));
    }

    #[test]
    fn forms_approve_and_deny() {
        let of = Route::of_form;
        assert_eq!(
            of("/requests/a/deny"),
            Route::Decide("a".to_owned(), Verdict::Deny)
        );
        for path in ["/requests/a", "/requests/a/approved", "/nodes/a/deny", "/"] {
            assert_eq!(of(path), Route::Nothing, "{path}");
        }
    }
}
