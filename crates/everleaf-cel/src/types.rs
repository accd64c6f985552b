//! What is known of a value before there is one. Words as cel-go's.

use std::fmt;

/// The members of an object, and what each is.
pub type Members = &'static [(&'static str, fn() -> Type)];

/// What is known of a value.
#[derive(Clone, Debug)]
pub enum Type {
    /// Nothing is: it comes from elsewhere.
    Any,
    /// What an empty list has.
    Nothing,
    /// No value, where one may be missing.
    Null,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A whole number without a sign, `1u`.
    Uint,
    /// A number with a fraction.
    Double,
    /// A text.
    String,
    /// Bytes, `b"…"`.
    Bytes,
    /// Values of one type.
    List(Box<Self>),
    /// Values of one type by names that are not known.
    Map(Box<Self>),
    /// Values by names that are known.
    Object {
        /// What it is called.
        name: &'static str,
        /// All that it can have.
        members: Members,
    },
    /// A value that may not be there, `a.?b`.
    Optional(Box<Self>),
}

impl Type {
    /// Texts.
    pub fn texts() -> Self {
        Self::List(Box::new(Self::String))
    }

    /// Texts by names.
    pub fn text_by_name() -> Self {
        Self::Map(Box::new(Self::String))
    }

    /// Lists of texts by names.
    pub fn texts_by_name() -> Self {
        Self::Map(Box::new(Self::texts()))
    }

    fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Nothing is known that would exclude anything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Any | Self::Nothing)
    }

    /// May a value of the one be equal to a value of the other?
    pub(crate) fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Nothing | Self::Null, _)
            | (_, Self::Any | Self::Nothing | Self::Null)
            | (Self::Bool, Self::Bool)
            | (Self::String, Self::String)
            | (Self::Bytes, Self::Bytes)
            | (Self::Object { .. }, Self::Object { .. } | Self::Map(_))
            | (Self::Map(_), Self::Object { .. }) => true,
            (Self::List(one), Self::List(two))
            | (Self::Map(one), Self::Map(two))
            | (Self::Optional(one), Self::Optional(two)) => one.may_equal(two),
            (one, two) => one.is_number() && two.is_number(),
        }
    }

    /// What is known of a value that is of the one or of the other type.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Null, Self::Null) => Self::Null,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Int, Self::Int) => Self::Int,
            (Self::Uint, Self::Uint) => Self::Uint,
            (Self::Double, Self::Double) => Self::Double,
            (Self::String, Self::String) => Self::String,
            (Self::Bytes, Self::Bytes) => Self::Bytes,
            (Self::List(one), Self::List(two)) => Self::List(Box::new(one.or(*two))),
            (Self::Map(one), Self::Map(two)) => Self::Map(Box::new(one.or(*two))),
            (Self::Optional(one), Self::Optional(two)) => Self::Optional(Box::new(one.or(*two))),
            _ => Self::Any,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any | Self::Nothing => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(item) => write!(f, "map(string, {item})"),
            Self::Object { name, .. } => f.write_str(name),
            Self::Optional(item) => write!(f, "optional_type({item})"),
        }
    }
}

/// What an expression is for, and so what it has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// True or false: it is a rule.
    Bool,
    /// A text.
    Text,
    /// A text, a list of texts, or null for none.
    Texts,
}

impl Gives {
    /// Refuses what can never be that.
    pub(crate) fn check(self, found: &Type) -> Result<(), String> {
        let is_text = |one: &Type| one.is_open() || matches!(one, Type::String);
        let (may_be, what) = match self {
            Self::Bool => (
                found.is_open() || matches!(found, Type::Bool),
                "must evaluate to bool",
            ),
            Self::Text => (is_text(found), "must evaluate to string"),
            Self::Texts => (
                match found {
                    Type::Null => true,
                    Type::List(item) => is_text(item),
                    found => is_text(found),
                },
                "must evaluate to one of [string list(string)]",
            ),
        };
        match may_be {
            true => Ok(()),
            false => Err(format!("{what} but got {found}")),
        }
    }
}
