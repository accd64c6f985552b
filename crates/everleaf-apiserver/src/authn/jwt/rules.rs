//! From what a token says to a user: claims, expressions over them, and rules about both
//! (`apiserver/plugin/pkg/authenticator/token/oidc`).

use super::config::IssuerConfig;
use super::fault::{Fault, Reason};
use crate::user::User;
use everleaf_api::fields::quote;
use everleaf_cel::{Expression, Language, Type, Value as Cel, kind, too_long, words};
use serde_json::{Value, json};

/// Longest list or map among the claims that expressions are made for: some issuers put a few
/// hundred groups into a token.
const LIST_MAX: usize = 512;

/// What expressions over a token see.
pub(super) const CLAIMS: Language = Language {
    variables: &[("claims", || Type::Map(Box::new(Type::Any)))],
    list_max: LIST_MAX,
    has_text_functions: true,
    is_within: |range, address| range.contains(&address),
};
/// What expressions over the user see that comes of it.
pub(super) const USER: Language = Language {
    variables: &[("user", || USER_INFO)],
    ..CLAIMS
};
const USER_INFO: Type = Type::Object {
    name: "kubernetes.UserInfo",
    members: &[
        ("username", || Type::String),
        ("uid", || Type::String),
        ("groups", Type::texts),
        ("extra", Type::texts_by_name),
    ],
};

/// Name of a fact about the credential, as service accounts' tokens have it.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Where an attribute of the user comes from.
#[derive(Debug, Clone)]
pub(super) enum Mapping {
    /// A claim, with something put before it.
    Claim { name: String, prefix: String },
    /// An expression over the claims.
    Expression(Expression),
}

/// The user behind the claims of a token whose signature, time and audience are good.
pub(super) fn user(config: &IssuerConfig, claims: &Value) -> Result<User, Fault> {
    let environment = json!({"claims": claims});
    if config.has_expressions()
        && let Some(name) = too_long(&environment, LIST_MAX)
    {
        return Err(format!("{name} has more than {LIST_MAX} entries").into());
    }
    let token = Token {
        claims,
        environment,
    };
    let mut user = User {
        name: token.name(&config.username)?,
        uid: token.uid(config.uid.as_ref())?,
        groups: token.groups(config.groups.as_ref())?,
        ..User::default()
    };
    let id = claims.get("jti").and_then(Value::as_str);
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        let id = vec![format!("JTI={id}")];
        user.extra.insert(CREDENTIAL_ID.to_owned(), id);
    }
    for (key, expression) in &config.extra {
        let values = token.list(expression, key)?;
        if !values.is_empty() {
            user.extra.insert(key.clone(), values);
        }
    }
    for (name, wanted) in &config.required_claims {
        if text(claims, name)? != wanted {
            let what = format!("its claim {name:?} is not {wanted:?}");
            return Err(Fault::new(Reason::Rule, what));
        }
    }
    check(&config.claim_rules, &token.environment).map_err(Fault::rule)?;
    let described = json!({"user": described(&user)});
    check(&config.user_rules, &described).map_err(Fault::rule)?;
    Ok(user)
}

/// What a token says.
struct Token<'a> {
    claims: &'a Value,
    /// The same for expressions.
    environment: Value,
}

