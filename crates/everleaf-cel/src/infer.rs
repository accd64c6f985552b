//! What an expression can give, read off it before there is any value: what can never be evaluated
//! is refused, and of what is not known nothing is claimed. Words as those of cel-go's checker.

use super::CIDR_CONTAINS;
use super::types::{Members, Type};
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::ast::{SelectExpr, operators};

/// How a function is called, with how many arguments, and what it gives.
struct Function {
    name: &'static str,
    /// `a.f(…)`; else `f(…)`.
    is_member: bool,
    arguments: &'static [fn() -> Type],
    /// So many of the arguments have to be there.
    needed: usize,
    /// What comes before the dot of a member.
    target: fn() -> Type,
    gives: fn() -> Type,
}

const fn plain(
    name: &'static str,
    arguments: &'static [fn() -> Type],
    gives: fn() -> Type,
) -> Function {
    Function {
        name,
        is_member: false,
        arguments,
        needed: arguments.len(),
        target: any,
        gives,
    }
}

/// A member of a text.
const fn of_text(
    name: &'static str,
    arguments: &'static [fn() -> Type],
    needed: usize,
    gives: fn() -> Type,
) -> Function {
    Function {
        name,
        is_member: true,
        arguments,
        needed,
        target: text,
        gives,
    }
}

fn any() -> Type {
    Type::Any
}

fn text() -> Type {
    Type::String
}

fn bool() -> Type {
    Type::Bool
}

fn int() -> Type {
    Type::Int
}

/// The language's own, and ours.
const FUNCTIONS: &[Function] = &[
    plain("bool", &[any], bool),
    plain("bytes", &[any], || Type::Bytes),
    plain("double", &[any], || Type::Double),
    plain("dyn", &[any], any),
    plain("int", &[any], int),
    plain("string", &[any], text),
    plain("type", &[any], any),
    plain("uint", &[any], || Type::Uint),
    plain("size", &[any], int),
    plain("matches", &[text, text], bool),
    plain("ip", &[text], text),
    plain(CIDR_CONTAINS, &[text, text], bool),
    plain(operators::NOT_STRICTLY_FALSE, &[any], bool),
    Function {
        target: any,
        ..of_text("size", &[], 0, int)
    },
    of_text("contains", &[text], 1, bool),
    of_text("endsWith", &[text], 1, bool),
    of_text("matches", &[text], 1, bool),
    of_text("startsWith", &[text], 1, bool),
];

/// Those over texts.
const TEXT_FUNCTIONS: &[Function] = &[
    of_text("charAt", &[int], 1, text),
    of_text("indexOf", &[text, int], 1, int),
    of_text("lastIndexOf", &[text, int], 1, int),
    of_text("lowerAscii", &[], 0, text),
    of_text("reverse", &[], 0, text),
    of_text("split", &[text, int], 1, Type::texts),
    of_text("substring", &[int, int], 1, text),
    of_text("trim", &[], 0, text),
    of_text("upperAscii", &[], 0, text),
    Function {
        target: || Type::List(Box::new(Type::Any)),
        ..of_text("join", &[text], 0, text)
    },
];

/// Reads an expression; knows the variables around the part that is read.
pub(crate) struct Inference {
    pub(crate) variables: Vec<(String, Type)>,
    pub(crate) has_text_functions: bool,
}

