//! Conditions of an operator's own, in the Common Expression Language, with bounded cost.
//!
//! The interpreter (crate `cel`) has no cost limit of its own, so the limit holds before anything
//! runs: [`Predicate::compile`] refuses an expression whose worst case over the lists of the
//! [environment](super::environment) is above [`COST_MAX`], one that names what does not exist, and
//! one whose patterns come from the request. It refuses to know rules; a predicate is one of them.
//!
//! Variables: `csr`, `node` (or null), `inventory` (or null), `now`. All addresses in them are in
//! canonical form, so that comparing texts is safe; all times are seconds since 1970. Besides the
//! language's own functions: `ip(text)`, the canonical form of an address, and
//! `cidr("10.0.0.0/8").contains(text)`.

use crate::serving::names::any_holds;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::Parser;
use cel::{Context, ExecutionError, Value};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// Most that an expression may cost, in visited parts of it.
pub const COST_MAX: u64 = 1_000_000;
/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 8192;
/// Longest list or map in the environment; a longer one breaks the rule.
pub const LIST_MAX: usize = 128;
/// How deep an expression may be.
const DEPTH_MAX: u16 = 64;
/// The function that `cidr(…).contains(…)` becomes.
const CIDR_CONTAINS: &str = "cidr_contains";
const VARIABLES: [&str; 4] = ["csr", "node", "inventory", "now"];

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Predicate {
    expression: IdedExpr,
    source: String,
    message: String,
}

impl Predicate {
    /// Checks an expression; `message` says what it means to whoever breaks it.
    ///
    /// # Errors
    /// When it is no expression, names an unknown variable, may cost too much, or does not give
    /// true or false.
    pub fn compile(source: &str, message: &str) -> Result<Self, String> {
        if source.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let parser = Parser::new().max_recursion_depth(DEPTH_MAX);
        let mut expression = parser
            .parse(source)
            .map_err(|_| "not an expression".to_owned())?;
        let mut reader = Reader::default();
        let cost = reader.read(&mut expression)?;
        if cost > COST_MAX {
            return Err(format!(
                "it may cost {cost} steps, and {COST_MAX} are allowed: nest fewer all(), exists(), map() and filter()"
            ));
        }
        let predicate = Self {
            expression,
            source: source.to_owned(),
            message: message.to_owned(),
        };
        predicate.try_out()?;
        Ok(predicate)
    }

    /// Evaluates it over an environment that has everything, to find what never works.
    fn try_out(&self) -> Result<(), String> {
        match self.run(&sample()) {
            Ok(Value::Bool(_)) => Ok(()),
            Ok(other) => Err(format!("it gives {}, not true or false", kind(&other))),
            // A label, an annotation or an inventory entry that the sample does not have.
            Err(ExecutionError::IndexOutOfBounds(_)) => Ok(()),
            Err(ExecutionError::NoSuchKey(key)) if !self.reads_free_keys() => {
                Err(format!("there is no {key:?} in what expressions see"))
            }
            Err(ExecutionError::NoSuchKey(_)) => Ok(()),
            Err(error) => Err(one_line(&error.to_string())),
        }
    }

    /// Whether it reads a map whose keys are not ours.
    fn reads_free_keys(&self) -> bool {
        let maps = ["labels", "annotations", "extra"];
        maps.iter().any(|map| self.source.contains(map))
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// Why it does not: its message, or what went wrong in evaluating it.
    pub fn check(&self, environment: &serde_json::Value) -> Result<(), String> {
        let shown = match self.message.as_str() {
            "" => format!("expression {:?} is false", self.source),
            message => message.to_owned(),
        };
        if let Some(name) = too_long(environment) {
            return Err(format!("{shown} ({name} has more than {LIST_MAX} entries)"));
        }
        match self.run(environment) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(Value::Bool(false)) => Err(shown),
            Ok(other) => Err(format!("{shown} (the expression gives {})", kind(&other))),
            Err(error) => Err(format!("{shown} ({})", one_line(&error.to_string()))),
        }
    }

