package main

// constrained is an authority that may name only some, and the leaves that are tried below it.
type constrained struct {
	name      string
	permitted [][]byte
	excluded  [][]byte
	leaves    []sans
}

// sans are the names of a leaf.
type sans struct {
	name  string
	names [][]byte
}

// mapped is 10.0.0.1 written in sixteen octets.
var mapped = ipBytes(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1)

// constrainedBy tries each authority as an intermediate.
func (m *matrix) constrainedBy(all []constrained) {
	for _, c := range all {
		sub := m.sub(m.ca, "constraint/"+c.name, also(constraints(c.permitted, c.excluded)))
		for _, s := range c.leaves {
			var edits []edit
			if s.names != nil {
				edits = append(edits, also(alternative(s.names...)))
			}
			m.add("constraint/"+c.name+"/"+s.name, m.leaf(sub, edits...), sub)
		}
	}
}

// nameForms are about constraints of each form.
func nameForms(m *matrix) {
	m.constrainedBy([]constrained{
		{"dns", list(dns("example.org")), nil, []sans{
			{"none", nil}, {"same", list(dns("example.org"))}, {"below", list(dns("a.b.example.org"))}, {"other", list(dns("example.com"))},
			{"suffix-without-dot", list(dns("badexample.org"))}, {"case", list(dns("A.EXAMPLE.ORG"))}, {"wildcard", list(dns("*.example.org"))},
			{"wildcard-above", list(dns("*.org"))}, {"trailing-dot", list(dns("example.org."))}, {"leading-dot", list(dns(".example.org"))},
			{"empty", list(dns(""))}, {"blank", list(dns("a b.example.org"))}, {"two-dots", list(dns("a..example.org"))},
			{"one-of-two", list(dns("example.org"), dns("example.com"))}, {"email-other", list(email("a@example.com"))}, {"ip", list(ip("10.0.0.1"))},
			{"uri-other", list(uri("https://example.com/"))}, {"uri-without-host", list(uri("urn:a:b"))}, {"uri-ip", list(uri("https://10.0.0.1/"))},
			{"email-two-at", list(email("a@b@c"))}, {"email-unreadable", list(email("a b@c"))}, {"other-name", list(otherName("1.2.3", utf8s("x")))}, {"directory", list(directory(named("x")))},
			{"long-label", list(dns("a23456789012345678901234567890123456789012345678901234567890123456789.example.org"))},
		}},
		{"dns-dot", list(dns(".example.org")), nil, []sans{
			{"same", list(dns("example.org"))}, {"below", list(dns("a.example.org"))}, {"wildcard", list(dns("*.example.org"))}, {"deep", list(dns("a.b.c.example.org"))},
		}},
		{"dns-excluded", nil, list(dns("bad.example.org")), []sans{
			{"none", nil}, {"same", list(dns("bad.example.org"))}, {"below", list(dns("a.bad.example.org"))}, {"beside", list(dns("good.example.org"))},
			{"above", list(dns("example.org"))}, {"wildcard", list(dns("*.example.org"))}, {"wildcard-case", list(dns("*.EXAMPLE.ORG"))}, {"wildcard-far", list(dns("*.org"))},
			{"case", list(dns("BAD.example.ORG"))}, {"trailing-dot", list(dns("bad.example.org."))}, {"ip", list(ip("10.0.0.1"))},
		}},
		{"dns-both", list(dns("example.org")), list(dns("bad.example.org")), []sans{
			{"good", list(dns("good.example.org"))}, {"bad", list(dns("x.bad.example.org"))}, {"other", list(dns("example.com"))}, {"wildcard", list(dns("*.example.org"))},
		}},
		{"dns-two", list(dns("example.org"), dns("example.com")), nil, []sans{
			{"first", list(dns("a.example.org"))}, {"second", list(dns("a.example.com"))}, {"both", list(dns("example.org"), dns("example.com"))}, {"other", list(dns("example.net"))},
		}},
		{"dns-dot-excluded", nil, list(dns(".example.org")), []sans{
			{"same", list(dns("example.org"))}, {"below", list(dns("a.example.org"))}, {"wildcard", list(dns("*.example.org"))}, {"wildcard-above", list(dns("*.org"))},
		}},
		{"dns-one-label-excluded", nil, list(dns("org")), []sans{{"same", list(dns("org"))}, {"below", list(dns("a.org"))}, {"wildcard", list(dns("*.org"))}, {"star", list(dns("*"))}}},
		{"dns-many", list(dns("a.com"), dns("a-a.com"), dns("a.a.com"), dns("EXAMPLE.org"), dns("b.example.ORG"), dns(".dot.net"), dns("x.dot.net")), nil, []sans{
			{"hyphen", list(dns("x.a-a.com"))}, {"inner", list(dns("a.a.com"))}, {"case", list(dns("c.Example.Org"))}, {"dot", list(dns("y.dot.net"))},
			{"dot-same", list(dns("dot.net"))}, {"other", list(dns("a--a.com"))}, {"underscore", list(dns("_.a.com"))},
		}},
		{"dns-all", list(dns("")), nil, []sans{{"any", list(dns("a.b"))}, {"none", nil}, {"empty", list(dns(""))}}},
		{"dns-nothing", nil, list(dns("")), []sans{{"any", list(dns("a.b"))}, {"none", nil}, {"ip", list(ip("10.0.0.1"))}, {"empty", list(dns(""))}}},
		{"email-domain", list(email("example.org")), nil, []sans{
			{"inside", list(email("a@example.org"))}, {"below", list(email("a@b.example.org"))}, {"other", list(email("a@example.com"))}, {"case", list(email("A@EXAMPLE.ORG"))},
			{"quoted", list(email(`"a b"@example.org`))}, {"quoted-at", list(email(`"a@b"@example.org`))}, {"no-at", list(email("example.org"))}, {"escaped", list(email(`a\@b@example.org`))},
			{"two-dots", list(email("a..b@example.org"))}, {"trailing-dot", list(email("a@example.org."))}, {"empty-local", list(email("@example.org"))},
			{"empty-domain", list(email("a@"))}, {"empty", list(email(""))}, {"dns-other", list(dns("example.com"))},
		}},
		{"email-domain-dot", list(email(".example.org")), nil, []sans{{"same", list(email("a@example.org"))}, {"below", list(email("a@b.example.org"))}}},
		{"email-mailbox", list(email("jane@example.org")), nil, []sans{
			{"same", list(email("jane@example.org"))}, {"domain-case", list(email("jane@EXAMPLE.org"))}, {"local-case", list(email("Jane@example.org"))},
			{"other", list(email("john@example.org"))}, {"quoted-same", list(email(`"jane"@example.org`))},
		}},
		{"email-excluded", nil, list(email("example.org"), email("jane@example.com")), []sans{
			{"inside", list(email("a@example.org"))}, {"mailbox", list(email("jane@example.com"))}, {"beside", list(email("john@example.com"))}, {"none", nil},
		}},
		{"email-all", list(email("")), nil, []sans{{"any", list(email("a@b.c"))}}},
	})
	nameFormsOfPlaces(m)
	m.constraintsElsewhere()
}

