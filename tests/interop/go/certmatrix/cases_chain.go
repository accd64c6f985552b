package main

import "fmt"

// intermediates are about one certificate between leaf and root.
func intermediates(m *matrix) {
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"plain", nil},
		{"expired", []edit{dates(m.hours(-48), m.hours(-1))}},
		{"future", []edit{dates(m.hours(1), m.hours(48))}},
		{"not-ca", []edit{ext(basic(false, -1))}},
		{"no-constraints", []edit{without(oidBasicConstraints)}},
		{"constraints-not-critical", []edit{ext(extend(oidBasicConstraints, false, seq(boolean(true))))}},
		{"no-extensions", []edit{bare()}},
		{"no-key-usage", []edit{without(oidKeyUsage)}},
		{"key-usage-no-bits", []edit{ext(keyUsage(noBits))}},
		{"key-usage-signature", []edit{ext(keyUsage(digitalSignature))}},
		{"key-usage-cert-sign", []edit{ext(keyUsage(certSign))}},
		{"path-0", []edit{ext(basic(true, 0))}},
		{"path-huge", []edit{ext(extend(oidBasicConstraints, true, seq(boolean(true), integer(1<<40))))}},
		{"path-negative", []edit{ext(extend(oidBasicConstraints, true, seq(boolean(true), integer(-1))))}},
		{"path-without-ca", []edit{ext(basic(false, 1))}},
		{"longer-than-root", []edit{until(m.hours(24 * 3650))}},
		{"key-id-mismatch", []edit{also(skid("a"), akid("nobody"))}},
		{"without-subject", []edit{subject()}},
		{"unreadable-subject", []edit{subject(cn(raw(tagGeneral, "x")))}},
		{"two-uids", []edit{subject(cn(utf8s("chain/two-uids")), uid(utf8s("a")), uid(utf8s("b")))}},
	} {
		m.between("chain/"+c.name, c.edits...)
	}
	sub, other := m.sub(m.ca, "chain/sub"), m.sub(m.ca, "chain/other")
	leaf := m.leaf(sub)
	m.add("chain/missing", leaf)
	m.add("chain/wrong", leaf, other)
	m.add("chain/twice", leaf, sub, sub)
	m.add("chain/and-irrelevant", leaf, other, sub, m.authority("chain/stranger"))
	m.add("chain/and-root", leaf, sub, m.ca)
	m.add("chain/root-first", leaf, m.ca, sub)
	m.add("chain/and-leaf", leaf, leaf, sub)
	m.add("chain/and-other-leaf", leaf, m.leaf(m.ca), sub)
	m.add("chain/and-garbage", leaf, sub, sub.as([]byte("garbage")))
	m.add("chain/and-empty", leaf, sub, sub.as(nil))
	m.add("chain/and-truncated", leaf, sub, sub.as(sub.der[:len(sub.der)-1]))
	m.add("chain/and-trailing-byte", leaf, sub, sub.as(join(sub.der, []byte{0})))
	m.add("chain/and-version-4", leaf, sub, m.sub(m.ca, "chain/v4", versioned(3)))
	m.add("chain/and-expired-root", leaf, sub, m.authority("ca", dates(m.hours(-48), m.hours(-1))))
	m.add("chain/leaf-last", sub, leaf)
	renewed := m.sub(m.ca, "chain/sub", with(sub.key), dates(m.hours(-48), m.hours(-1)))
	m.add("chain/expired-and-renewed", leaf, renewed, sub)
	m.add("chain/renewed-and-expired", leaf, sub, renewed)
	server := m.sub(m.ca, "chain/sub", with(sub.key), also(purposes(serverAuth)))
	m.add("chain/server-only-and-plain", leaf, server, sub)
	m.add("chain/server-only", leaf, server)
	crossSigned(m)
}

