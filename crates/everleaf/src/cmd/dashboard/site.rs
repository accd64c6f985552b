//! Where the pages are: at the root of a port of their own, or below a path of the API server.

use everleaf_controllers::call::segment;

/// What pages say of the place where they are, which is the same for all that one browser sees.
#[derive(Debug, Default)]
pub(super) struct Site {
    /// What every path begins with; no slash at its end.
    pub(super) base: &'static str,
    /// What has to come back with a form.
    pub(super) form_key: String,
    /// Whether the browser came in by a form, and so may leave.
    pub(super) has_session: bool,
    /// What the script says when the browser is not known any more.
    pub(super) stranger: &'static str,
}

impl Site {
    /// A path of the dashboard, as a link.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The page of a node.
    pub(super) fn node(&self, name: &str) -> String {
        format!("{}/nodes/{}", self.base, segment(name))
    }

    /// The page of a request.
    pub(super) fn request(&self, name: &str) -> String {
        format!("{}/requests/{}", self.base, segment(name))
    }
}
