//! Expressions of an operator's own, in the Common Expression Language, with bounded cost.
//!
//! The interpreter (crate `cel`) has no cost limit of its own, so the limit holds before anything
//! runs: [`Expression::compile`] refuses an expression whose worst case over the lists of its
//! environment is above [`COST_MAX`], one that names what does not exist, one whose patterns come
//! from elsewhere, and one that can never be evaluated, or never to what it is [for](Gives). It
//! refuses to know what an expression is about.
//!
//! Besides the language's own functions: `ip(text)`, the canonical form of an address, and
//! `cidr("10.0.0.0/8").contains(text)`.

mod infer;
mod starts;
mod types;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::Parser;
use cel::{Context, Env};
use infer::Inference;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

pub use cel::{ExecutionError, Value};
pub use starts::Start;
pub use types::{Gives, Members, Type};

/// Most that an expression may cost, in visited parts of it.
pub const COST_MAX: u64 = 1_000_000;
/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 8192;
/// How deep an expression may be.
const DEPTH_MAX: u16 = 64;
/// The function that `cidr(…).contains(…)` becomes.
const CIDR_CONTAINS: &str = "cidr_contains";

/// What expressions of one kind see.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// Their variables, and what is known of each.
    pub variables: Members,
    /// Longest list or map in the environment; it decides what an expression may cost.
    pub list_max: usize,
    /// Functions over texts, as Kubernetes has them (`split`, `lowerAscii`, …), are there.
    pub has_text_functions: bool,
    /// Whether an address is within a range.
    pub is_within: fn(&IpNet, IpAddr) -> bool,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    expression: IdedExpr,
    source: String,
    language: Language,
}

impl Expression {
    /// Checks an expression that is to give something.
    ///
    /// # Errors
    /// When it is none, names an unknown variable or function, may cost too much, or can never give
    /// that, whatever its variables have.
    pub fn compile(source: &str, language: Language, gives: Gives) -> Result<Self, String> {
        if source.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let parser = Parser::new().max_recursion_depth(DEPTH_MAX);
        let mut expression = parser
            .enable_optional_syntax(true)
            .parse(source)
            .map_err(|_| "not an expression".to_owned())?;
        let mut reader = Reader {
            language,
            bound: Vec::new(),
        };
        let cost = reader.read(&mut expression)?;
        if cost > COST_MAX {
            return Err(format!(
                "it may cost {cost} steps, and {COST_MAX} are allowed: nest fewer all(), exists(), map() and filter()"
            ));
        }
        let known = language.variables.iter();
        let mut inference = Inference {
            variables: known
                .map(|(name, known)| ((*name).to_owned(), known()))
                .collect(),
            has_text_functions: language.has_text_functions,
        };
        let found = inference.of(&expression);
        let found = found.map_err(|what| format!("compilation failed: {what}"))?;
        gives.check(&found)?;
        Ok(Self {
            expression,
            source: source.to_owned(),
            language,
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Evaluates it. The caller has seen to it that nothing in `environment` is
    /// [longer](too_long) than expected.
    ///
    /// # Errors
    /// As the interpreter says.
    pub fn evaluate(&self, environment: &serde_json::Value) -> Result<Value, ExecutionError> {
        let mut context = match self.language.has_text_functions {
            true => Context::with_env(Arc::clone(with_text_functions())),
            false => Context::default(),
        };
        for (name, _) in self.language.variables {
            context.add_variable_from_value(*name, value_of(&environment[*name]));
        }
        let failed = |name: &str, error: cel::DeclarationError| ExecutionError::FunctionError {
            function: name.to_owned(),
            message: error.to_string(),
        };
        context
            .add_function("ip", |text: Arc<String>| canonical(&text))
            .map_err(|error| failed("ip", error))?;
        let is_within = self.language.is_within;
        context
            .add_function(
                CIDR_CONTAINS,
                move |range: Arc<String>, text: Arc<String>| match (
                    range.parse::<IpNet>(),
                    text.parse::<IpAddr>(),
                ) {
                    (Ok(range), Ok(address)) => is_within(&range, address),
                    // The range was checked when the expression was compiled.
                    _ => false,
                },
            )
            .map_err(|error| failed("cidr", error))?;
        Value::resolve(&self.expression, &context)
    }

    /// With what the texts begin that it can give.
    pub fn starts(&self) -> Vec<Start<'_>> {
        starts::of(&self.expression)
    }

    /// Does it read the member `member` of the variable `variable`?
    pub fn reads(&self, variable: &str, member: &str) -> bool {
        reads(&self.expression, variable, member)
    }
}

/// The language's own functions, and those over texts.
fn with_text_functions() -> &'static Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    ENV.get_or_init(|| {
        let mut env = Env::stdlib();
        cel::extensions::strings(&mut env).expect("invariant: nothing of it is declared yet");
        Arc::new(env)
    })
}

fn reads(expression: &IdedExpr, variable: &str, member: &str) -> bool {
    let within = |part: &IdedExpr| reads(part, variable, member);
    let is_variable = |part: &IdedExpr| matches!(&part.expr, Expr::Ident(name) if name == variable);
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => false,
        Expr::Select(select) => {
            (select.field == member && is_variable(&select.operand)) || within(&select.operand)
        }
        Expr::Call(call) => {
            // An index, or an optional member.
            let [first, second, ..] = call.args.as_slice() else {
                return call.target.iter().any(|target| within(target))
                    || call.args.iter().any(within);
            };
            (is_variable(first) && literal_text(Some(second)) == Some(member))
                || call.target.iter().any(|target| within(target))
                || call.args.iter().any(within)
        }
        Expr::Comprehension(part) => [
            &part.iter_range,
            &part.accu_init,
            &part.loop_cond,
            &part.loop_step,
            &part.result,
        ]
        .into_iter()
        .any(within),
        Expr::List(list) => list.elements.iter().any(within),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => within(&entry.key) || within(&entry.value),
            EntryExpr::StructField(_) => false,
        }),
    }
}