impl Token<'_> {
    fn evaluate(&self, expression: &Expression) -> Result<Cel, String> {
        let value = expression.evaluate(&self.environment);
        value.map_err(|error| format!("{}: {}", shown(expression), words(&error)))
    }

    /// A text or a list of texts; `what` is made of it.
    fn list(&self, expression: &Expression, what: &str) -> Result<Vec<String>, String> {
        list(&self.evaluate(expression)?).ok_or_else(|| {
            format!("the expression for {what} gives neither a text nor a list of texts")
        })
    }

    fn name(&self, mapping: &Mapping) -> Result<String, String> {
        let (name, prefix) = match mapping {
            Mapping::Claim { name, prefix } => (name, prefix),
            Mapping::Expression(expression) => {
                return match self.evaluate(expression)? {
                    Cel::String(text) if !text.is_empty() => Ok(text.as_str().to_owned()),
                    Cel::String(_) => {
                        Err("empty username via CEL expression is not allowed".to_owned())
                    }
                    other => Err(format!(
                        "the expression for the user name gives {}",
                        kind(&other)
                    )),
                };
            }
        };
        let text = text(self.claims, name)?;
        let verified = self.claims.get("email_verified");
        if name == "email" && verified.is_some_and(|it| it != true) {
            return Err("its email is not verified".to_owned());
        }
        match format!("{prefix}{text}") {
            nobody if nobody.is_empty() => Err(format!(
                "its claim {name:?} is empty: that is nobody's user name"
            )),
            name => Ok(name),
        }
    }

    fn groups(&self, mapping: Option<&Mapping>) -> Result<Vec<String>, String> {
        match mapping {
            None => Ok(Vec::new()),
            Some(Mapping::Claim { name, prefix }) => {
                let groups = texts(self.claims, name)?.into_iter();
                Ok(groups.map(|group| format!("{prefix}{group}")).collect())
            }
            Some(Mapping::Expression(expression)) => self.list(expression, "groups"),
        }
    }

    fn uid(&self, mapping: Option<&Mapping>) -> Result<String, String> {
        match mapping {
            None => Ok(String::new()),
            Some(Mapping::Claim { name, .. }) => Ok(text(self.claims, name)?.to_owned()),
            Some(Mapping::Expression(expression)) => match self.evaluate(expression)? {
                Cel::String(text) => Ok(text.as_str().to_owned()),
                other => Err(format!("the expression for the uid gives {}", kind(&other))),
            },
        }
    }
}

/// An expression as a fault names it.
fn shown(expression: &Expression) -> String {
    format!("expression {}", quote(expression.source()))
}

impl IssuerConfig {
    fn has_expressions(&self) -> bool {
        let is_expression = |mapping: &Mapping| matches!(mapping, Mapping::Expression(_));
        !self.claim_rules.is_empty()
            || !self.extra.is_empty()
            || is_expression(&self.username)
            || self.groups.as_ref().is_some_and(is_expression)
            || self.uid.as_ref().is_some_and(is_expression)
    }
}

/// A user as `authentication.k8s.io/v1` UserInfo.
fn described(user: &User) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}

fn check(rules: &[(Expression, String)], environment: &Value) -> Result<(), String> {
    for (expression, message) in rules {
        let source = expression.source();
        match expression.evaluate(environment) {
            Ok(Cel::Bool(true)) => {}
            Ok(Cel::Bool(false)) => {
                return Err(format!(
                    "validation expression '{source}' failed: {message}"
                ));
            }
            Ok(other) => return Err(format!("{} gives {}", shown(expression), kind(&other))),
            Err(error) => return Err(format!("{}: {}", shown(expression), words(&error))),
        }
    }
    Ok(())
}

/// A claim that must be there, and a text.
fn text<'a>(claims: &'a Value, name: &str) -> Result<&'a str, String> {
    match claims.get(name) {
        None => Err(format!("it has no claim {name:?}")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("its claim {name:?} is no text")),
    }
}

/// A claim that is a text, a list of texts, or not there.
fn texts(claims: &Value, name: &str) -> Result<Vec<String>, String> {
    let fault = || format!("its claim {name:?} is neither a text nor a list of texts");
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or_else(fault)
        }
        Some(_) => Err(fault()),
    }
}

/// A text or a list of texts without those that are empty; null is none.
fn list(value: &Cel) -> Option<Vec<String>> {
    let text = |value: &Cel| match value {
        Cel::String(text) => Some(text.as_str().to_owned()),
        _ => None,
    };
    let mut texts = match value {
        Cel::Null => Vec::new(),
        Cel::List(items) => items.iter().map(text).collect::<Option<_>>()?,
        one => vec![text(one)?],
    };
    texts.retain(|text: &String| !text.is_empty());
    Some(texts)
}
