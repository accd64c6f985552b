//! Query parameters, as far as they mean anything to us. Unknown ones are ignored, as upstream.

use super::ownership::MANAGER_BYTES_MAX;
use everleaf_api::fields::{FieldError, is_printable, quote};
use everleaf_api::selector::{FieldSelector, LabelSelector};
use everleaf_api::{Status, duration};
use percent_encoding::percent_decode_str;
use std::time::Duration;

/// Parameters of one request, by name; the first of several counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

/// Pairs looked at; more is nobody's honest request.
const PAIRS_MAX: usize = 128;
/// The parameter that says how a resource version is meant.
const MATCH: &str = "resourceVersionMatch";

impl Query {
    /// Splits and decodes.
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let decode = |part: &str| -> Result<String, Status> {
            let spaced = part.replace('+', " ");
            match percent_decode_str(&spaced).decode_utf8() {
                Ok(text) => Ok(text.into_owned()),
                Err(_) => Err(Status::bad_request("the query is not valid UTF-8")),
            }
        };
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(Status::bad_request(format!(
                    "the query has more than {PAIRS_MAX} parameters"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// Value of a parameter; None when absent.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is present and not empty.
    fn text(&self, name: &str) -> &str {
        self.value(name).unwrap_or("")
    }

    /// Everything but `0` and `false` is true, as in kube-apiserver (Kubernetes:
    /// `apimachinery/pkg/runtime/converter.go`, `Convert_Slice_string_To_bool`).
    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name)
            .map(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.value(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!(
                "invalid value {text:?} of the query parameter {name}: it must be a number"
            ))
        })
    }

    /// How long the client wants to wait for its answer, at most; None when it does not say, or
    /// says that it has time.
    ///
    /// # Errors
    /// 400 for what is no duration (`endpoints/filters/request_deadline.go`, `parseTimeout`).
    pub(super) fn timeout(&self) -> Result<Option<Duration>, Status> {
        let text = self.text("timeout");
        if text.is_empty() {
            return Ok(None);
        }
        match duration::parse_go(text.trim_start_matches('-')) {
            // Days are no unit of Go's.
            Ok(_) if text.contains('d') => {}
            Ok(span) if text.starts_with('-') || span.is_zero() => return Ok(None),
            Ok(span) => return Ok(Some(span)),
            Err(_) => {}
        }
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let unsigned = text.trim_start_matches(['+', '-']);
        let has_number = unsigned.starts_with(|c: char| c.is_ascii_digit());
        let unit = unsigned.trim_start_matches(number);
        let text = quote(text);
        let why = if has_number && unit.is_empty() {
            format!("missing unit in duration {text}")
        } else if has_number && !unit.contains(number) {
            format!("unknown unit {} in duration {text}", quote(unit))
        } else {
            format!("invalid duration {text}")
        };
        Err(Status::bad_request(format!(
            "invalid timeout specified in the request URL - time: {why}"
        )))
    }

    /// True when `watch` is set.
    pub(super) fn is_watch(&self) -> bool {
        self.flag("watch").unwrap_or(false)
    }

    /// The name that a `metadata.name` field selector demands, or "".
    pub(super) fn selected_name(&self) -> String {
        FieldSelector::parse(self.text("fieldSelector"))
            .ok()
            .and_then(|selector| selector.required("metadata.name").map(str::to_owned))
            .unwrap_or_default()
    }

    /// True when indented JSON is wanted.
    pub(super) fn is_pretty(&self) -> bool {
        let is_true = ["1", "t", "T", "true", "TRUE", "True", ""];
        self.value("pretty")
            .is_some_and(|value| is_true.contains(&value))
    }
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    NotOlderThan,
}