func nameFormsOfPlaces(m *matrix) {
	m.constrainedBy([]constrained{
		{"uri", list(uri("example.org")), nil, []sans{
			{"same", list(uri("spiffe://example.org/ns/a"))}, {"below", list(uri("spiffe://a.example.org/ns/a"))}, {"other", list(uri("spiffe://example.com/ns/a"))},
			{"case", list(uri("SPIFFE://EXAMPLE.ORG/x"))}, {"port", list(uri("https://example.org:8443/"))}, {"port-empty", list(uri("https://example.org:/"))},
			{"user", list(uri("https://example.org@example.com/"))}, {"user-inside", list(uri("https://a@example.org/"))}, {"no-host", list(uri("urn:example.org"))},
			{"relative", list(uri("/example.org"))}, {"scheme-only", list(uri("spiffe:///a"))}, {"ip4", list(uri("https://10.0.0.1/"))}, {"ip6", list(uri("https://[::1]/"))},
			{"ip6-port", list(uri("https://[::1]:1/"))}, {"wildcard", list(uri("https://*.example.org/"))}, {"escaped", list(uri("https://ex%61mple.org/"))}, {"dns-other", list(dns("example.com"))}, {"none", nil},
		}},
		{"uri-dot", list(uri(".example.org")), nil, []sans{{"same", list(uri("spiffe://example.org/a"))}, {"below", list(uri("spiffe://a.example.org/a"))}}},
		{"uri-excluded", nil, list(uri("example.org")), []sans{
			{"same", list(uri("spiffe://example.org/a"))}, {"below", list(uri("spiffe://a.example.org/a"))}, {"other", list(uri("spiffe://example.com/a"))},
			{"no-host", list(uri("urn:a"))}, {"dns", list(dns("example.org"))},
		}},
		{"uri-nothing", nil, list(uri("")), []sans{{"any", list(uri("spiffe://a/b"))}, {"none", nil}}},
		{"ip4", list(subnet("10.0.0.0/8")), nil, []sans{
			{"inside", list(ip("10.1.2.3"))}, {"first", list(ip("10.0.0.0"))}, {"last", list(ip("10.255.255.255"))}, {"outside", list(ip("11.0.0.1"))}, {"mapped", list(mapped)},
			{"ip6", list(ip("fd00::1"))}, {"none", nil}, {"dns", list(dns("10.0.0.1"))}, {"one-of-two", list(ip("10.0.0.1"), ip("11.0.0.1"))},
		}},
		{"ip4-host-bits", list(subnet("10.5.5.5/8")), nil, []sans{{"above", list(ip("10.9.0.1"))}, {"below", list(ip("10.1.0.1"))}, {"outside", list(ip("11.0.0.1"))}}},
		{"ip4-two-host-bits", list(subnet("9.0.0.0/8"), subnet("10.5.5.5/8")), nil, []sans{{"above", list(ip("10.9.0.1"))}, {"below", list(ip("10.1.0.1"))}, {"first", list(ip("9.1.1.1"))}}},
		{"ip4-all", list(subnet("0.0.0.0/0")), nil, []sans{{"any", list(ip("1.2.3.4"))}, {"ip6", list(ip("::1"))}}},
		{"ip4-one", list(subnet("10.0.0.1/32")), nil, []sans{{"same", list(ip("10.0.0.1"))}, {"next", list(ip("10.0.0.2"))}}},
		{"ip4-excluded", nil, list(subnet("10.0.0.0/8")), []sans{
			{"inside", list(ip("10.1.2.3"))}, {"outside", list(ip("11.0.0.1"))}, {"none", nil},
		}},
		{"ip4-hole", list(subnet("10.0.0.0/8")), list(subnet("10.1.0.0/16")), []sans{{"inside", list(ip("10.2.0.1"))}, {"in-hole", list(ip("10.1.0.1"))}}},
		{"ip6", list(subnet("fd00::/8")), nil, []sans{{"inside", list(ip("fd12::1"))}, {"outside", list(ip("fe80::1"))}, {"ip4", list(ip("10.0.0.1"))}}},
		{"ip6-mapped-range", list(ipBytes(append(append(make([]byte, 10), 255, 255, 10, 0, 0, 0), 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0)...)), nil, []sans{
			{"mapped", list(mapped)}, {"ip4", list(ip("10.0.0.1"))},
		}},
		{"many", list(subnet("10.0.0.0/8"), subnet("10.1.0.0/16"), subnet("192.168.0.0/16"), subnet("172.16.0.0/12")), nil, []sans{
			{"first", list(ip("10.200.0.1"))}, {"inner", list(ip("10.1.0.1"))}, {"between", list(ip("172.15.0.1"))}, {"last", list(ip("192.168.255.255"))}, {"middle", list(ip("172.31.0.1"))},
		}},
		{"dns-and-ip", list(dns("example.org"), subnet("10.0.0.0/8")), nil, []sans{
			{"both", list(dns("example.org"), ip("10.0.0.1"))}, {"dns-wrong", list(dns("example.com"), ip("10.0.0.1"))}, {"ip-wrong", list(dns("example.org"), ip("11.0.0.1"))},
			{"only-email", list(email("a@b.c"))},
		}},
		{"directory", list(directory(named("jane"))), nil, []sans{{"none", nil}, {"same", list(directory(named("jane")))}}},
		{"directory-excluded", nil, list(directory(named("jane"))), []sans{{"none", nil}}},
		{"other-name", list(otherName("1.2.3", null())), nil, []sans{{"none", nil}}},
		{"registered", list(registered("1.2.3")), nil, []sans{{"none", nil}}},
		{"dns-and-directory", list(dns("example.org"), directory(named("x"))), nil, []sans{{"inside", list(dns("example.org"))}}},
	})
}