impl Inference {
    pub(crate) fn of(&mut self, part: &IdedExpr) -> Result<Type, String> {
        match &part.expr {
            Expr::Unspecified | Expr::Struct(_) => Ok(Type::Any),
            Expr::Literal(literal) => Ok(literal_type(literal)),
            Expr::Ident(name) => {
                let mut known = self.variables.iter().rev();
                let known = known.find(|(known, _)| known == name);
                Ok(known.map_or(Type::Any, |(_, known)| known.clone()))
            }
            Expr::List(list) => {
                let mut item = Type::Nothing;
                for (at, element) in list.elements.iter().enumerate() {
                    let found = match (self.of(element)?, list.optional_indices.contains(&at)) {
                        (Type::Optional(inner), true) => *inner,
                        (found, _) => found,
                    };
                    item = item.or(found);
                }
                Ok(Type::List(Box::new(item)))
            }
            Expr::Map(map) => {
                let mut item = Type::Nothing;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.of(&entry.key)?;
                        let found = match (self.of(&entry.value)?, entry.optional) {
                            (Type::Optional(inner), true) => *inner,
                            (found, _) => found,
                        };
                        item = item.or(found);
                    }
                }
                Ok(match item {
                    Type::Nothing => Type::Map(Box::new(Type::Any)),
                    item => Type::Map(Box::new(item)),
                })
            }
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(part) => self.comprehension(part),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Type, String> {
        let operand = self.of(&select.operand)?;
        let found = member(operand, &select.field)?;
        Ok(match select.test {
            true => Type::Bool,
            false => found,
        })
    }

    fn comprehension(&mut self, part: &ComprehensionExpr) -> Result<Type, String> {
        let (key, item) = match self.of(&part.iter_range)? {
            Type::List(item) => (Type::Int, *item),
            // Without a second variable, the first goes through its keys.
            Type::Map(item) => (Type::Any, *item),
            Type::Object { .. } => (Type::String, Type::Any),
            range if range.is_open() => (Type::Any, Type::Any),
            Type::Optional(_) => (Type::Any, Type::Any),
            range => {
                return Err(format!(
                    "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
                ));
            }
        };
        let is_list = matches!(key, Type::Int);
        let start = self.of(&part.accu_init)?;
        let outside = self.variables.len();
        match &part.iter_var2 {
            None => {
                let one = if is_list { item } else { key };
                self.variables.push((part.iter_var.clone(), one));
            }
            Some(second) => {
                self.variables.push((part.iter_var.clone(), key));
                self.variables.push((second.clone(), item));
            }
        }
        self.variables.push((part.accu_var.clone(), start.clone()));
        self.of(&part.loop_cond)?;
        let gathered = self.of(&part.loop_step)?.or(start);
        if let Some((_, accu)) = self.variables.last_mut() {
            *accu = gathered;
        }
        let result = self.of(&part.result);
        self.variables.truncate(outside);
        result
    }

    fn call(&mut self, call: &CallExpr) -> Result<Type, String> {
        let target = match &call.target {
            Some(target) => Some(self.of(target)?),
            None => None,
        };
        let mut arguments = Vec::new();
        for argument in &call.args {
            arguments.push(self.of(argument)?);
        }
        let name = call.func_name.as_str();
        let found = match (&target, &arguments[..]) {
            (None, [one]) => of_one(name, one),
            (None, [one, two]) => match name {
                operators::INDEX => index(one, two, text_of(&call.args[1]))?,
                operators::OPT_INDEX | operators::OPT_SELECT => {
                    let inner = match one.clone() {
                        Type::Optional(inner) => *inner,
                        one => one,
                    };
                    let found = index(&inner, two, text_of(&call.args[1]))?;
                    found.map(|found| Type::Optional(Box::new(found)))
                }
                _ => of_two(name, one, two),
            },
            (None, [condition, one, two]) if name == operators::CONDITIONAL => {
                let is_good = condition.is_open() || matches!(condition, Type::Bool);
                is_good.then(|| one.clone().or(two.clone()))
            }
            _ => None,
        };
        let found = match found {
            None if !is_operator(name) => self.function(name, target.as_ref(), &arguments)?,
            found => found,
        };
        found.ok_or_else(|| no_overload(name, target.as_ref(), &arguments))
    }