    fn run(&self, environment: &serde_json::Value) -> Result<Value, ExecutionError> {
        let mut context = Context::default();
        for name in VARIABLES {
            context.add_variable_from_value(name, value_of(&environment[name]));
        }
        let failed = |name: &str, error: cel::DeclarationError| ExecutionError::FunctionError {
            function: name.to_owned(),
            message: error.to_string(),
        };
        context
            .add_function("ip", |text: Arc<String>| canonical(&text))
            .map_err(|error| failed("ip", error))?;
        context
            .add_function(CIDR_CONTAINS, |range: Arc<String>, text: Arc<String>| {
                is_within(&range, &text)
            })
            .map_err(|error| failed("cidr", error))?;
        Value::resolve(&self.expression, &context)
    }
}

fn canonical(text: &str) -> Result<Value, ExecutionError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_canonical().to_string().into()),
        Err(_) => Err(ExecutionError::FunctionError {
            function: "ip".to_owned(),
            message: format!("{text:?} is not an address"),
        }),
    }
}

/// False for what is no address. The range was checked when the expression was compiled.
fn is_within(range: &str, text: &str) -> bool {
    match (range.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(range), Ok(address)) => any_holds(&[range], address),
        _ => false,
    }
}

/// JSON as values of the language. Whole numbers are `int`, whatever their sign: an operator who
/// writes `<= 3600` compares with one.
fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(*bool),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || Value::Float(number.as_f64().unwrap_or_default()),
            Value::Int,
        ),
        serde_json::Value::String(text) => text.clone().into(),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect::<Vec<_>>().into(),
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, item)| (key.clone(), value_of(item)));
            fields
                .collect::<std::collections::HashMap<String, Value>>()
                .into()
        }
    }
}

/// The name of a list or map that is longer than expressions are made for.
fn too_long(json: &serde_json::Value) -> Option<String> {
    let find = |name: &str, item: &serde_json::Value| {
        too_long(item).map(|inner| match inner.as_str() {
            "" => name.to_owned(),
            inner => format!("{name}.{inner}"),
        })
    };
    match json {
        serde_json::Value::Array(items) if items.len() > LIST_MAX => Some(String::new()),
        serde_json::Value::Object(fields) if fields.len() > LIST_MAX => Some(String::new()),
        serde_json::Value::Array(items) => items.iter().find_map(too_long),
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(name, item)| find(name, item))
        }
        _ => None,
    }
}