// constraintsElsewhere are constraints that are not critical, on roots, on two levels, and on names
// of intermediates.
func (m *matrix) constraintsElsewhere() {
	inside, outside := also(alternative(dns("a.example.org"))), also(alternative(dns("example.com")))
	lax := m.sub(m.ca, "constraint/lax", also(laxConstraints(list(dns("example.org")), nil)))
	m.add("constraint/not-critical-inside", m.leaf(lax, inside), lax)
	m.add("constraint/not-critical-outside", m.leaf(lax, outside), lax)
	for _, c := range []struct {
		name string
		base []byte
	}{{"directory", directory(named("jane"))}, {"other-name", otherName("1.2.3", null())}, {"registered", registered("1.2.3")}, {"unknown-tag", context(9, false, []byte("x"))}} {
		sub := m.sub(m.ca, "constraint/lax-"+c.name, also(laxConstraints(nil, list(c.base))))
		m.add("constraint/not-critical-excluded-"+c.name, m.leaf(sub), sub)
	}
	for _, c := range []struct {
		name string
		ext  extension
	}{
		{"dns", constraints(list(dns("example.org")), nil)},
		{"dns-lax", laxConstraints(list(dns("example.org")), nil)},
		{"dns-excluded", constraints(nil, list(dns("example.com")))},
		{"directory", constraints(list(directory(named("jane"))), nil)},
		{"directory-lax", laxConstraints(list(directory(named("jane"))), nil)},
		{"uri", constraints(list(uri("example.org")), nil)},
		{"ip", constraints(list(subnet("10.0.0.0/8")), nil)},
	} {
		root := m.root("constraint/root-"+c.name, also(c.ext))
		m.add("constraint/root-"+c.name+"-none", m.leaf(root))
		m.add("constraint/root-"+c.name+"-inside", m.leaf(root, inside))
		m.add("constraint/root-"+c.name+"-outside", m.leaf(root, outside))
	}
	m.constraintsOnTwo(inside, outside)
}