/// The type of a value, in the language's words.
pub fn kind(value: &Value) -> String {
    value.type_of().to_string()
}

/// What went wrong, on one line.
pub fn words(error: &ExecutionError) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

/// The name of a list or map that is longer than `list_max`.
pub fn too_long(json: &serde_json::Value, list_max: usize) -> Option<String> {
    let find = |name: &str, item: &serde_json::Value| {
        too_long(item, list_max).map(|inner| match inner.as_str() {
            "" => name.to_owned(),
            inner => format!("{name}.{inner}"),
        })
    };
    match json {
        serde_json::Value::Array(items) if items.len() > list_max => Some(String::new()),
        serde_json::Value::Object(fields) if fields.len() > list_max => Some(String::new()),
        serde_json::Value::Array(items) => items.iter().find_map(|item| too_long(item, list_max)),
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(name, item)| find(name, item))
        }
        _ => None,
    }
}

/// Reads an expression once: what it names, what it may cost. Rewrites `cidr(…).contains(…)`.
struct Reader {
    language: Language,
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
        let mut variables = self.language.variables.iter();
        let is_known = variables.any(|(variable, _)| *variable == name)
            || self.bound.iter().any(|bound| bound == name)
            // Accumulators of the language's macros.
            || name.starts_with('@')
            || name.starts_with("__");
        match is_known {
            true => Ok(0),
            false => {
                let names = self.language.variables.iter().map(|(name, _)| *name);
                let names = names.collect::<Vec<_>>().join(", ");
                Err(format!("unknown variable {name:?}; there are {names}"))
            }
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<u64, String> {
        rewrite_cidr(call)?;
        if call.func_name == "cidr" {
            return Err("cidr(…) stands only before .contains(…)".to_owned());
        }
        if matches!(call.func_name.as_str(), "replace" | "format") {
            // A text may grow by them beyond any bound.
            return Err(format!(
                "{}(…) is not among the functions here",
                call.func_name
            ));
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
        let turns = (self.language.list_max as u64).saturating_mul(range.div_ceil(8));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LANGUAGE: Language = Language {
        variables: &[("claims", || Type::Map(Box::new(Type::Any)))],
        list_max: 128,
        has_text_functions: true,
        is_within: |range, address| range.contains(&address),
    };

    fn check(source: &str) -> Result<Value, String> {
        let claims = json!({"claims": {
            "sub": "jane", "email": "jane@example.com", "email_verified": true,
            "groups": ["a", "b"], "hd": "example.com", "exp": 20, "nbf": 10, "empty": "",
        }});
        let expression = Expression::compile(source, LANGUAGE, Gives::Bool)?;
        expression.evaluate(&claims).map_err(|error| words(&error))
    }

    /// From Kubernetes' page on structured authentication, and its tests.
    #[test]
    fn expressions_of_the_documentation() {
        for source in [
            "claims.hd == \"example.com\"",
            "claims.exp - claims.nbf <= 86400",
            "claims.?email_verified.orValue(true) == true",
            "claims.?none.orValue(true) == true",
            "claims.email.contains('@')",
            "has(claims.email) && !has(claims.none)",
            "'a' in claims.groups && claims.groups.exists(g, g == 'b')",
            "!claims.sub.startsWith('system:')",
            "claims.groups.all(group, !group.startsWith('system:'))",
            "cidr('10.0.0.0/8').contains('10.1.0.1')",
            "(claims.sub + ':x') == 'jane:x'",
            "claims.groups.map(g, 'x:' + g) == ['x:a', 'x:b']",
            "claims['sub'] == 'jane'",
            "(has(claims.sub) ? claims.sub : '') == 'jane'",
            "'a,b'.split(',') == claims.groups && 'AB'.lowerAscii() == 'ab'",
        ] {
            assert_eq!(check(source), Ok(Value::Bool(true)), "{source}");
        }
    }

    #[test]
    fn what_may_grow_beyond_any_bound_is_refused() {
        let nested = "claims.groups.all(a, claims.groups.all(b, claims.groups.all(c, claims.groups.all(d, a == d))))";
        for (source, expected) in [
            (nested, "may cost"),
            ("claims.sub.replace('a', claims.email)", "replace"),
            ("'%s'.format([claims.sub])", "format"),
            ("claims.sub.matches(claims.email)", "text in quotes"),
            ("user.name == 'a'", "unknown variable"),
        ] {
            let error = check(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }

    #[test]
    fn what_is_read_of_a_variable() {
        for (source, expected) in [
            ("claims.email", true),
            ("'a' + claims.email", true),
            ("claims['email']", true),
            ("claims.?email.orValue('a')", true),
            ("has(claims.email) ? 'a' : 'b'", true),
            ("claims.groups.filter(g, g == claims.email)", true),
            ("claims.sub", false),
            ("claims.a.email", false),
            ("'email'", false),
        ] {
            let expression = Expression::compile(source, LANGUAGE, Gives::Texts).unwrap();
            assert_eq!(expression.reads("claims", "email"), expected, "{source}");
        }
    }
}
