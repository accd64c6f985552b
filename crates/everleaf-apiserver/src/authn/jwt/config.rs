//! Whom to believe, as `AuthenticationConfiguration` says it (`apiserver.config.k8s.io/v1`), or the
//! older `--oidc-…` flags; one set of values, and one set of rules about them
//! (`apiserver/pkg/apis/apiserver/validation`).

use super::file::{
    File, FileAnonymous, FileExtra, FileIssuer, FileJwt, FileMapping, FileMappings, FileRule,
    FileUserRule,
};
use super::keys::Algorithm;
use super::rules::{self, Mapping};
use crate::config_file::{self, ConfigFileError, invalid};
use crate::registry::names;
use everleaf_cel::{Expression, Gives, Language};
use everleaf_pki::trust::TrustBundle;
use http::Uri;
use std::collections::BTreeSet;

/// Issuers that may be configured, as upstream.
const ISSUERS_MAX: usize = 64;

/// Whom to believe.
#[derive(Debug, Clone, Default)]
pub struct JwtConfig {
    /// Issuers of tokens.
    pub issuers: Vec<IssuerConfig>,
    /// Who needs no credential; None: the file does not say.
    pub anonymous: Option<AnonymousConfig>,
}

/// Whether a request without any credential is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnonymousConfig {
    /// It is.
    pub is_enabled: bool,
    /// To these paths alone; empty: to all.
    pub paths: Vec<String>,
}

/// One issuer, and what its tokens say.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// Where it is.
    pub(super) source: IssuerSource,
    pub(super) audiences: Vec<String>,
    /// What its signatures may be.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) required_claims: Vec<(String, String)>,
    pub(super) claim_rules: Vec<(Expression, String)>,
    pub(super) user_rules: Vec<(Expression, String)>,
    pub(super) username: Mapping,
    pub(super) groups: Option<Mapping>,
    pub(super) uid: Option<Mapping>,
    pub(super) extra: Vec<(String, Expression)>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSource {
    /// Who it is: what its tokens say in `iss`.
    pub url: String,
    /// Where it says where its keys are.
    pub discovery_url: String,
    /// Authorities of its certificate, PEM; "": those that this host trusts anyway.
    pub authority_pem: String,
}

/// The older flags.
#[derive(Debug, Clone, Default)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`
    pub issuer_url: String,
    /// `--oidc-client-id`
    pub client_id: String,
    /// `--oidc-username-claim`
    pub username_claim: String,
    /// `--oidc-username-prefix`; None: not given.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`
    pub groups_claim: String,
    /// `--oidc-groups-prefix`
    pub groups_prefix: String,
    /// What is in `--oidc-ca-file`.
    pub authority_pem: String,
    /// `--oidc-required-claim`: names and values.
    pub required_claims: Vec<(String, String)>,
    /// `--oidc-signing-algs`
    pub signing_algorithms: Vec<String>,
}

impl JwtConfig {
    /// Reads the text of a configuration. `own_issuer` signs the tokens of service accounts: nobody
    /// else may have its name.
    ///
    /// # Errors
    /// See [`ConfigFileError`].
    pub fn parse(text: &str, own_issuer: &str) -> Result<Self, ConfigFileError> {
        let file: File = config_file::parse(text)?;
        let jwt = file.jwt.unwrap_or_default();
        if jwt.len() > ISSUERS_MAX {
            return invalid("jwt", format!("more than {ISSUERS_MAX} issuers"));
        }
        let mut issuers: Vec<IssuerConfig> = Vec::new();
        for (at, jwt) in jwt.into_iter().enumerate() {
            let path = format!("jwt[{at}]");
            let issuer = IssuerConfig::new(jwt, &path, Algorithm::ALL.to_vec())?;
            let source = &issuer.source;
            if source.url == own_issuer {
                let what = "this server signs tokens of service accounts under this name";
                return invalid(format!("{path}.issuer.url"), what);
            }
            if issuers.iter().any(|other| other.source.url == source.url) {
                return invalid(format!("{path}.issuer.url"), "it stands here twice");
            }
            let asks = |other: &IssuerConfig| other.source.discovery_url == source.discovery_url;
            if issuers.iter().any(asks) {
                return invalid(
                    format!("{path}.issuer.discoveryURL"),
                    "it stands here twice",
                );
            }
            issuers.push(issuer);
        }
        let anonymous = file.anonymous.map(AnonymousConfig::new).transpose()?;
        Ok(Self { issuers, anonymous })
    }

