//! What can be told of expressions before there are values.

use super::super::{Expression, Gives, Language, Type};

const USER: Type = Type::Object {
    name: "kubernetes.UserInfo",
    members: &[
        ("username", || Type::String),
        ("groups", Type::texts),
        ("extra", Type::texts_by_name),
    ],
};

const LANGUAGE: Language = Language {
    variables: &[
        ("claims", || Type::Map(Box::new(Type::Any))),
        ("user", || USER),
        ("labels", Type::text_by_name),
        ("age", || Type::Int),
    ],
    list_max: 16,
    has_text_functions: true,
    is_within: |range, address| range.contains(&address),
};

fn compile(source: &str, gives: Gives) -> Result<(), String> {
    Expression::compile(source, LANGUAGE, gives).map(drop)
}

#[test]
fn what_may_be_a_rule_is_one() {
    for source in [
        "true",
        "claims.a",
        "claims.a.b[0].c",
        "claims.?a.orValue(true)",
        "claims[?'a'].hasValue()",
        "claims.a == 1 || claims.a == '1'",
        "claims.n + 1 > 2 && -claims.n < 0",
        "claims.exp - claims.iat <= 3600",
        "age / 60 < 2.5",
        "user.username.startsWith('a') && !user.username.endsWith(claims.b)",
        "user.groups.all(g, g != 'a' && g.size() > 1)",
        "user.groups.exists(g, g in claims.groups) || 'a' in user.groups",
        "user.groups.exists_one(g, g == 'a')",
        "user.groups.filter(g, g != 'a').size() == 1 && size(user.groups) == 2",
        "user.groups.map(g, g + 'x') == ['ax']",
        "user.extra['a'][0] == 'b' && 'a' in user.extra && user.extra.all(k, k != '')",
        "user['username'] == 'a'",
        "has(user.extra.a) ? user.extra.a == [] : false",
        "labels.a == 'b' && labels['c'].matches('^d$')",
        "user != null && user.username != null",
        "'a,b'.split(',').join('-') == 'a-b' && 'a'.upperAscii().indexOf('A') == 0",
        "cidr('10.0.0.0/8').contains(claims.ip) && ip('::1') == '::1'",
        "string(1) == '1' && int('1') == 1 && double(1) < 2.0 && type(1) == type(2)",
        "dyn(1) == '1'",
        "[1, 'a'][0] == 1 && {'a': 1}.a == 1 && {'a': 1}['a'] < 2",
        "[?claims.?a].size() == 0",
        "(claims.a ? 1 : 'b') == 1",
        "b'a' == b'a' && 1u < 2u",
    ] {
        assert_eq!(compile(source, Gives::Bool), Ok(()), "{source}");
    }
}

