//! Is there any chain that may be believed?
//!
//! Left out: certificate policies. What `x509-parser` cannot read counts as refused, whoever else
//! can read it. Where that is wrong, the reason stands in [`excuse`].

use crate::der::Node;
use crate::extensions;
use crate::member::{Member, Role};
use crate::names;

/// What the second judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule is broken.
    Yes,
    /// Every possible chain breaks a rule; of the longest that was tried, this one.
    No(String),
    /// Not for this judge, and why.
    Abstains(&'static str),
}

/// Steps after which the search is given up.
const STEPS_MAX: usize = 2_000;

/// Judges a client's chain, leaf first, at `now`, in seconds since 1970.
pub fn judge(anchors: &[Vec<u8>], shown: &[Vec<u8>], now: i64) -> Verdict {
    if let Some(reason) = anchors.iter().chain(shown).find_map(|der| excuse(der)) {
        return Verdict::Abstains(reason);
    }
    let Some((leaf, above)) = shown.split_first() else {
        return Verdict::No("nothing shown".into());
    };
    let leaf = match Member::read(leaf) {
        Ok(leaf) => leaf,
        Err(error) => return Verdict::No(format!("leaf: {error}")),
    };
    let mut reason = (0, "no issuer of that name".to_owned());
    for error in anchors
        .iter()
        .chain(above)
        .filter_map(|der| Member::read(der).err())
    {
        reason.1 = format!("no issuer of that name; of the others, {error}");
    }
    let anchors: Vec<Member<'_>> = anchors
        .iter()
        .filter_map(|der| Member::read(der).ok())
        .collect();
    let above: Vec<Member<'_>> = above
        .iter()
        .filter_map(|der| Member::read(der).ok())
        .collect();
    let mut search = Search {
        anchors: &anchors,
        above: &above,
        now,
        steps: 0,
        reason,
    };
    match search.is_believed(&leaf) {
        _ if search.steps >= STEPS_MAX => Verdict::Abstains("too many possible chains"),
        true => Verdict::Yes,
        false => Verdict::No(search.reason.1),
    }
}

/// Certificates that `x509-parser` reads otherwise than Go, with the reason why Go is followed.
fn excuse(der: &[u8]) -> Option<&'static str> {
    const CONTEXT_CLASS: u8 = 0x80;
    let mut whole = Node::read(der)?;
    let list = extensions::list_of(whole.children_mut()?.first_mut()?)?;
    let names = list.iter().filter(|extension| {
        let id = extension.children().first();
        id.is_some_and(|id| id.content() == extensions::ALTERNATIVE_NAMES)
    });
    let mut names = names.filter_map(|extension| extension.children().last()?.children().first());
    names
        .any(|names| {
            names
                .children()
                .iter()
                .any(|name| name.tag & 0xc0 != CONTEXT_CLASS)
        })
        .then_some(
            "among the names is what is no name: Go skips it, x509-parser reads none of them",
        )
}

struct Search<'a> {
    anchors: &'a [Member<'a>],
    above: &'a [Member<'a>],
    now: i64,
    steps: usize,
    /// Length of the longest refused chain, and why it was refused.
    reason: (usize, String),
}

impl<'a> Search<'a> {
    fn is_believed(&mut self, leaf: &'a Member<'a>) -> bool {
        if let Err(reason) = leaf.check_alone(self.now) {
            self.note(1, reason);
            return false;
        }
        // Who stands in the bundle is believed for itself.
        if self.anchors.iter().any(|anchor| anchor.der == leaf.der) {
            return self.is_sound(&[leaf]);
        }
        self.climb(&mut vec![leaf])
    }

    fn climb(&mut self, chain: &mut Vec<&'a Member<'a>>) -> bool {
        let (anchors, above) = (self.anchors, self.above);
        let anchors = anchors.iter().map(|anchor| (Role::Anchor, anchor));
        let above = above.iter().map(|member| (Role::Intermediate, member));
        for (role, issuer) in anchors.chain(above) {
            self.steps += 1;
            if self.steps >= STEPS_MAX {
                return false;
            }
            if chain.iter().any(|member| member.der == issuer.der) {
                continue;
            }
            if let Err(reason) = self.check_step(chain, role, issuer) {
                self.note(chain.len(), reason);
                continue;
            }
            chain.push(issuer);
            let is_believed = match role {
                Role::Anchor => self.is_sound(chain),
                Role::Intermediate => self.climb(chain),
            };
            chain.pop();
            if is_believed {
                return true;
            }
        }
        false
    }

    fn check_step(
        &self,
        chain: &[&Member<'_>],
        role: Role,
        issuer: &Member<'_>,
    ) -> Result<(), String> {
        let child = chain[chain.len() - 1];
        if child.issuer() != issuer.subject() {
            return Err("no issuer of that name".into());
        }
        issuer.check_alone(self.now)?;
        issuer.check_issuer(role, chain.len() - 1)?;
        child.check_signature(issuer)
    }

    /// What is asked of a whole chain.
    fn is_sound(&mut self, chain: &[&Member<'_>]) -> bool {
        let outcome = check_whole(chain);
        if let Err(reason) = outcome {
            self.note(chain.len(), reason);
            return false;
        }
        true
    }

    fn note(&mut self, length: usize, reason: String) {
        if length >= self.reason.0 {
            self.reason = (length, reason);
        }
    }
}

fn check_whole(chain: &[&Member<'_>]) -> Result<(), String> {
    for (index, member) in chain.iter().enumerate() {
        member.check_usage()?;
        for limits in chain[index + 1..].iter().filter_map(|above| above.limits()) {
            for name in member.names() {
                names::check(name, &limits)?;
            }
        }
    }
    Ok(())
}