// crossSigned are authorities with more than one certificate for a key.
func crossSigned(m *matrix) {
	stranger := m.authority("chain/cross-stranger")
	sub := m.sub(m.ca, "chain/cross")
	byStranger := m.sub(stranger, "chain/cross", with(sub.key))
	leaf := m.leaf(sub)
	m.add("chain/cross-by-stranger", leaf, byStranger)
	m.add("chain/cross-both", leaf, byStranger, sub)
	m.add("chain/cross-both-and-stranger", leaf, byStranger, stranger, sub)
	// A root that another root signed as well.
	a, b := m.root("chain/cross-a"), m.authority("chain/cross-b")
	m.add("chain/cross-root", m.leaf(b), m.sub(a, "chain/cross-b", with(b.key)))
	// Authorities that sign one another.
	x, y := m.authority("chain/loop-x"), m.authority("chain/loop-y")
	xy, yx := m.sub(x, "chain/loop-y", with(y.key)), m.sub(y, "chain/loop-x", with(x.key))
	m.add("chain/loop", m.leaf(x), xy, yx)
	m.add("chain/loop-with-way-out", m.leaf(x), xy, yx, m.sub(m.ca, "chain/loop-y", with(y.key)))
	self := m.sub(m.ca, "chain/self-issued")
	again := m.sub(self, "chain/self-issued")
	m.add("chain/self-issued", m.leaf(again), again, self)
	m.add("chain/self-issued-same-key", m.leaf(self), m.sub(self, "chain/self-issued", with(self.key)), self)
	sameName := m.sub(m.ca, "ca")
	m.add("chain/intermediate-called-as-root", m.leaf(sameName), sameName)
	sameAsLeaf := m.sub(m.ca, "chain/same-as-leaf")
	m.add("chain/leaf-called-as-issuer", m.leaf(sameAsLeaf, subjectDER(sameAsLeaf.subject)), sameAsLeaf)
	m.add("chain/leaf-called-as-issuer-same-key", m.leaf(sameAsLeaf, subjectDER(sameAsLeaf.subject), with(sameAsLeaf.key)), sameAsLeaf)
	m.add("chain/leaf-called-as-root", m.leaf(m.ca, subjectDER(m.ca.subject)))
	// The root's own name and key, not its certificate.
	m.add("chain/leaf-is-root-again", m.leaf(m.ca, subjectDER(m.ca.subject), with(m.ca.key)))
	m.add("chain/leaf-is-root-again-with-name", m.leaf(m.ca, subjectDER(m.ca.subject), with(m.ca.key), also(alternative(dns("x")))))
	// An intermediate that stands in the bundle as well.
	inBundle := m.trust(m.sub(m.ca, "chain/in-bundle"))
	m.add("chain/in-bundle", m.leaf(inBundle), inBundle)
	m.add("chain/in-bundle-not-sent", m.leaf(inBundle))
	expired := m.sub(m.ca, "chain/in-bundle-expired", dates(m.hours(-48), m.hours(-1)))
	m.trust(expired)
	m.add("chain/in-bundle-expired-and-renewed", m.leaf(expired), m.sub(m.ca, "chain/in-bundle-expired", with(expired.key)))
	short := m.trust(m.sub(m.ca, "chain/in-bundle-path-0", ext(basic(true, 0))))
	below := m.sub(short, "chain/in-bundle-path-0/below")
	m.add("chain/in-bundle-path-0", m.leaf(below), below)
	m.add("chain/in-bundle-path-0-and-other", m.leaf(below), below, m.sub(m.ca, "chain/in-bundle-path-0", with(short.key)))
}

// deepMax is the longest chain that is tried.
const deepMax = 20