/// What is no rule, and why.
const NEVER: &[(&str, &str)] = &[
    ("'true'", "must evaluate to bool but got string"),
    ("1", "but got int"),
    ("user.username", "but got string"),
    ("user.groups", "but got list(string)"),
    ("user.groups.map(g, g == 'a')", "but got list(bool)"),
    ("user.groups.filter(g, g == 'a')", "but got list(string)"),
    ("claims", "but got map(string, dyn)"),
    ("claims.?a", "but got optional_type(dyn)"),
    ("'a' + claims.b", "but got string"),
    ("claims.a ? 'b' : 'c'", "but got string"),
    ("size(claims.a)", "but got int"),
    ("claims.exp - 1", "but got int"),
    ("user.username.lowerAscii()", "but got string"),
    ("user", "but got kubernetes.UserInfo"),
    ("user.name == 'a'", "undefined field 'name'"),
    ("has(user.name)", "undefined field 'name'"),
    ("user.?name == 'a'", "undefined field 'name'"),
    ("user['name'] == 'a'", "undefined field 'name'"),
    (
        "user.username.first == 'a'",
        "type 'string' does not support field selection",
    ),
    (
        "user.username == 1",
        "found no matching overload for '_==_' applied to '(string, int)'",
    ),
    (
        "user.groups == 'a'",
        "'_==_' applied to '(list(string), string)'",
    ),
    ("1 in user.groups", "'@in' applied to '(int, list(string))'"),
    (
        "'a' in user.username",
        "'@in' applied to '(string, string)'",
    ),
    (
        "user.username && true",
        "'_&&_' applied to '(string, bool)'",
    ),
    ("claims.a || 'b'", "'_||_' applied to '(dyn, string)'"),
    ("!user.username", "'!_' applied to '(string)'"),
    (
        "user.groups.all(g, g)",
        "'_&&_' applied to '(bool, string)'",
    ),
    (
        "user.username.all(g, true)",
        "cannot be range of a comprehension",
    ),
    ("age.exists(g, true)", "cannot be range of a comprehension"),
    ("age < '1'", "'_<_' applied to '(int, string)'"),
    ("age + 'a' == 'b'", "'_+_' applied to '(int, string)'"),
    (
        "user.username - 'a' == 'b'",
        "'_-_' applied to '(string, string)'",
    ),
    (
        "user.username[0] == 'b'",
        "'_[_]' applied to '(string, int)'",
    ),
    (
        "user.groups['a'] == 'b'",
        "'_[_]' applied to '(list(string), string)'",
    ),
    (
        "user.username ? true : false",
        "'_?_:_' applied to '(string, bool, bool)'",
    ),
    (
        "user.username.startsWith(1)",
        "'startsWith' applied to 'string.(int)'",
    ),
    (
        "age.startsWith('a')",
        "'startsWith' applied to 'int.(string)'",
    ),
    (
        "startsWith('a', 'b')",
        "'startsWith' applied to '(string, string)'",
    ),
    ("size(1) == 1", "'size' applied to '(int)'"),
    ("user.username.orValue('a') == 'a'", "'orValue' applied to"),
    ("nonsense(claims.a)", "undeclared reference to 'nonsense'"),
    ("claims.a.nonsense()", "undeclared reference to 'nonsense'"),
    (
        "false && nonsense(claims.a)",
        "undeclared reference to 'nonsense'",
    ),
];

#[test]
fn what_can_never_be_a_rule_is_refused() {
    for (source, expected) in NEVER {
        let error = compile(source, Gives::Bool).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn texts_and_lists_of_them() {
    for (source, is_text, is_texts) in [
        ("claims.sub", true, true),
        ("'a' + claims.sub", true, true),
        ("user.username", true, true),
        ("claims.?sub.orValue('')", true, true),
        ("has(claims.sub) ? claims.sub : 'a'", true, true),
        ("claims.a.join(',')", true, true),
        ("user.groups[0]", true, true),
        ("user.extra.a", false, true),
        ("claims.groups.map(g, 'a' + g)", false, true),
        ("claims.groups.filter(g, g != 'a')", false, true),
        ("claims.groups + ['a']", false, true),
        ("[]", false, true),
        ("null", false, true),
        ("has(claims.sub) ? [claims.sub] : []", false, true),
        ("1", false, false),
        ("claims.a == 'b'", false, false),
        ("claims.groups.map(g, 1)", false, false),
        ("[true]", false, false),
        ("[['a']]", false, false),
        ("claims", false, false),
        ("claims.?sub", false, false),
        ("size(claims.groups)", false, false),
    ] {
        assert_eq!(compile(source, Gives::Text).is_ok(), is_text, "{source}");
        assert_eq!(compile(source, Gives::Texts).is_ok(), is_texts, "{source}");
    }
    let error = compile("1", Gives::Text).unwrap_err();
    assert_eq!(error, "must evaluate to string but got int");
    let error = compile("true", Gives::Texts).unwrap_err();
    assert_eq!(
        error,
        "must evaluate to one of [string list(string)] but got bool"
    );
}
