//! Values as Go prints them in messages (`%v`, `%s`, `%T`): upstream's errors show parts of the
//! patch so.

use crate::fields::quote;
use serde_json::Value;

/// Longest text of a value in a message, in bytes: a patch may hold megabytes.
const TEXT_BYTES_MAX: usize = 4096;

/// `%v`: `map[a:1 b:[x y]]`, strings bare.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    push(&mut out, value);
    shorten(out)
}

/// `%v` of a list of lists.
pub(super) fn lists_text(lists: &[&[Value]]) -> String {
    let mut out = String::new();
    out.push('[');
    for (index, list) in lists.iter().enumerate() {
        separate(&mut out, index);
        push_items(&mut out, list);
    }
    out.push(']');
    shorten(out)
}

/// `%s`, which complains about everything but strings and what holds them.
pub(super) fn string_text(value: &Value) -> String {
    match value {
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Number(_) => {
            format!("%!s({}={})", type_name(value), text(value))
        }
        Value::String(_) | Value::Array(_) | Value::Object(_) => text(value),
    }
}

/// `%#v`: `map[string]interface {}{"a":1}`, strings quoted.
pub(crate) fn syntax(value: &Value) -> String {
    let mut out = String::new();
    push_syntax(&mut out, value);
    shorten(out)
}

fn push_syntax(out: &mut String, value: &Value) {
    if out.len() > TEXT_BYTES_MAX {
        return;
    }
    let separate = |out: &mut String, index: usize| {
        if index > 0 {
            out.push_str(", ");
        }
    };
    match value {
        Value::Null => out.push_str("interface {}(nil)"),
        Value::String(text) => out.push_str(&quote(text)),
        Value::Array(items) => {
            out.push_str("[]interface {}{");
            for (index, item) in items.iter().enumerate() {
                separate(out, index);
                push_syntax(out, item);
            }
            out.push('}');
        }
        Value::Object(members) => {
            out.push_str("map[string]interface {}{");
            for (index, (key, value)) in members.iter().enumerate() {
                separate(out, index);
                out.push_str(&quote(key));
                out.push(':');
                push_syntax(out, value);
            }
            out.push('}');
        }
        scalar => push(out, scalar),
    }
}

/// The dynamic type that Go's decoder gives a value.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// The sort of a JSON value, as Go's decoder names it.
pub(super) fn json_sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn push(out: &mut String, value: &Value) {
    if out.len() > TEXT_BYTES_MAX {
        return;
    }
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (None, Some(float)) => push_float(out, float),
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => out.push_str(text),
        Value::Array(items) => push_items(out, items),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            out.push_str("map[");
            for (index, (key, value)) in members.into_iter().enumerate() {
                separate(out, index);
                out.push_str(key);
                out.push(':');
                push(out, value);
            }
            out.push(']');
        }
    }
}

fn push_items(out: &mut String, items: &[Value]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        separate(out, index);
        push(out, item);
    }
    out.push(']');
}

fn separate(out: &mut String, index: usize) {
    if index > 0 && out.len() <= TEXT_BYTES_MAX {
        out.push(' ');
    }
}

/// `%g` of the shortest digits: an exponent below 1e-4 and from 1e6 on.
fn push_float(out: &mut String, float: f64) {
    let size = float.abs();
    if float == 0.0 || (1e-4..1e6).contains(&size) {
        out.push_str(&float.to_string());
        return;
    }
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    out.push_str(&format!("{digits}e{sign}{exponent:0>2}"));
}

/// Cuts a text to what a message may hold.
pub(super) fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(end);
        text.push('…');
    }
    text
}
