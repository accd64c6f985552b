//! Conditions of an operator's own, in the Common Expression Language ([`everleaf_cel`]).
//!
//! It refuses to know rules; a predicate is one of them.
//!
//! Variables: `csr`, `node` (or null), `inventory` (or null), `now`, as the
//! [environment](super::environment) has them. All addresses in them are in
//! canonical form, so that comparing texts is safe; all times are seconds since 1970.

use crate::serving::names::any_holds;
use everleaf_cel::{
    ExecutionError, Expression, Gives, Language, Type, Value, kind, too_long, words,
};

/// Longest list or map in the environment; a longer one breaks the rule.
pub const LIST_MAX: usize = 128;

const LANGUAGE: Language = Language {
    variables: &[
        ("csr", || CSR),
        ("node", || NODE),
        ("inventory", Type::texts),
        ("now", || Type::Int),
    ],
    list_max: LIST_MAX,
    has_text_functions: false,
    is_within: |range, address| any_holds(&[*range], address),
};

/// What a request has.
const CSR: Type = Type::Object {
    name: "csr",
    members: &[
        ("name", || Type::String),
        ("username", || Type::String),
        ("groups", Type::texts),
        ("extra", Type::texts_by_name),
        ("signer", || Type::String),
        ("usages", Type::texts),
        ("expirationSeconds", || Type::Int),
        ("age", || Type::Int),
        ("subject", || SUBJECT),
        ("san", || SAN),
        ("key", || KEY),
    ],
};
const SUBJECT: Type = Type::Object {
    name: "csr.subject",
    members: &[("cn", || Type::String), ("o", Type::texts)],
};
const SAN: Type = Type::Object {
    name: "csr.san",
    members: &[("dns", Type::texts), ("ips", Type::texts)],
};
const KEY: Type = Type::Object {
    name: "csr.key",
    members: &[("algorithm", || Type::String), ("bits", || Type::Int)],
};

/// What a node has.
const NODE: Type = Type::Object {
    name: "node",
    members: &[
        ("name", || Type::String),
        ("labels", Type::text_by_name),
        ("annotations", Type::text_by_name),
        ("addresses", || Type::List(Box::new(ADDRESS))),
        ("createdAt", || Type::Int),
        ("ready", || Type::Bool),
    ],
};
const ADDRESS: Type = Type::Object {
    name: "node.addresses",
    members: &[("type", || Type::String), ("address", || Type::String)],
};

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Predicate {
    expression: Expression,
    message: String,
}

impl Predicate {
    /// Checks an expression; `message` says what it means to whoever breaks it.
    ///
    /// # Errors
    /// When it is no expression, names an unknown variable, may cost too much, or does not give
    /// true or false.
    pub fn compile(source: &str, message: &str) -> Result<Self, String> {
        let predicate = Self {
            expression: Expression::compile(source, LANGUAGE, Gives::Bool)?,
            message: message.to_owned(),
        };
        predicate.try_out()?;
        Ok(predicate)
    }

    /// Evaluates it over an environment that has everything, to find what never works.
    fn try_out(&self) -> Result<(), String> {
        match self.expression.evaluate(&sample()) {
            Ok(Value::Bool(_)) => Ok(()),
            Ok(other) => Err(format!("it gives {}, not true or false", kind(&other))),
            // A label, an annotation or an inventory entry that the sample does not have.
            Err(ExecutionError::IndexOutOfBounds(_)) => Ok(()),
            Err(ExecutionError::NoSuchKey(key)) if !self.reads_free_keys() => {
                Err(format!("there is no {key:?} in what expressions see"))
            }
            Err(ExecutionError::NoSuchKey(_)) => Ok(()),
            Err(error) => Err(words(&error)),
        }
    }

    /// Whether it reads a map whose keys are not ours.
    fn reads_free_keys(&self) -> bool {
        let maps = ["labels", "annotations", "extra"];
        maps.iter()
            .any(|map| self.expression.source().contains(map))
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// Why it does not: its message, or what went wrong in evaluating it.
    pub fn check(&self, environment: &serde_json::Value) -> Result<(), String> {
        let shown = match self.message.as_str() {
            "" => format!("expression {:?} is false", self.expression.source()),
            message => message.to_owned(),
        };
        if let Some(name) = too_long(environment, LIST_MAX) {
            return Err(format!("{shown} ({name} has more than {LIST_MAX} entries)"));
        }
        match self.expression.evaluate(environment) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(shown),
            Ok(other) => Err(format!("{shown} (the expression gives {})", kind(&other))),
            Err(error) => Err(format!("{shown} ({})", words(&error))),
        }
    }
}