    /// The same by the older flags.
    ///
    /// # Errors
    /// See [`ConfigFileError`]; its paths are those that the values have in a configuration.
    pub fn of_flags(flags: OidcFlags, own_issuer: &str) -> Result<Self, ConfigFileError> {
        let mut algorithms = Vec::new();
        for name in &flags.signing_algorithms {
            match Algorithm::named(name) {
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    let known = Algorithm::ALL.map(Algorithm::name).join(", ");
                    let what = format!("{name:?} is none of {known}");
                    return invalid("--oidc-signing-algs", what);
                }
            }
        }
        let prefix = match flags.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            // Names of different issuers must not meet; addresses do not.
            _ if flags.username_claim == "email" => String::new(),
            _ => format!("{}#", flags.issuer_url),
        };
        let claim = |claim: &str, prefix: String| FileMapping {
            claim: Some(claim.to_owned()),
            prefix: Some(prefix),
            expression: None,
        };
        let groups = flags.groups_claim.as_str();
        let rules = flags.required_claims.iter();
        let rules = rules.map(|(name, value)| FileRule {
            claim: Some(name.clone()),
            required_value: Some(value.clone()),
            ..FileRule::default()
        });
        let jwt = FileJwt {
            issuer: FileIssuer {
                url: flags.issuer_url.clone(),
                audiences: Some(vec![flags.client_id.clone()]),
                certificate_authority: Some(flags.authority_pem.clone()),
                ..FileIssuer::default()
            },
            claim_validation_rules: Some(rules.collect()),
            claim_mappings: FileMappings {
                username: claim(&flags.username_claim, prefix),
                groups: (!groups.is_empty()).then(|| claim(groups, flags.groups_prefix.clone())),
                ..FileMappings::default()
            },
            user_validation_rules: None,
        };
        let issuer = IssuerConfig::new(jwt, "jwt[0]", algorithms)?;
        if issuer.source.url == own_issuer {
            let what = "this server signs tokens of service accounts under this name";
            return invalid("--oidc-issuer-url", what);
        }
        Ok(Self {
            issuers: vec![issuer],
            anonymous: None,
        })
    }
}

impl AnonymousConfig {
    fn new(file: FileAnonymous) -> Result<Self, ConfigFileError> {
        let conditions = file.conditions.unwrap_or_default();
        if !file.enabled && !conditions.is_empty() {
            let what = "they say where nobody is let in: set enabled, or leave them out";
            return invalid("anonymous.conditions", what);
        }
        Ok(Self {
            is_enabled: file.enabled,
            paths: conditions.into_iter().map(|one| one.path).collect(),
        })
    }

    /// Is a request to `path` let in without any credential?
    pub(crate) fn allows(&self, path: &str) -> bool {
        self.is_enabled && (self.paths.is_empty() || self.paths.iter().any(|one| one == path))
    }
}

impl IssuerConfig {
    /// Where its keys come from.
    pub fn source(&self) -> &IssuerSource {
        &self.source
    }

    fn new(jwt: FileJwt, path: &str, algorithms: Vec<Algorithm>) -> Result<Self, ConfigFileError> {
        let source = IssuerSource::new(&jwt.issuer, &format!("{path}.issuer"))?;
        let audiences = audiences(&jwt.issuer, &format!("{path}.issuer"))?;
        let (required_claims, claim_rules) = claim_rules(
            jwt.claim_validation_rules,
            &format!("{path}.claimValidationRules"),
        )?;
        let at = format!("{path}.claimMappings");
        let mappings = jwt.claim_mappings;
        let Some(username) = mapping(
            mappings.username,
            &format!("{at}.username"),
            (true, Gives::Text),
        )?
        else {
            return invalid(format!("{at}.username"), "give a claim or an expression");
        };
        let groups = mappings
            .groups
            .map(|groups| mapping(groups, &format!("{at}.groups"), (true, Gives::Texts)));
        let uid = mappings
            .uid
            .map(|uid| mapping(uid, &format!("{at}.uid"), (false, Gives::Text)));
        let extra = extra(mappings.extra, &format!("{at}.extra"))?;
        let reads = |expression: &Expression, claim: &str| expression.reads("claims", claim);
        let checks = |expression: &Expression| reads(expression, "email_verified");
        if let Mapping::Expression(expression) = &username
            && reads(expression, "email")
            && !checks(expression)
            && !extra.iter().any(|(_, expression)| checks(expression))
            && !claim_rules.iter().any(|(expression, _)| checks(expression))
        {
            let what = "it takes claims.email: look at claims.email_verified as well, here, in extra or in a rule about claims";
            return invalid(format!("{at}.username.expression"), what);
        }
        Ok(Self {
            source,
            audiences,
            algorithms,
            required_claims,
            claim_rules,
            user_rules: user_rules(
                jwt.user_validation_rules,
                &format!("{path}.userValidationRules"),
            )?,
            username,
            groups: groups.transpose()?.flatten(),
            uid: uid.transpose()?.flatten(),
            extra,
        })
    }
}

