//! Which requests are told, and how much of each: the policy file of kube-apiserver
//! (`apiserver/pkg/audit/policy`), as a function of who asks what. It reads no file.

use super::Stage;
use crate::authz::Attributes;
use crate::config_file::{self, ConfigFileError, Kind, invalid};
use crate::registry::names;
use crate::user::User;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How much of a request is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked what, and how it ended.
    Metadata,
    /// What was sent, too.
    Request,
    /// And what was answered.
    RequestResponse,
}

impl Level {
    const ALL: [Self; 4] = [
        Self::None,
        Self::Metadata,
        Self::Request,
        Self::RequestResponse,
    ];

    /// As a policy and an event spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages(u8);

impl Stages {
    fn of(stages: impl IntoIterator<Item = Stage>) -> Self {
        let bits = stages.into_iter().map(|stage| 1 << stage as u8);
        Self(bits.fold(0, |all, bit: u8| all | bit))
    }

    fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Is it one of them?
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }
}

/// What a policy says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How much is told.
    pub level: Level,
    /// Stages of which nothing is told.
    pub omitted: Stages,
    /// Objects are told without `metadata.managedFields`.
    pub omits_managed_fields: bool,
}

/// A policy that was read and found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    omitted: Stages,
    omits_managed_fields: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    level: Level,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
    omitted: Stages,
    omits_managed_fields: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

impl Policy {
    /// Reads the text of a policy file, YAML or JSON. Members that a policy does not have are
    /// refused: a rule with a misspelt condition would match more than was meant.
    pub fn parse(text: &str) -> Result<Self, ConfigFileError> {
        let file: File = config_file::parse(text)?;
        let omitted = stages(file.omit_stages, "omitStages")?;
        let by_default = file.omit_managed_fields.unwrap_or(false);
        let rules = file.rules.unwrap_or_default().into_iter().enumerate();
        let rules: Vec<Rule> = rules
            .map(|(at, rule)| Rule::new(rule, &format!("rules[{at}]"), omitted, by_default))
            .collect::<Result<_, _>>()?;
        if rules.is_empty() {
            return invalid("rules", "there are no rules, so nothing would ever be told");
        }
        Ok(Self {
            rules,
            omitted,
            omits_managed_fields: by_default,
        })
    }

    /// What is told of a request: the first rule that matches decides, and without one nothing is.
    /// `user` is None when nobody was authenticated.
    pub fn judge(&self, user: Option<&User>, request: &Attributes<'_>) -> Verdict {
        let found = self.rules.iter().find(|rule| rule.matches(user, request));
        found.map_or(
            Verdict {
                level: Level::None,
                omitted: self.omitted,
                omits_managed_fields: self.omits_managed_fields,
            },
            |rule| Verdict {
                level: rule.level,
                omitted: rule.omitted,
                omits_managed_fields: rule.omits_managed_fields,
            },
        )
    }
}

impl Rule {
    fn new(
        rule: FileRule,
        path: &str,
        omitted: Stages,
        omits_managed_fields: bool,
    ) -> Result<Self, ConfigFileError> {
        let level = rule.level.unwrap_or_default();
        let known = Level::ALL.into_iter().find(|one| one.as_str() == level);
        let level = known.ok_or_else(|| {
            let known = Level::ALL.map(Level::as_str).join(", ");
            ConfigFileError::invalid(
                format!("{path}.level"),
                format!("{level:?} is none of {known}"),
            )
        })?;
        let paths = rule.non_resource_urls.unwrap_or_default();
        for (at, url) in paths.iter().enumerate() {
            check_path(url, &format!("{path}.nonResourceURLs[{at}]"))?;
        }
        let resources = rule.resources.unwrap_or_default().into_iter().enumerate();
        let resources: Vec<Resources> = resources
            .map(|(at, resources)| Resources::new(resources, &format!("{path}.resources[{at}]")))
            .collect::<Result<_, _>>()?;
        let namespaces = rule.namespaces.unwrap_or_default();
        let is_about_resources = !resources.is_empty() || !namespaces.is_empty();
        if is_about_resources && !paths.is_empty() {
            let what = "a rule is about paths, or about resources and namespaces; make two of it";
            return invalid(format!("{path}.nonResourceURLs"), what);
        }
        Ok(Self {
            level,
            users: rule.users.unwrap_or_default(),
            groups: rule.user_groups.unwrap_or_default(),
            verbs: rule.verbs.unwrap_or_default(),
            resources,
            namespaces,
            paths,
            omitted: omitted.and(stages(rule.omit_stages, &format!("{path}.omitStages"))?),
            omits_managed_fields: rule.omit_managed_fields.unwrap_or(omits_managed_fields),
        })
    }