// deepChains are about many certificates.
func deepChains(m *matrix) {
	small := func(t *template) { t.key = ed() }
	var chain []*entity
	by := m.ca
	for i := range deepMax {
		by = m.sub(by, fmt.Sprintf("deep/%d", i+1), small)
		chain = append([]*entity{by}, chain...)
		switch length := len(chain); length {
		case 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, deepMax:
			m.add(fmt.Sprintf("deep/%d", length), append([]*entity{m.leaf(by)}, chain...)...)
		}
	}
	four := chain[deepMax-4:]
	leaf := m.leaf(four[0])
	m.add("deep/backwards", leaf, four[3], four[2], four[1], four[0])
	m.add("deep/shuffled", leaf, four[2], four[0], four[3], four[1])
	m.add("deep/one-missing", leaf, four[0], four[1], four[3])
	paths := func(name string, limits ...int64) {
		by, all := m.ca, []*entity(nil)
		for i, limit := range limits {
			by = m.sub(by, fmt.Sprintf("deep/%s/%d", name, i), ext(basic(true, limit)), small)
			all = append([]*entity{by}, all...)
		}
		m.add("deep/"+name, append([]*entity{m.leaf(by)}, all...)...)
	}
	paths("path-2-1-0", 2, 1, 0)
	paths("path-1-1-0", 1, 1, 0)
	paths("path-0-0", 0, 0)
	paths("path-0-9", 0, 9)
	paths("path-none-0", -1, 0)
	paths("path-1-none-none", 1, -1, -1)
	m.junkChains()
}

// junkMax is more than a server tries.
const junkMax = 101

// junkChains have others of the issuer's name beside it. The work for one chain must end somewhere;
// where, is part of the contract.
func (m *matrix) junkChains() {
	const common = "deep/junk"
	sub, known := m.sub(m.ca, common), m.sub(m.ca, common, also(skid("k")))
	leaf, leafOfKnown := m.leaf(sub), m.leaf(known, also(akid("k")))
	by := m.authority("deep/junk-maker", with(ed()))
	// The smallest certificates of that name, each with another key.
	var junk []*entity
	for range junkMax {
		junk = append(junk, m.sub(by, common, v1(), with(ed()), serial(integer(1))))
	}
	before := func(leaf *entity, n int, sub *entity) []*entity {
		return append(append([]*entity{leaf}, junk[:n]...), sub)
	}
	m.add("deep/junk-101-after", append([]*entity{leaf, sub}, junk...)...)
	for _, n := range []int{15, 16, 60, 97, 98, 99, junkMax} {
		m.add(fmt.Sprintf("deep/junk-%d-before", n), before(leaf, n, sub)...)
	}
	m.add("deep/junk-101-before-known-by-id", before(leafOfKnown, junkMax, known)...)
	m.add("deep/junk-101-before-not-known-by-id", before(m.leaf(sub, also(akid("k"))), junkMax, sub)...)
	m.add("deep/junk-alone", append([]*entity{leaf}, junk[:20]...)...)
	m.add("deep/junk-same-99-times-before", append(append([]*entity{leaf}, repeated(junk[0], 99)...), sub)...)
}

// purposesNested are about purposes along a chain: an authority may allow less than its leaf says,
// not more.
func purposesNested(m *matrix) {
	kinds := []struct {
		name  string
		edits []edit
	}{
		{"none", nil},
		{"client", []edit{also(purposes(clientAuth))}},
		{"server", []edit{also(purposes(serverAuth))}},
		{"any", []edit{also(purposes(anyUsage))}},
	}
	for _, root := range kinds {
		above := m.root("nested/"+root.name, root.edits...)
		for _, sub := range kinds {
			name := "nested/" + root.name + "-" + sub.name
			middle := m.sub(above, name, sub.edits...)
			m.add(name, m.leaf(middle), middle)
			m.add(name+"-leaf-none", m.leaf(middle, without(oidExtendedKeyUsage)), middle)
		}
	}
	middle := m.sub(m.ca, "nested/unknown", also(purposes(oidUnknown)))
	m.add("nested/intermediate-unknown", m.leaf(middle), middle)
	middle = m.sub(m.ca, "nested/empty", also(extend(oidExtendedKeyUsage, false, seq())))
	m.add("nested/intermediate-empty", m.leaf(middle), middle)
	middle = m.sub(m.ca, "nested/both", also(purposes(serverAuth, clientAuth)))
	m.add("nested/intermediate-both-leaf-server", m.leaf(middle, ext(purposes(serverAuth))), middle)
	m.add("nested/intermediate-both-leaf-any", m.leaf(middle, ext(purposes(anyUsage))), middle)
}
