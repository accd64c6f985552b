//! What may happen: to which resources, in which scope, in which order.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// A resource under test: three of them, each with another way to be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// In namespaces, by labels.
    Map,
    /// Not in namespaces, by `spec.unschedulable`, which changes.
    Node,
    /// In namespaces, by `reason`, which changes; watched through the new API, too.
    Event,
}

pub(super) const NAMESPACES: [&str; 2] = ["default", "kube-public"];
pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Kind {
    /// Where its objects are; `namespace` means nothing to a node.
    pub(super) fn path(self, namespace: Option<&str>) -> String {
        let resource = match self {
            Self::Map => "configmaps",
            Self::Node => return "/api/v1/nodes".to_owned(),
            Self::Event => "events",
        };
        match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/{resource}"),
            None => format!("/api/v1/{resource}"),
        }
    }

    pub(super) fn namespace(self, second: bool) -> &'static str {
        match self {
            Self::Node => "",
            _ => NAMESPACES[usize::from(second)],
        }
    }

    /// A new object that is in the selection, or not.
    pub(super) fn object(self, namespace: &str, name: &str, selected: bool) -> Value {
        let mut object = json!({"metadata": {"name": name, "labels": {"l": label(selected)}}});
        match self {
            Self::Map => object["data"] = json!({"round": "0"}),
            Self::Node => object["spec"] = json!({"unschedulable": selected}),
            Self::Event => {
                object["involvedObject"] =
                    json!({"kind": "Pod", "name": "p", "namespace": namespace});
                object["reason"] = label(selected).into();
                object["source"] = json!({"component": "c"});
                object["type"] = "Normal".into();
            }
        }
        object
    }

    /// A change into the selection, or out of it.
    pub(super) fn change(self, selected: bool, round: usize) -> Value {
        let mut patch = json!({"metadata": {"labels": {"l": label(selected)},
            "annotations": {"round": round.to_string()}}});
        match self {
            Self::Map => {}
            Self::Node => patch["spec"] = json!({"unschedulable": selected}),
            Self::Event => patch["reason"] = label(selected).into(),
        }
        patch
    }

    pub(super) fn field(self) -> Option<&'static str> {
        match self {
            Self::Map => None,
            Self::Node => Some("spec.unschedulable%3Dtrue"),
            Self::Event => Some("reason%3Dx"),
        }
    }
}

pub(super) fn label(selected: bool) -> &'static str {
    if selected { "x" } else { "y" }
}

/// What a list or watch is about.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) namespace: Option<&'static str>,
    pub(super) selection: Selection,
}

#[derive(Debug, Clone)]
pub(super) enum Selection {
    All,
    /// By label.
    Label,
    /// By field, where there is one; else by label.
    Field,
    /// Not by that label.
    NotLabel,
    Name(&'static str),
}

impl Scope {
    pub(super) fn url(&self, query: &str) -> String {
        let path = self.kind.path(self.namespace);
        let selector = match &self.selection {
            Selection::All => String::new(),
            Selection::NotLabel => "labelSelector=l!%3Dx&".to_owned(),
            Selection::Name(name) => format!("fieldSelector=metadata.name%3D{name}&"),
            Selection::Field if self.kind.field().is_some() => {
                format!("fieldSelector={}&", self.kind.field().unwrap_or_default())
            }
            Selection::Label | Selection::Field => "labelSelector=l%3Dx&".to_owned(),
        };
        format!("{path}?{selector}{query}")
    }

    pub(super) fn covers(&self, object: &Value) -> bool {
        let is_here = self
            .namespace
            .is_none_or(|namespace| object["metadata"]["namespace"] == namespace);
        is_here
            && match &self.selection {
                Selection::All => true,
                Selection::Name(name) => object["metadata"]["name"] == *name,
                Selection::NotLabel => object["metadata"]["labels"]["l"] != "x",
                // Label and field change together.
                Selection::Label | Selection::Field => object["metadata"]["labels"]["l"] == "x",
            }
    }
}

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Create(Kind, bool, &'static str, bool),
    Change(Kind, Index, bool),
    Nothing(Kind, Index),
    Trial(Kind, Index),
    Delete(Kind, Index),
    DeleteSelected(Scope),
    Watch(Scope, Begin),
    Follow(Index),
    List(Scope, usize),
    ListAt(Scope, Index, bool),
    Restart,
}

#[derive(Debug, Clone)]
pub(super) enum Begin {
    State,
    Zero,
    Initial,
    Now,
    After(Index),
}

pub(super) fn kinds() -> impl Strategy<Value = Kind> {
    select(vec![Kind::Map, Kind::Node, Kind::Event])
}

pub(super) fn names() -> impl Strategy<Value = &'static str> {
    select(NAMES.to_vec())
}

pub(super) fn scopes() -> impl Strategy<Value = Scope> {
    let selection = prop_oneof![
        3 => Just(Selection::All),
        3 => Just(Selection::Label),
        3 => Just(Selection::Field),
        2 => Just(Selection::NotLabel),
        1 => names().prop_map(Selection::Name),
    ];
    let namespace = prop::option::of(select(NAMESPACES.to_vec()));
    (kinds(), namespace, selection).prop_map(|(kind, namespace, selection)| Scope {
        kind,
        namespace: namespace.filter(|_| kind != Kind::Node),
        selection,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let begin = prop_oneof![
        Just(Begin::State),
        Just(Begin::Zero),
        Just(Begin::Initial),
        Just(Begin::Now),
        index().prop_map(Begin::After),
    ];
    prop_oneof![
        6 => (kinds(), any::<bool>(), names(), any::<bool>())
            .prop_map(|(kind, second, name, selected)| Step::Create(kind, second, name, selected)),
        8 => (kinds(), index(), any::<bool>()).prop_map(|(kind, at, to)| Step::Change(kind, at, to)),
        1 => (kinds(), index()).prop_map(|(kind, at)| Step::Nothing(kind, at)),
        1 => (kinds(), index()).prop_map(|(kind, at)| Step::Trial(kind, at)),
        3 => (kinds(), index()).prop_map(|(kind, at)| Step::Delete(kind, at)),
        1 => scopes().prop_map(Step::DeleteSelected),
        5 => (scopes(), begin).prop_map(|(scope, begin)| Step::Watch(scope, begin)),
        4 => index().prop_map(Step::Follow),
        3 => (scopes(), 0usize..4).prop_map(|(scope, limit)| Step::List(scope, limit)),
        3 => (scopes(), index(), any::<bool>()).prop_map(|(scope, at, exact)| Step::ListAt(scope, at, exact)),
        1 => Just(Step::Restart),
    ]
}