func (m *matrix) constraintsOnTwo(inside, outside edit) {
	root := m.root("constraint/two", also(constraints(list(dns("example.org")), nil)))
	narrower := m.sub(root, "constraint/two/narrower", also(constraints(list(dns("a.example.org")), nil)))
	wider := m.sub(root, "constraint/two/wider", also(constraints(list(dns("org")), nil)))
	other := m.sub(root, "constraint/two/other", also(constraints(nil, list(dns("a.example.org")))))
	plain := m.sub(root, "constraint/two/plain")
	b := also(alternative(dns("b.example.org")))
	m.add("constraint/two-narrower-inside", m.leaf(narrower, inside), narrower)
	m.add("constraint/two-narrower-only-in-root", m.leaf(narrower, b), narrower)
	m.add("constraint/two-wider-inside", m.leaf(wider, inside), wider)
	m.add("constraint/two-wider-only-in-sub", m.leaf(wider, also(alternative(dns("example.net.org")))), wider)
	m.add("constraint/two-excluded-below", m.leaf(other, inside), other)
	m.add("constraint/two-excluded-beside", m.leaf(other, b), other)
	m.add("constraint/two-plain-inside", m.leaf(plain, inside), plain)
	m.add("constraint/two-plain-outside", m.leaf(plain, outside), plain)
	// Names of an intermediate count as well, its own constraints do not bind it.
	named := m.sub(root, "constraint/two/named", outside)
	m.add("constraint/intermediate-named-outside", m.leaf(named), named)
	named = m.sub(root, "constraint/two/named-inside", inside)
	m.add("constraint/intermediate-named-inside", m.leaf(named), named)
	own := m.sub(m.ca, "constraint/own", also(constraints(list(dns("example.org")), nil)), outside)
	m.add("constraint/intermediate-outside-its-own", m.leaf(own), own)
	m.add("constraint/intermediate-outside-its-own-leaf-outside", m.leaf(own, outside), own)
	m.add("constraint/leaf-outside-its-own", m.leaf(m.ca, also(constraints(list(dns("example.org")), nil)), outside))
	rootNamed := m.root("constraint/root-named-outside", also(constraints(list(dns("example.org")), nil)), outside)
	m.add("constraint/root-outside-its-own", m.leaf(rootNamed))
	m.add("constraint/common-name-is-no-dns-name", m.leaf(plain, subject(cn(utf8s("example.com")))), plain)
	m.add("constraint/email-in-subject", m.leaf(m.root("constraint/email-in-subject", also(constraints(list(email("example.org")), nil))),
		subject(cn(utf8s("jane")), one(oidEmail, ia5("jane@example.com")))))
	// A path that is constrained beside one that is not.
	free := m.sub(m.ca, "constraint/two/plain", with(plain.key))
	m.add("constraint/other-path-is-free", m.leaf(plain, outside), plain, free)
}