/// Parameters of list, watch and deletecollection (`meta/internalversion/validation`).
#[derive(Debug, Clone, Default)]
pub(super) struct ListOptions {
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
    /// 0 for all.
    pub(super) limit: usize,
    pub(super) continues: String,
    /// None when unset.
    pub(super) resource_version: Option<u64>,
    pub(super) matching: Option<Match>,
    pub(super) timeout_seconds: Option<u64>,
    pub(super) bookmarks: bool,
    pub(super) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads and validates; `watch` says for which verb.
    pub(super) fn parse(query: &Query, watch: bool) -> Result<Self, Status> {
        let selector = |what: &str, error: String| {
            Status::bad_request(format!("unable to parse the {what} selector: {error}"))
        };
        let options = Self {
            labels: LabelSelector::parse(query.text("labelSelector"))
                .map_err(|error| selector("label", error))?,
            fields: FieldSelector::parse(query.text("fieldSelector"))
                .map_err(|error| selector("field", error))?,
            limit: query.number("limit")?.map_or(0, |limit| {
                usize::try_from(limit.max(0)).unwrap_or(usize::MAX)
            }),
            continues: query.text("continue").to_owned(),
            resource_version: resource_version(query.text("resourceVersion"))?,
            matching: None,
            timeout_seconds: query
                .number("timeoutSeconds")?
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0),
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: query.flag("sendInitialEvents"),
        };
        options.validate(query, watch)
    }

    fn validate(mut self, query: &Query, watch: bool) -> Result<Self, Status> {
        let mode = query.text("resourceVersionMatch");
        let mut errors = Vec::new();
        if watch {
            self.watch_rules(mode, &mut errors);
        } else {
            self.list_rules(mode, &mut errors);
        }
        self.matching = match mode {
            "Exact" => Some(Match::Exact),
            "NotOlderThan" => Some(Match::NotOlderThan),
            _ => None,
        };
        if errors.is_empty() {
            return Ok(self);
        }
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }

    fn list_rules(&self, mode: &str, errors: &mut Vec<FieldError>) {
        let mut forbid = |detail| errors.push(FieldError::forbidden(MATCH, detail));
        if !mode.is_empty() {
            if self.resource_version.is_none() {
                forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.continues.is_empty() {
                forbid("resourceVersionMatch is forbidden when continue is provided");
            }
            if mode == "Exact" && self.resource_version == Some(0) {
                forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
            }
            if !matches!(mode, "Exact" | "NotOlderThan") {
                let known = &["Exact", "NotOlderThan", ""];
                errors.push(FieldError::not_supported(MATCH, &quote(mode), known));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
    }

    fn watch_rules(&self, mode: &str, errors: &mut Vec<FieldError>) {
        let forbidden = |detail| FieldError::forbidden(MATCH, detail);
        if self.send_initial_events.is_some() && mode != "NotOlderThan" {
            errors.push(forbidden(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        // Without any option a watch from the present state means NotOlderThan
        // (`internalversion/defaults.go`).
        let is_implied = mode.is_empty()
            && self.send_initial_events.is_none()
            && matches!(self.resource_version, None | Some(0));
        if !self.continues.is_empty() && (is_implied || !mode.is_empty()) {
            errors.push(forbidden(
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if mode.is_empty() {
            return;
        }
        if self.send_initial_events.is_none() {
            errors.push(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if mode != "NotOlderThan" {
            let known = &["NotOlderThan"];
            errors.push(FieldError::not_supported(MATCH, &quote(mode), known));
        }
    }
}

/// A resource version in a query: None when empty.
pub(super) fn resource_version(text: &str) -> Result<Option<u64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Status::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: it must be a number that this server gave"
        ))
    })
}

/// What a client wants done with unknown or repeated fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Parameters of create, update and patch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    pub(super) field_validation: FieldValidation,
    /// The object is what an apply made: its managers are known.
    pub(super) is_applied: bool,
    /// An apply takes fields from other managers.
    pub(super) force: bool,
}

impl WriteOptions {
    /// Reads and validates; `kind` is the options type an error names (`CreateOptions`, …).
    pub(super) fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        let mut errors = Vec::new();
        if kind == "PatchOptions" && query.value("force").is_some() {
            errors.push(FieldError::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        Self::read(query, kind, errors)
    }

    /// The same for an apply.
    pub(super) fn parse_apply(query: &Query) -> Result<Self, Status> {
        let mut errors = Vec::new();
        if query.text("fieldManager").is_empty() {
            let detail = "is required for apply patch";
            errors.push(FieldError::required("fieldManager", detail));
        }
        let force = query.value("force").map(str::to_ascii_lowercase);
        Ok(Self {
            is_applied: true,
            force: force.is_some_and(|force| !matches!(force.as_str(), "0" | "false")),
            ..Self::read(query, "PatchOptions", errors)?
        })
    }

    fn read(query: &Query, kind: &str, mut errors: Vec<FieldError>) -> Result<Self, Status> {
        check_manager("fieldManager", query.text("fieldManager"), &mut errors);
        let dry_runs: Vec<&str> = query.values("dryRun").collect();
        check_dry_run(&dry_runs, &mut errors);
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    &quote(other),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
        }
        Ok(Self {
            dry_run: !dry_runs.is_empty(),
            field_validation,
            ..Self::default()
        })
    }
}

/// The name of a manager is short and printable.
pub(super) fn check_manager(path: &str, manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(path, MANAGER_BYTES_MAX));
        return;
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| !is_printable(*c)) {
        errors.push(FieldError::invalid(
            path,
            &quote(manager),
            &format!(
                "invalid character U+{:04X} (at position {at})",
                u32::from(c)
            ),
        ));
    }
}

/// `dryRun` may only be `All`.
pub(super) fn check_dry_run(values: &[&str], errors: &mut Vec<FieldError>) {
    if values.iter().any(|value| *value != "All") {
        let quoted: Vec<_> = values.iter().map(|value| quote(value)).collect();
        let list = format!("[{}]", quoted.join(","));
        errors.push(FieldError::not_supported("dryRun", &list, &["All"]));
    }
}