    /// None: nobody calls it so.
    fn function(
        &self,
        name: &str,
        target: Option<&Type>,
        arguments: &[Type],
    ) -> Result<Option<Type>, String> {
        if let Some(target) = target
            && let Some(found) = of_optional(name, target, arguments)
        {
            return Ok(Some(found));
        }
        let more: &[Function] = match self.has_text_functions {
            true => TEXT_FUNCTIONS,
            false => &[],
        };
        let mut named = FUNCTIONS
            .iter()
            .chain(more)
            .filter(|function| function.name == name)
            .peekable();
        if named.peek().is_none() && !is_of_optional(name) {
            return Err(format!("undeclared reference to '{name}'"));
        }
        let fits = |function: &&Function| {
            function.is_member == target.is_some()
                && target.is_none_or(|target| is_a(target, &(function.target)()))
                && (function.needed..=function.arguments.len()).contains(&arguments.len())
                && arguments
                    .iter()
                    .zip(function.arguments)
                    .all(|(found, wanted)| is_a(found, &wanted()))
        };
        let found = named.find(fits);
        let has_size = name != "size" || arguments.iter().chain(target).all(may_have_size);
        Ok(found.filter(|_| has_size).map(|one| (one.gives)()))
    }
}

/// May a value of the one type stand where one of the other is wanted?
fn is_a(found: &Type, wanted: &Type) -> bool {
    found.is_open()
        || match wanted {
            Type::Any => true,
            Type::List(_) => matches!(found, Type::List(_)),
            wanted => !matches!(found, Type::Null) && found.may_equal(wanted),
        }
}

fn may_have_size(found: &Type) -> bool {
    found.is_open()
        || matches!(
            found,
            Type::String | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Object { .. }
        )
}

fn is_operator(name: &str) -> bool {
    name.contains('_') && !name.contains(|c: char| c.is_ascii_alphabetic()) || name == operators::IN
}

fn is_of_optional(name: &str) -> bool {
    matches!(name, "value" | "hasValue" | "or" | "orValue")
}

/// Members of a value that may not be there; None for another function, or another value.
fn of_optional(name: &str, target: &Type, arguments: &[Type]) -> Option<Type> {
    let inner = match target {
        Type::Optional(inner) => (**inner).clone(),
        target if target.is_open() => Type::Any,
        _ => return None,
    };
    match (name, arguments) {
        ("value", []) => Some(inner),
        ("hasValue", []) => Some(Type::Bool),
        ("or", [Type::Optional(other)]) => {
            Some(Type::Optional(Box::new(inner.or((**other).clone()))))
        }
        ("or", [other]) if other.is_open() => Some(Type::Optional(Box::new(Type::Any))),
        ("orValue", [other]) => Some(inner.or(other.clone())),
        _ => None,
    }
}