impl IssuerSource {
    fn new(issuer: &FileIssuer, path: &str) -> Result<Self, ConfigFileError> {
        check_url(&issuer.url, &format!("{path}.url"))?;
        if issuer.egress_selector_type.is_some() {
            let what = "there are no egress selectors here";
            return invalid(format!("{path}.egressSelectorType"), what);
        }
        let bare = issuer.url.trim_end_matches('/');
        let discovery = issuer
            .discovery_url
            .as_deref()
            .filter(|url| !url.is_empty());
        if let Some(url) = discovery {
            let path = format!("{path}.discoveryURL");
            if url.trim_end_matches('/') == bare {
                return invalid(path, "it is the same as url; leave it out");
            }
            check_url(url, &path)?;
        }
        let pem = issuer.certificate_authority.clone().unwrap_or_default();
        if !pem.is_empty()
            && let Err(error) = TrustBundle::from_pem(pem.as_bytes())
        {
            return invalid(format!("{path}.certificateAuthority"), error.to_string());
        }
        Ok(Self {
            url: issuer.url.clone(),
            discovery_url: discovery.map_or_else(
                || format!("{bare}/.well-known/openid-configuration"),
                str::to_owned,
            ),
            authority_pem: pem,
        })
    }
}

fn check_url(url: &str, path: &str) -> Result<(), ConfigFileError> {
    if url.is_empty() {
        return invalid(path, "it is missing");
    }
    let parsed = url.parse::<Uri>().ok();
    let host = parsed.as_ref().and_then(Uri::authority);
    let Some(host) = host.filter(|host| !host.host().is_empty()) else {
        return invalid(path, format!("{url:?} is not a URL"));
    };
    if parsed.as_ref().and_then(Uri::scheme_str) != Some("https") {
        return invalid(path, format!("{url:?} does not begin with https://"));
    }
    if host.as_str().contains('@') {
        return invalid(path, "it holds a user name; leave that out");
    }
    if url.contains('?') || url.contains('#') {
        return invalid(path, format!("{url:?} has a query or a fragment"));
    }
    Ok(())
}

fn audiences(issuer: &FileIssuer, path: &str) -> Result<Vec<String>, ConfigFileError> {
    let audiences = issuer.audiences.clone().unwrap_or_default();
    if audiences.is_empty() {
        return invalid(format!("{path}.audiences"), "give at least one");
    }
    let distinct: BTreeSet<&String> = audiences.iter().collect();
    if audiences.iter().any(String::is_empty) || distinct.len() < audiences.len() {
        return invalid(
            format!("{path}.audiences"),
            "one is empty or stands here twice",
        );
    }
    match issuer.audience_match_policy.as_deref().unwrap_or("") {
        "MatchAny" => {}
        "" if audiences.len() == 1 => {}
        _ => {
            let what = "write MatchAny: a token for any of the audiences is meant for this server";
            return invalid(format!("{path}.audienceMatchPolicy"), what);
        }
    }
    Ok(audiences)
}

type ClaimRules = (Vec<(String, String)>, Vec<(Expression, String)>);

