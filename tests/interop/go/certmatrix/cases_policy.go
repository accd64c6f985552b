package main

// Policies: two of our own, and the one that stands for all.
const (
	gold      = "1.3.6.1.4.1.57683.20"
	silver    = "1.3.6.1.4.1.57683.21"
	bronze    = "1.3.6.1.4.1.57683.22"
	anyPolicy = "2.5.29.32.0"
)

// policyRules are about certificate policies. Nobody uses them on client certificates, but who has
// them is judged by them.
func policyRules(m *matrix) {
	// chain is a case: what the intermediates say, from the root down, and what the leaf says.
	chain := func(name string, leaf []extension, subs ...[]extension) {
		by, all := m.ca, []*entity(nil)
		for i, extensions := range subs {
			by = m.sub(by, "policy/"+name+"/"+string(rune('a'+i)), also(extensions...))
			all = append([]*entity{by}, all...)
		}
		m.add("policy/"+name, append([]*entity{m.leaf(by, also(leaf...))}, all...)...)
	}
	e := func(all ...extension) []extension { return all }
	explicit, none := policyConstraints(0, -1), policyConstraints(-1, 0)
	chain("plain", e(policies(gold)), e(policies(gold)))
	chain("different", e(policies(silver)), e(policies(gold)))
	chain("any-policy", e(policies(anyPolicy)), e(policies(anyPolicy)))
	chain("explicit-same", e(policies(gold)), e(policies(gold), explicit))
	chain("explicit-different", e(policies(silver)), e(policies(gold), explicit))
	chain("explicit-leaf-without", nil, e(policies(gold), explicit))
	chain("explicit-sub-without", e(policies(gold)), e(explicit))
	chain("explicit-none-anywhere", nil, e(explicit))
	chain("explicit-any-above", e(policies(gold)), e(policies(anyPolicy), explicit))
	chain("explicit-any-below", e(policies(anyPolicy)), e(policies(gold), explicit))
	chain("explicit-any-both", e(policies(anyPolicy)), e(policies(anyPolicy), explicit))
	chain("explicit-one-of-two", e(policies(silver, gold)), e(policies(gold), explicit))
	chain("explicit-1-leaf-without", nil, e(policies(gold), policyConstraints(1, -1)))
	chain("explicit-2-leaf-without", nil, e(policies(gold), policyConstraints(2, -1)))
	chain("explicit-1-two-subs", nil, e(policyConstraints(1, -1)), e())
	chain("explicit-in-leaf", e(explicit))
	chain("explicit-in-leaf-with-policy", e(explicit, policies(gold)))
	chain("explicit-in-leaf-and-sub", e(explicit, policies(gold)), e(policies(gold)))
	chain("explicit-in-leaf-sub-without", e(explicit, policies(gold)), e())
	chain("explicit-1-in-leaf", e(policyConstraints(1, -1)), e())
	chain("explicit-not-critical", nil, e(extend(oidPolicyConstraints, false, seq(context(0, false, []byte{0})))))
	chain("inhibit-any-leaf", e(policies(anyPolicy)), e(policies(gold), explicit, inhibitAny(0)))
	chain("inhibit-any-sub", e(policies(gold)), e(policies(gold), inhibitAny(0)), e(policies(anyPolicy), explicit))
	chain("inhibit-any-1", e(policies(anyPolicy)), e(policies(gold), explicit, inhibitAny(1)))
	chain("inhibit-any-without-explicit", e(policies(anyPolicy)), e(policies(gold), inhibitAny(0)))
	chain("mapped", e(policies(silver)), e(policies(gold), mapping(gold, silver), explicit))
	chain("mapped-not", e(policies(gold)), e(policies(gold), mapping(gold, silver), explicit))
	chain("mapped-twice", e(policies(bronze)), e(policies(gold), mapping(gold, silver)), e(policies(silver), mapping(silver, bronze), explicit))
	chain("mapped-to-two", e(policies(bronze)), e(policies(gold), mapping(gold, silver, gold, bronze), explicit))
	chain("mapped-unknown", e(policies(silver)), e(policies(gold), mapping(bronze, silver), explicit))
	chain("mapped-under-any", e(policies(silver)), e(policies(anyPolicy), mapping(gold, silver), explicit))
	chain("mapped-from-any", e(policies(silver)), e(policies(gold), mapping(anyPolicy, silver)))
	chain("mapped-to-any", e(policies(silver)), e(policies(gold), mapping(gold, anyPolicy)))
	chain("mapped-from-any-without-policies", nil, e(mapping(anyPolicy, silver)))
	chain("mapped-inhibited", e(policies(silver)), e(policies(gold), none), e(policies(gold), mapping(gold, silver), explicit))
	chain("mapped-inhibited-unmapped", e(policies(gold)), e(policies(gold), none), e(policies(gold), mapping(gold, silver), explicit))
	chain("mapped-inhibited-from-any", e(policies(gold)), e(policies(gold), none), e(policies(gold), mapping(anyPolicy, silver), explicit))
	chain("mapped-inhibited-later", e(policies(silver)), e(policies(gold), policyConstraints(-1, 1)), e(policies(gold), mapping(gold, silver), explicit))
	chain("mapping-in-leaf", e(policies(gold), mapping(anyPolicy, gold)), e(policies(gold), explicit))
	chain("mapping-not-critical", e(policies(silver)), e(policies(gold), extend(oidPolicyMappings, false, seq(seq(oid(gold), oid(silver)))), explicit))
	chain("twice-in-sub", e(policies(gold)), e(policies(gold, gold)))
	chain("twice-in-leaf", e(policies(gold, gold)), e(policies(gold)))
	qualified := extend(oidPolicies, true, seq(seq(oid(gold), seq(seq(oid("1.3.6.1.5.5.7.2.1"), ia5("http://example.org/cps"))))))
	chain("critical-with-qualifier", e(qualified), e(qualified, explicit))
	chain("any-with-qualifier", e(extend(oidPolicies, true, seq(seq(oid(anyPolicy), seq(seq(oid("1.3.6.1.5.5.7.2.2"), seq())))))), e(policies(gold), explicit))
	huge := "1.3.340282366920938463463374607431768211455"
	chain("huge-arc", e(policies(huge)), e(policies(huge), explicit))
	policyPaths(m, explicit)
}

// policyPaths are about which certificates of a chain count.
func policyPaths(m *matrix, explicit extension) {
	// What a root says of policies is not part of the path.
	root := m.root("policy/root-explicit", also(policies(gold), explicit, inhibitAny(0)))
	m.add("policy/root-explicit", m.leaf(root))
	sub := m.sub(root, "policy/root-explicit/sub")
	m.add("policy/root-explicit-with-sub", m.leaf(sub), sub)
	// Self-issued certificates do not count down.
	above := m.sub(m.ca, "policy/self-issued", also(policyConstraints(1, -1)))
	again := m.sub(above, "policy/self-issued")
	m.add("policy/explicit-1-self-issued", m.leaf(again), again, above)
	// A path without the rule beside one with it.
	strict := m.sub(m.ca, "policy/two-paths", also(explicit))
	lax := m.sub(m.ca, "policy/two-paths", with(strict.key))
	m.add("policy/other-path-is-free", m.leaf(strict), strict, lax)
}
