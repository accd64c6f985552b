//! Field errors: path, type, value, detail, rendered as Kubernetes renders them (spec/api.md 4.8).

/// One field error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path such as `spec.usages[1]`.
    pub path: String,
    /// Cause reason such as `FieldValueRequired`.
    pub reason: &'static str,
    /// Rendering without the path: `Required value: …`.
    pub message: String,
}
impl FieldError {
    /// `Required value[: detail]`
    pub fn required(_path: &str, _detail: &str) -> Self {
        unimplemented!()
    }
    /// `Invalid value: VALUE: detail`; `value` already rendered Go-style (use [`quote`] for strings).
    pub fn invalid(_path: &str, _value: &str, _detail: &str) -> Self {
        unimplemented!()
    }
    /// `Unsupported value: VALUE: supported values: …`
    pub fn not_supported(_path: &str, _value: &str, _supported: &[&str]) -> Self {
        unimplemented!()
    }
    /// `Duplicate value: VALUE`
    pub fn duplicate(_path: &str, _value: &str) -> Self {
        unimplemented!()
    }
    /// `Forbidden: detail`
    pub fn forbidden(_path: &str, _detail: &str) -> Self {
        unimplemented!()
    }
    /// `Too long: detail`
    pub fn too_long(_path: &str, _max: usize) -> Self {
        unimplemented!()
    }
}
/// A string as Go's `%q` prints it.
pub fn quote(_text: &str) -> String {
    unimplemented!()
}