// nameCorners are constraints that cannot be read, or hardly: an intermediate with them is refused
// with the whole handshake.
func nameCorners(m *matrix) {
	base := func(names ...[]byte) []byte { return subtrees(list(names...), nil) }
	tree := func(parts ...[]byte) []byte { return seq(context(0, true, seq(parts...))) }
	mask := func(b ...byte) []byte { return base(ipBytes(append([]byte{10, 0, 0, 0}, b...)...)) }
	for _, c := range []struct {
		name  string
		value []byte
	}{
		{"empty", seq()},
		{"empty-permitted", seq(context(0, true))},
		{"empty-excluded", seq(context(1, true))},
		{"empty-both", seq(context(0, true), context(1, true))},
		{"empty-permitted-and-excluded", seq(context(0, true), context(1, true, seq(dns("bad.example.org"))))},
		{"swapped", seq(context(1, true, seq(dns("bad"))), context(0, true, seq(dns("a.example.org"))))},
		{"twice", seq(context(0, true, seq(dns("a.example.org"))), context(0, true, seq(dns("a.example.org"))))},
		{"and-more", join(base(dns("a.example.org")), null())},
		{"field-2", seq(context(0, true, seq(dns("a.example.org"))), context(2, true, null()))},
		{"no-octets", nil},
		{"set", set(context(0, true, seq(dns("a.example.org"))))},
		{"tree-empty", tree()},
		{"tree-set", seq(context(0, true, set(dns("a.example.org"))))},
		{"minimum-0", tree(dns("a.example.org"), context(0, false, []byte{0}))},
		{"minimum-1", tree(dns("a.example.org"), context(0, false, []byte{1}))},
		{"maximum-0", tree(dns("a.example.org"), context(1, false, []byte{0}))},
		{"minimum-and-maximum", tree(dns("a.example.org"), context(0, false, []byte{1}), context(1, false, []byte{9}))},
		{"tree-and-garbage", tree(dns("a.example.org"), []byte{0xff})},
		{"dns-wildcard", base(dns("*.example.org"))},
		{"dns-trailing-dot", base(dns("example.org."))},
		{"dns-dot", base(dns("."))},
		{"dns-two-dots", base(dns("..example.org"))},
		{"dns-inner-dots", base(dns("a..org"))},
		{"dns-blank", base(dns("a b"))},
		{"dns-high", base(dns("b\xfccher.org"))},
		{"dns-nul", base(dns("a\x00b"))},
		{"dns-case", base(dns("EXAMPLE.Org"))},
		{"dns-ip", base(dns("10.0.0.1"))},
		{"dns-constructed", base(context(2, true, ia5("example.org")))},
		{"email-at-first", base(email("@example.org"))},
		{"email-two-at", base(email("a@b@c"))},
		{"email-local-only", base(email("a@"))},
		{"email-trailing-dot", base(email("example.org."))},
		{"email-high", base(email("j\xfc@example.org"))},
		{"uri-ip", base(uri("10.0.0.1"))},
		{"uri-ip6", base(uri("::1"))},
		{"uri-full", base(uri("https://example.org"))},
		{"uri-path", base(uri("example.org/a"))},
		{"uri-trailing-dot", base(uri("example.org."))},
		{"uri-port", base(uri("example.org:443"))},
		{"uri-high", base(uri("b\xfccher.org"))},
		{"ip-4-octets", base(ip("10.0.0.0"))},
		{"ip-16-octets", base(ip("fd00::"))},
		{"ip-9-octets", mask(255, 0, 0, 0, 0)},
		{"ip-empty", base(ipBytes())},
		{"ip-mask-with-hole", mask(255, 0, 255, 0)},
		{"ip-mask-from-right", mask(0, 0, 0, 255)},
		{"ip-mask-in-octet", mask(255, 0xa0, 0, 0)},
		{"ip-mask-9-bits", mask(255, 0x80, 0, 0)},
		{"unknown-tag", base(context(9, false, []byte("x")))},
		{"universal-tag", base(utf8s("example.org"))},
	} {
		sub := m.sub(m.ca, "constraint/corner", also(extend(oidNameConstraints, true, c.value)))
		m.add("constraint/corner-"+c.name, m.leaf(sub, also(alternative(dns("a.example.org")))), sub)
	}
}