/// One of everything: what [`environment`](super::environment) can hold.
fn sample() -> serde_json::Value {
    serde_json::json!({
        "csr": {
            "name": "csr-1", "username": "system:node:n1", "groups": ["system:nodes"],
            "extra": { "example.com/key": ["value"] }, "signer": "kubernetes.io/kubelet-serving",
            "usages": ["server auth"], "expirationSeconds": 3600, "age": 1,
            "subject": { "cn": "system:node:n1", "o": ["system:nodes"] },
            "san": { "dns": ["n1"], "ips": ["10.0.0.1"] },
            "key": { "algorithm": "ECDSA-P256", "bits": 256 },
        },
        "node": {
            "name": "n1", "labels": { "a": "b" }, "annotations": { "a": "b" },
            "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
            "createdAt": 1, "ready": true,
        },
        "inventory": ["10.0.0.1"],
        "now": 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_true(source: &str) -> Result<(), String> {
        Predicate::compile(source, "").unwrap().check(&sample())
    }

    #[test]
    fn expressions_over_request_and_node() {
        for source in [
            "csr.san.ips.all(ip, node.addresses.exists(a, a.address == ip)) && size(csr.san.dns) <= 2",
            "csr.expirationSeconds <= 3600",
            "csr.expirationSeconds == 3600 && csr.expirationSeconds < 3601 && csr.age >= 0",
            "now - node.createdAt < 60",
            "cidr('10.0.0.0/8').contains(csr.san.ips[0])",
            "csr.san.ips.all(i, cidr('10.0.0.0/8').containsIP(i))",
            "!cidr('10.0.0.0/8').contains('n1')",
            "ip('::ffff:10.0.0.1') == csr.san.ips[0]",
            "csr.san.dns[0].matches('^n[0-9]$')",
            "node != null && node.ready && 'a' in node.labels",
            "csr.key.algorithm.startsWith('ECDSA') && csr.key.bits >= 256",
            "csr.extra['example.com/key'][0] == 'value'",
            "csr.subject.o == ['system:nodes']",
            "has(node.labels.a) ? node.labels.a == 'b' : false",
        ] {
            assert_eq!(is_true(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn what_does_not_hold_says_so() {
        let two = Predicate::compile("size(csr.san.ips) == 2", "two addresses").unwrap();
        assert_eq!(two.check(&sample()), Err("two addresses".to_owned()));
        let label = Predicate::compile("node.labels['zone'] == 'a'", "zone a").unwrap();
        let error = label.check(&sample()).unwrap_err();
        assert!(error.starts_with("zone a ("), "{error}");
        let mut bare = sample();
        bare["node"] = serde_json::Value::Null;
        assert!(label.check(&bare).is_err());
        let mut long = sample();
        long["csr"]["san"]["ips"] = serde_json::json!(vec!["10.0.0.1"; LIST_MAX + 1]);
        let error = two.check(&long).unwrap_err();
        assert!(error.contains("csr.san.ips has more than 128"), "{error}");
    }

    #[test]
    fn what_never_works_is_refused() {
        let nested = "csr.san.ips.all(a, csr.san.ips.all(b, csr.san.ips.all(c, csr.san.ips.all(d, a == d))))";
        let long = format!("{} true", "true && ".repeat(2000));
        let cases = [
            ("csr.san.dns ==", "not an expression"),
            ("size(csr.san.dns)", "must evaluate to bool but got int"),
            ("crs.name == 'a'", "unknown variable \"crs\""),
            ("csr.san.dns[0].matches(csr.name)", "text in quotes"),
            ("csr.name.matches('(')", "not a regular expression"),
            ("csr.name.matches('(a{1000}){1000}')", "too large"),
            ("cidr('10.0.0.0').contains('10.0.0.1')", "not a range"),
            ("cidr(csr.name).contains('10.0.0.1')", "text in quotes"),
            ("cidr('10.0.0.0/8') == csr.name", "only before"),
            ("nonsense(csr.name)", "nonsense"),
            ("csr.name && true", "overload"),
            ("node == null || node.ready == 'yes'", "overload"),
            ("csr.subject.ou == 'x'", "undefined field 'ou'"),
            (
                "node == null || node.label.a == 'x'",
                "undefined field 'label'",
            ),
            (nested, "may cost"),
            (&long, "longer than"),
        ];
        for (source, expected) in cases {
            let error = Predicate::compile(source, "").unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}