fn claim_rules(rules: Option<Vec<FileRule>>, path: &str) -> Result<ClaimRules, ConfigFileError> {
    let mut required: Vec<(String, String)> = Vec::new();
    let mut expressions: Vec<(Expression, String)> = Vec::new();
    for (at, rule) in rules.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let message = rule.message.unwrap_or_default();
        match (given(rule.claim), given(rule.expression)) {
            (Some(_), Some(_)) => {
                return invalid(path, "a rule has a claim or an expression, not both");
            }
            (None, None) => return invalid(path, "give a claim or an expression"),
            (Some(claim), None) => {
                if !message.is_empty() {
                    return invalid(format!("{path}.message"), "only with an expression");
                }
                if required.iter().any(|(known, _)| *known == claim) {
                    return invalid(format!("{path}.claim"), "it stands here twice");
                }
                required.push((claim, rule.required_value.unwrap_or_default()));
            }
            (None, Some(source)) => {
                if rule.required_value.is_some_and(|value| !value.is_empty()) {
                    return invalid(format!("{path}.requiredValue"), "only with a claim");
                }
                let path = format!("{path}.expression");
                if expressions
                    .iter()
                    .any(|(known, _)| known.source() == source)
                {
                    return invalid(path, "it stands here twice");
                }
                expressions.push((
                    compiled(&source, (rules::CLAIMS, Gives::Bool), &path)?,
                    message,
                ));
            }
        }
    }
    Ok((required, expressions))
}

fn user_rules(
    rules: Option<Vec<FileUserRule>>,
    path: &str,
) -> Result<Vec<(Expression, String)>, ConfigFileError> {
    let mut found: Vec<(Expression, String)> = Vec::new();
    for (at, rule) in rules.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{at}].expression");
        if found
            .iter()
            .any(|(known, _)| known.source() == rule.expression)
        {
            return invalid(path, "it stands here twice");
        }
        let expression = compiled(&rule.expression, (rules::USER, Gives::Bool), &path)?;
        found.push((expression, rule.message.unwrap_or_default()));
    }
    Ok(found)
}

/// A claim with its prefix, if it has one, or an expression.
fn mapping(
    file: FileMapping,
    path: &str,
    (has_prefix, gives): (bool, Gives),
) -> Result<Option<Mapping>, ConfigFileError> {
    if file.prefix.is_some() && !has_prefix {
        return invalid(format!("{path}.prefix"), "there is none");
    }
    match (given(file.claim), given(file.expression)) {
        (Some(_), Some(_)) => invalid(path, "give a claim or an expression, not both"),
        (None, Some(source)) => {
            if file.prefix.is_some() {
                return invalid(format!("{path}.prefix"), "only with a claim");
            }
            let expression = compiled(
                &source,
                (rules::CLAIMS, gives),
                &format!("{path}.expression"),
            )?;
            Ok(Some(Mapping::Expression(expression)))
        }
        (Some(claim), None) => match file.prefix {
            None if has_prefix => {
                let what = "give one; \"\" for none, if no other names can be the same";
                invalid(format!("{path}.prefix"), what)
            }
            prefix => Ok(Some(Mapping::Claim {
                name: claim,
                prefix: prefix.unwrap_or_default(),
            })),
        },
        (None, None) if file.prefix.is_some_and(|prefix| !prefix.is_empty()) => {
            invalid(format!("{path}.prefix"), "only with a claim")
        }
        (None, None) => Ok(None),
    }
}

fn extra(
    file: Option<Vec<FileExtra>>,
    path: &str,
) -> Result<Vec<(String, Expression)>, ConfigFileError> {
    let mut found: Vec<(String, Expression)> = Vec::new();
    for (at, one) in file.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let key = one.key;
        let domain = key.split_once('/').filter(|(_, rest)| !rest.is_empty());
        let domain = domain.map_or("", |(domain, _)| domain);
        if names::subdomain(domain).is_err() || key != key.to_lowercase() {
            let what = format!("{key:?} is not like example.org/foo, in small letters");
            return invalid(format!("{path}.key"), what);
        }
        let is_within = |other: &str| domain == other || domain.ends_with(&format!(".{other}"));
        if is_within("k8s.io") || is_within("kubernetes.io") {
            let what = format!("{key:?} is for Kubernetes alone");
            return invalid(format!("{path}.key"), what);
        }
        if found.iter().any(|(known, _)| *known == key) {
            return invalid(format!("{path}.key"), "it stands here twice");
        }
        let at = format!("{path}.valueExpression");
        found.push((
            key,
            compiled(&one.value_expression, (rules::CLAIMS, Gives::Texts), &at)?,
        ));
    }
    Ok(found)
}

fn compiled(
    source: &str,
    (language, gives): (Language, Gives),
    path: &str,
) -> Result<Expression, ConfigFileError> {
    if source.is_empty() {
        return invalid(path, "it is missing");
    }
    Expression::compile(source, language, gives).or_else(|what| invalid(path, what))
}

/// A text that is there and not empty.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
