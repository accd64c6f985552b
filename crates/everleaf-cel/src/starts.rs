//! With what the texts begin that an expression can give, as far as that stands in it.

use super::literal_text;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

/// How a text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// It is this one.
    Is(&'a str),
    /// With this; "": nothing is known of it.
    With(&'a str),
}

/// Of each text that there may be, in a list, too.
pub(crate) fn of(part: &IdedExpr) -> Vec<Start<'_>> {
    let unknown = vec![Start::With("")];
    match &part.expr {
        Expr::Literal(LiteralValue::Null) => Vec::new(),
        Expr::Literal(_) => match literal_text(Some(part)) {
            Some(text) => vec![Start::Is(text)],
            None => unknown,
        },
        Expr::List(list) => list.elements.iter().flat_map(of).collect(),
        Expr::Call(call) => of_call(call).unwrap_or(unknown),
        Expr::Comprehension(part) => of_comprehension(part).unwrap_or(unknown),
        _ => unknown,
    }
}

fn of_call(call: &CallExpr) -> Option<Vec<Start<'_>>> {
    match (call.func_name.as_str(), &call.args[..]) {
        (operators::CONDITIONAL, [_, one, two]) => Some([of(one), of(two)].concat()),
        (operators::ADD, [one, two]) if is_list(one) || is_list(two) => {
            Some([of(one), of(two)].concat())
        }
        (operators::ADD, [one, _]) => Some(
            of(one)
                .into_iter()
                .map(|start| match start {
                    Start::Is(text) | Start::With(text) => Start::With(text),
                })
                .collect(),
        ),
        _ => None,
    }
}

fn is_list(part: &IdedExpr) -> bool {
    match &part.expr {
        Expr::List(_) | Expr::Comprehension(_) => true,
        Expr::Call(call) if call.func_name == operators::ADD => call.args.iter().any(is_list),
        _ => false,
    }
}

/// What `map` and `filter` gather.
fn of_comprehension(part: &ComprehensionExpr) -> Option<Vec<Start<'_>>> {
    let Expr::Call(step) = &part.loop_step.expr else {
        return None;
    };
    let gathered = match (step.func_name.as_str(), &step.args[..]) {
        (operators::CONDITIONAL, [_, gathered, _]) => gathered,
        _ => &part.loop_step,
    };
    let Expr::Call(sum) = &gathered.expr else {
        return None;
    };
    let (operators::ADD, [_, added]) = (sum.func_name.as_str(), &sum.args[..]) else {
        return None;
    };
    match &added.expr {
        Expr::List(list) => match &list.elements[..] {
            [item] if matches!(&item.expr, Expr::Ident(name) if *name == part.iter_var) => {
                Some(of(&part.iter_range))
            }
            _ => Some(of(added)),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expression, Gives, Language, Type};
    use super::*;

    #[test]
    fn what_stands_at_the_beginning_is_known() {
        use Start::{Is, With};
        let language = Language {
            variables: &[("claims", || Type::Map(Box::new(Type::Any)))],
            list_max: 16,
            has_text_functions: true,
            is_within: |range, address| range.contains(&address),
        };
        for (source, expected) in [
            ("'a'", vec![Is("a")]),
            ("'a:' + claims.sub", vec![With("a:")]),
            ("'a:' + claims.sub + ':b'", vec![With("a:")]),
            ("claims.sub + 'a'", vec![With("")]),
            ("claims.sub", vec![With("")]),
            ("claims.?sub.orValue('a')", vec![With("")]),
            ("null", vec![]),
            (
                "has(claims.sub) ? 'a:' + claims.sub : ''",
                vec![With("a:"), Is("")],
            ),
            ("['a', 'b' + claims.c]", vec![Is("a"), With("b")]),
            ("claims.groups.map(g, 'x:' + g)", vec![With("x:")]),
            ("claims.groups.map(g, g != 'a', 'x:' + g)", vec![With("x:")]),
            ("claims.groups.filter(g, g != 'a')", vec![With("")]),
            (
                "claims.groups.map(g, 'x:' + g).filter(g, g != 'a') + ['b']",
                vec![With("x:"), Is("b")],
            ),
            ("claims.groups + ['b']", vec![With(""), Is("b")]),
        ] {
            let expression = Expression::compile(source, language, Gives::Texts).unwrap();
            assert_eq!(expression.starts(), expected, "{source}");
        }
    }
}