fn kind(value: &Value) -> String {
    value.type_of().to_string()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads an expression once: what it names, what it may cost. Rewrites `cidr(…).contains(…)`.
#[derive(Default)]
struct Reader {
    /// Variables of the comprehensions around the part that is read.
    bound: Vec<String>,
}

impl Reader {
    fn read(&mut self, expression: &mut IdedExpr) -> Result<u64, String> {
        let inner = match &mut expression.expr {
            Expr::Unspecified | Expr::Literal(_) => 0,
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::Ident(name) => self.ident(name)?,
            Expr::List(list) => self.all(&mut list.elements)?,
            Expr::Map(map) => {
                let mut cost = 0;
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        cost += self.read(&mut entry.key)? + self.read(&mut entry.value)?;
                    }
                }
                cost
            }
            Expr::Select(select) => self.read(&mut select.operand)?,
            Expr::Struct(_) => return Err("messages cannot be made here".to_owned()),
        };
        Ok(inner.saturating_add(1))
    }

    fn all(&mut self, expressions: &mut [IdedExpr]) -> Result<u64, String> {
        let mut cost = 0_u64;
        for expression in expressions {
            cost = cost.saturating_add(self.read(expression)?);
        }
        Ok(cost)
    }

    fn ident(&self, name: &str) -> Result<u64, String> {
        let is_known = VARIABLES.contains(&name)
            || self.bound.iter().any(|bound| bound == name)
            // Accumulators of the language's macros.
            || name.starts_with('@')
            || name.starts_with("__");
        match is_known {
            true => Ok(0),
            false => Err(format!(
                "unknown variable {name:?}; there are {}",
                VARIABLES.join(", ")
            )),
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<u64, String> {
        rewrite_cidr(call)?;
        if call.func_name == "cidr" {
            return Err("cidr(…) stands only before .contains(…)".to_owned());
        }
        if call.func_name == "matches" {
            check_pattern(call.args.last())?;
        }
        let target = match &mut call.target {
            Some(target) => self.read(target)?,
            None => 0,
        };
        Ok(target.saturating_add(self.all(&mut call.args)?))
    }

    /// Its range may be a list of the environment, or several of them put together.
    fn comprehension(&mut self, part: &mut ComprehensionExpr) -> Result<u64, String> {
        let range = self.read(&mut part.iter_range)?;
        let start = self.read(&mut part.accu_init)?;
        let outside = self.bound.len();
        self.bound.push(part.iter_var.clone());
        self.bound.extend(part.iter_var2.clone());
        self.bound.push(part.accu_var.clone());
        let condition = self.read(&mut part.loop_cond)?;
        let step = self.read(&mut part.loop_step)?;
        let result = self.read(&mut part.result)?;
        self.bound.truncate(outside);
        let turns = (LIST_MAX as u64).saturating_mul(range.div_ceil(8));
        let turn = condition.saturating_add(step);
        Ok(range
            .saturating_add(start)
            .saturating_add(turns.saturating_mul(turn))
            .saturating_add(result))
    }
}

fn literal_text(expression: Option<&IdedExpr>) -> Option<&str> {
    match &expression?.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// `cidr("…").contains(x)`, or `containsIP` as Kubernetes has it, becomes a call of one function.
fn rewrite_cidr(call: &mut CallExpr) -> Result<(), String> {
    if !matches!(call.func_name.as_str(), "contains" | "containsIP") {
        return Ok(());
    }
    let Some(Expr::Call(inner)) = call.target.as_ref().map(|target| &target.expr) else {
        return Ok(());
    };
    if inner.func_name != "cidr" || inner.target.is_some() {
        return Ok(());
    }
    let text = literal_text(inner.args.first()).filter(|_| inner.args.len() == 1);
    let text = text.ok_or("cidr(…) takes one range, as a text in quotes")?;
    if text.parse::<IpNet>().is_err() {
        return Err(format!("cidr: {text:?} is not a range such as 10.0.0.0/16"));
    }
    let range = inner.args.clone();
    call.args.splice(0..0, range);
    call.target = None;
    CIDR_CONTAINS.clone_into(&mut call.func_name);
    Ok(())
}

/// A pattern that a request could choose would be compiled on its behalf.
fn check_pattern(pattern: Option<&IdedExpr>) -> Result<(), String> {
    const PATTERN_BYTES_MAX: usize = 64 << 10;
    let text = literal_text(pattern).ok_or("matches: the pattern must be a text in quotes")?;
    match regex::RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
    {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "matches: {text:?} is not a regular expression, or too large a one"
        )),
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
            ("size(csr.san.dns)", "not true or false"),
            ("crs.name == 'a'", "unknown variable \"crs\""),
            ("csr.san.dns[0].matches(csr.name)", "text in quotes"),
            ("csr.name.matches('(')", "not a regular expression"),
            ("csr.name.matches('(a{1000}){1000}')", "too large"),
            ("cidr('10.0.0.0').contains('10.0.0.1')", "not a range"),
            ("cidr(csr.name).contains('10.0.0.1')", "text in quotes"),
            ("cidr('10.0.0.0/8') == csr.name", "only before"),
            ("nonsense(csr.name)", "nonsense"),
            ("csr.name && true", "overload"),
            ("csr.subject.ou == 'x'", "there is no \"ou\""),
            (nested, "may cost"),
            (&long, "longer than"),
        ];
        for (source, expected) in cases {
            let error = Predicate::compile(source, "").unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}