fn no_overload(name: &str, target: Option<&Type>, arguments: &[Type]) -> String {
    let arguments: Vec<String> = arguments.iter().map(Type::to_string).collect();
    let target = target.map_or_else(String::new, |target| format!("{target}."));
    format!(
        "found no matching overload for '{name}' applied to '{target}({})'",
        arguments.join(", ")
    )
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

fn text_of(part: &IdedExpr) -> Option<&str> {
    super::literal_text(Some(part))
}

fn member(operand: Type, field: &str) -> Result<Type, String> {
    match operand {
        Type::Map(item) => Ok(*item),
        Type::Object { members, .. } => named(members, field),
        Type::Optional(inner) => {
            let found = member(*inner, field)?;
            Ok(Type::Optional(Box::new(found)))
        }
        // What may be missing is null here, and read behind a condition.
        Type::Null => Ok(Type::Any),
        operand if operand.is_open() => Ok(Type::Any),
        operand => Err(format!("type '{operand}' does not support field selection")),
    }
}

fn named(members: Members, field: &str) -> Result<Type, String> {
    let found = members.iter().find(|(name, _)| *name == field);
    match found {
        Some((_, found)) => Ok(found()),
        None => Err(format!("undefined field '{field}'")),
    }
}

/// None: nothing of it can be named by such an index.
fn index(of: &Type, by: &Type, literal: Option<&str>) -> Result<Option<Type>, String> {
    let is_number = by.is_open() || matches!(by, Type::Int | Type::Uint | Type::Double);
    Ok(match of {
        of if of.is_open() => Some(Type::Any),
        Type::Null => Some(Type::Any),
        Type::List(item) => is_number.then(|| (**item).clone()),
        Type::Map(item) => Some((**item).clone()),
        Type::Object { members, .. } => match literal {
            Some(literal) => Some(named(members, literal)?),
            None => (by.is_open() || matches!(by, Type::String)).then_some(Type::Any),
        },
        Type::Optional(inner) => {
            index(inner, by, literal)?.map(|found| Type::Optional(Box::new(found)))
        }
        _ => None,
    })
}

fn of_one(name: &str, one: &Type) -> Option<Type> {
    match (name, one) {
        (operators::LOGICAL_NOT, one) if one.is_open() => Some(Type::Bool),
        (operators::LOGICAL_NOT, Type::Bool) => Some(Type::Bool),
        (operators::NEGATE, one) if one.is_open() => Some(Type::Any),
        (operators::NEGATE, Type::Int) => Some(Type::Int),
        (operators::NEGATE, Type::Double) => Some(Type::Double),
        _ => None,
    }
}

fn of_two(name: &str, one: &Type, two: &Type) -> Option<Type> {
    let is_bool = |part: &Type| part.is_open() || matches!(part, Type::Bool);
    let holds = |holds: bool| holds.then_some(Type::Bool);
    match name {
        operators::LOGICAL_AND | operators::LOGICAL_OR => holds(is_bool(one) && is_bool(two)),
        operators::EQUALS | operators::NOT_EQUALS => holds(one.may_equal(two)),
        operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => {
            let has_order = |part: &Type| {
                part.is_open()
                    || matches!(
                        part,
                        Type::Bool
                            | Type::Int
                            | Type::Uint
                            | Type::Double
                            | Type::String
                            | Type::Bytes
                    )
            };
            holds(has_order(one) && has_order(two) && one.may_equal(two))
        }
        operators::IN => holds(match two {
            two if two.is_open() => true,
            Type::List(item) => one.may_equal(item),
            Type::Map(_) | Type::Object { .. } | Type::Null => true,
            _ => false,
        }),
        operators::ADD => sum(one, two),
        operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
            let is_number =
                |part: &Type| matches!(part, Type::Any | Type::Int | Type::Uint | Type::Double);
            let is_good = is_number(one) && is_number(two) && one.may_equal(two);
            // What is counted with a number is one, or it fails.
            is_good.then(|| match (one, two) {
                (Type::Any, known) | (known, Type::Any) => known.clone(),
                (one, two) => one.clone().or(two.clone()),
            })
        }
        _ => None,
    }
}

fn sum(one: &Type, two: &Type) -> Option<Type> {
    match (one, two) {
        (Type::String, Type::String) => Some(Type::String),
        (Type::Bytes, Type::Bytes) => Some(Type::Bytes),
        (Type::List(_), Type::List(_)) => Some(one.clone().or(two.clone())),
        (one, two) if one.is_open() && two.is_open() => Some(Type::Any),
        // What is added to a text is one, or it fails.
        (known @ (Type::String | Type::Bytes), open)
        | (open, known @ (Type::String | Type::Bytes))
            if open.is_open() =>
        {
            Some(known.clone())
        }
        (Type::List(_), open) | (open, Type::List(_)) if open.is_open() => {
            Some(Type::List(Box::new(Type::Any)))
        }
        (Type::Int | Type::Uint | Type::Double, _) if two.is_open() => Some(one.clone()),
        (_, Type::Int | Type::Uint | Type::Double) if one.is_open() => Some(two.clone()),
        (Type::Int, Type::Int) | (Type::Uint, Type::Uint) | (Type::Double, Type::Double) => {
            Some(one.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
