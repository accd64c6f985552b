//! Which of the system's own names an issuer can hand out: whoever runs it is then any of those
//! here, up to who may do everything (`system:masters`).

use super::config::{IssuerConfig, JwtConfig};
use super::rules::Mapping;
use everleaf_cel::{Expression, Start};

/// How the names of the system begin.
const SYSTEM: &str = "system:";

impl JwtConfig {
    /// What whoever configured it should know, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.issuers.iter().flat_map(warnings).collect()
    }
}

fn warnings(issuer: &IssuerConfig) -> Vec<String> {
    let url = &issuer.source().url;
    let mut found = Vec::new();
    if reaches(issuer, &issuer.username, "username") {
        found.push(format!(
            "the issuer {url} can hand out user names of the system ({SYSTEM}…, by claimMappings.username): whoever runs it can be any \
             of them here; put a prefix before them, or refuse them by a userValidationRule such as \
             !user.username.startsWith('{SYSTEM}')"
        ));
    }
    let groups = issuer.groups.as_ref();
    if groups.is_some_and(|groups| reaches(issuer, groups, "groups")) {
        found.push(format!(
            "the issuer {url} can hand out groups of the system ({SYSTEM}…, system:masters among them, by claimMappings.groups): \
             whoever runs it may then do everything here; put a prefix before them, or refuse them by a userValidationRule such as \
             user.groups.all(group, !group.startsWith('{SYSTEM}'))"
        ));
    }
    found
}

/// Can it give such a name, and does no rule speak of them? What a rule says is its author's.
fn reaches(issuer: &IssuerConfig, mapping: &Mapping, attribute: &str) -> bool {
    let may_be = |start: Start<'_>| match start {
        Start::Is(text) => text.starts_with(SYSTEM),
        Start::With(text) => text.starts_with(SYSTEM) || SYSTEM.starts_with(text),
    };
    let is_possible = match mapping {
        Mapping::Claim { prefix, .. } => may_be(Start::With(prefix)),
        Mapping::Expression(expression) => expression.starts().into_iter().any(may_be),
    };
    let speaks_of_them = |rule: &Expression| rule.source().contains(SYSTEM);
    let by_user = issuer
        .user_rules
        .iter()
        .any(|(rule, _)| speaks_of_them(rule) && rule.reads("user", attribute));
    let by_claims = issuer.claim_rules.iter().any(|(rule, _)| {
        speaks_of_them(rule)
            && match mapping {
                Mapping::Claim { name, .. } => rule.reads("claims", name),
                Mapping::Expression(_) => true,
            }
    });
    is_possible && !by_user && !by_claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(username: &str, groups: &str, rules: &str) -> (bool, bool) {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n\
             - issuer: {{url: \"https://a.example.com\", audiences: [me]}}\n  claimMappings:\n    username: {{{username}}}\n    \
             groups: {{{groups}}}\n{rules}"
        );
        let config = JwtConfig::parse(&text, "").unwrap_or_else(|error| panic!("{text}: {error}"));
        let warnings = config.warnings();
        assert!(
            warnings
                .iter()
                .all(|one| one.contains("https://a.example.com"))
        );
        let is_about = |what: &str| warnings.iter().any(|one| one.contains(what));
        (
            is_about("claimMappings.username"),
            is_about("claimMappings.groups"),
        )
    }

    #[test]
    fn names_of_the_system_that_an_issuer_can_hand_out_are_told() {
        let claim = |prefix: &str| format!("claim: sub, prefix: \"{prefix}\"");
        let expression = |source: &str| format!("expression: \"{source}\"");
        for (mapping, reaches) in [
            (claim(""), true),
            (claim("s"), true),
            (claim("system:"), true),
            (claim("system:node:"), true),
            (claim("x:"), false),
            (claim("systems:"), false),
            (expression("claims.sub"), true),
            (expression("'x:' + claims.sub"), false),
            (expression("'sys' + claims.sub"), true),
            (expression("'system:node:' + claims.sub"), true),
            (expression("'system'"), false),
            (expression("has(claims.a) ? 'x:' + claims.a : ''"), false),
            (
                expression("has(claims.a) ? 'x:' + claims.a : claims.sub"),
                true,
            ),
        ] {
            let safe = claim("x:");
            assert_eq!(told(&mapping, &safe, ""), (reaches, false), "{mapping}");
            assert_eq!(told(&safe, &mapping, ""), (false, reaches), "{mapping}");
        }
        let groups = expression("claims.groups.map(g, 'x:' + g)");
        assert_eq!(told(&claim("x:"), &groups, ""), (false, false));
    }

    #[test]
    fn whoever_speaks_of_them_in_a_rule_is_not_told() {
        let open = "claim: sub, prefix: \"\"";
        for (rule, expected) in [
            (
                "userValidationRules: [{expression: \"!user.username.startsWith('system:')\"}]",
                (false, true),
            ),
            (
                "userValidationRules: [{expression: \"user.groups.all(g, !g.startsWith('system:'))\"}]",
                (true, false),
            ),
            (
                "claimValidationRules: [{expression: \"!claims.sub.startsWith('system:')\"}]",
                (false, false),
            ),
            (
                "claimValidationRules: [{expression: \"!claims.other.startsWith('system:')\"}]",
                (true, true),
            ),
            (
                "userValidationRules: [{expression: \"user.username != 'eve'\"}]",
                (true, true),
            ),
        ] {
            assert_eq!(told(open, open, &format!("  {rule}\n")), expected, "{rule}");
        }
    }
}