    fn matches(&self, user: Option<&User>, request: &Attributes<'_>) -> bool {
        let has = |list: &[String], value: &str| list.iter().any(|one| one == value);
        let is_user = |user: &User| has(&self.users, &user.name);
        let is_member = |user: &User| user.groups.iter().any(|group| has(&self.groups, group));
        if !(self.users.is_empty() || user.is_some_and(is_user)) {
            return false;
        }
        if !(self.groups.is_empty() || user.is_some_and(is_member)) {
            return false;
        }
        if !(self.verbs.is_empty() || has(&self.verbs, request.verb)) {
            return false;
        }
        let is_path = request.resource.is_empty();
        if !(self.namespaces.is_empty() && self.resources.is_empty()) {
            return !is_path
                && (self.namespaces.is_empty() || has(&self.namespaces, request.namespace))
                && (self.resources.is_empty()
                    || self.resources.iter().any(|one| one.matches(request)));
        }
        self.paths.is_empty() || (is_path && self.paths.iter().any(|one| covers(one, request.path)))
    }
}

/// Does a rule's path cover that of a request?
fn covers(rule: &str, path: &str) -> bool {
    rule == "*"
        || rule == path
        || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

fn check_path(url: &str, path: &str) -> Result<(), ConfigFileError> {
    if url == "*" {
        return Ok(());
    }
    if !url.starts_with('/') {
        return invalid(path, format!("{url:?} does not begin with /"));
    }
    if url[..url.len() - 1].contains('*') {
        let what = format!("{url:?} has a * that is not its last character");
        return invalid(path, what);
    }
    Ok(())
}

impl Resources {
    fn new(resources: FileResources, path: &str) -> Result<Self, ConfigFileError> {
        let group = resources.group.unwrap_or_default();
        if !matches!(group.as_str(), "" | "*")
            && let Err(what) = names::subdomain(&group)
        {
            let what = format!("{group:?} is not the name of a group, without its version: {what}");
            return invalid(format!("{path}.group"), what);
        }
        let names = resources.resource_names.unwrap_or_default();
        let resources = resources.resources.unwrap_or_default();
        if resources.is_empty() && !names.is_empty() {
            let what = "names are those of a resource; say of which in resources";
            return invalid(format!("{path}.resourceNames"), what);
        }
        Ok(Self {
            group,
            resources,
            names,
        })
    }

    fn matches(&self, request: &Attributes<'_>) -> bool {
        if self.group != "*" && self.group != request.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !(self.names.is_empty() || self.names.iter().any(|name| name == request.name)) {
            return false;
        }
        let (resource, sub) = (request.resource, request.subresource);
        self.resources
            .iter()
            .any(|rule| match rule.split_once('/') {
                None => rule == "*" || (rule == resource && sub.is_empty()),
                Some((left, right)) => {
                    (left == resource && (right == sub || right == "*"))
                        || (left == "*" && right == sub && !sub.is_empty())
                }
            })
    }
}

fn stages(names: Option<Vec<String>>, path: &str) -> Result<Stages, ConfigFileError> {
    let names = names.unwrap_or_default().into_iter().enumerate();
    let stages: Vec<Stage> = names
        .map(|(at, name)| {
            let known = Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
            known.ok_or_else(|| {
                let all = Stage::ALL.map(Stage::as_str).join(", ");
                ConfigFileError::invalid(
                    format!("{path}[{at}]"),
                    format!("{name:?} is none of {all}"),
                )
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Stages::of(stages))
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    rules: Option<Vec<FileRule>>,
    omit_stages: Option<Vec<String>>,
    omit_managed_fields: Option<bool>,
}

impl config_file::File for File {
    const KIND: Kind = Kind {
        name: "Policy",
        versions: &["audit.k8s.io/v1"],
    };

    fn head(&self) -> (&str, &str) {
        (&self.api_version, &self.kind)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileRule {
    level: Option<String>,
    users: Option<Vec<String>>,
    user_groups: Option<Vec<String>>,
    verbs: Option<Vec<String>>,
    resources: Option<Vec<FileResources>>,
    namespaces: Option<Vec<String>>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Option<Vec<String>>,
    omit_stages: Option<Vec<String>>,
    omit_managed_fields: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileResources {
    group: Option<String>,
    resources: Option<Vec<String>>,
    resource_names: Option<Vec<String>>,
}

#[cfg(test)]
mod tests;
