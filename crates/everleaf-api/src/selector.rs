//! Label selectors (set-based) and field selectors, parsed from query text.
use serde_json::Value;
/// A parsed label selector.
#[derive(Debug, Clone, Default)]
pub struct LabelSelector(());
impl LabelSelector {
    /// Parses `a=b,c in (d,e),!f`; Err = what is wrong.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
    /// True when it selects everything.
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// Matches an object's labels.
    pub fn matches(&self, _object: &Value) -> bool {
        unimplemented!()
    }
}
/// A parsed field selector: (field, negated, value) terms, all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Terms.
    pub terms: Vec<(String, bool, String)>,
}
impl FieldSelector {
    /// Parses `a=b,c!=d`.
    pub fn parse(_text: &str) -> Result<Self, String> {
        unimplemented!()
    }
    /// The value required of `field` by an equality term.
    pub fn required(&self, _field: &str) -> Option<&str> {
        unimplemented!()
    }
}
