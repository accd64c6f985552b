//! A scene of the demo as it is printed: what happened, the certificates, the checks.

use crate::print;
use everleaf_pki::Leaf;

/// What a scene has to say.
pub(super) struct Scene {
    title: &'static str,
    lines: Vec<String>,
    holds: bool,
}

impl Scene {
    /// A scene that has not begun.
    pub(super) fn new(title: &'static str) -> Self {
        Self {
            title,
            lines: Vec::new(),
            holds: true,
        }
    }

    /// Something that happened.
    pub(super) fn step(&mut self, text: impl Into<String>) {
        self.lines.push(format!("      {}", text.into()));
    }

    /// A certificate's dates.
    pub(super) fn certificate(&mut self, what: &str, leaf: &Leaf) {
        let (from, to) = (leaf.not_before(), leaf.not_after());
        self.lines
            .push(format!("      {what}  notBefore={from}  notAfter={to}"));
    }

    /// A claim, and whether it was seen to hold.
    pub(super) fn check(&mut self, claim: impl Into<String>, holds: bool) {
        self.holds &= holds;
        let verdict = if holds { "ok  " } else { "FAIL" };
        self.lines.push(format!("{verdict}  {}", claim.into()));
    }

    /// Prints a scene, or why it was cut short; true when every check held.
    pub(super) fn told(scene: (Self, anyhow::Result<()>), number: usize) -> bool {
        let (scene, outcome) = scene;
        print::line(&format!("\n{number}  {}", scene.title));
        for line in &scene.lines {
            print::line(line);
        }
        if let Err(error) = &outcome {
            print::line(&format!("FAIL  {}", crate::failure::chain(error)));
        }
        scene.holds && outcome.is_ok()
    }
}
