package main

// pinned are about certificates that stand in the bundle themselves.
func pinned(m *matrix) {
	// self is a self-signed leaf that is also in the bundle.
	self := func(name string, edits ...edit) *entity {
		t := m.leafTemplate(edits...)
		t.subject = namedIn(name)
		e := m.trust(t.sign(nil))
		m.add("pinned/self-"+name, e)
		return e
	}
	ca := []edit{ext(basic(true, -1), keyUsage(certAndCRLSign))}
	self("leaf")
	self("leaf-no-extensions", bare())
	self("leaf-v1", v1())
	self("leaf-ca", ca...)
	self("leaf-ca-without-purpose", without(oidExtendedKeyUsage), ca[0])
	self("leaf-without-purpose", without(oidExtendedKeyUsage))
	self("leaf-server", ext(purposes(serverAuth)))
	self("leaf-any", ext(purposes(anyUsage)))
	self("leaf-expired", dates(m.hours(-48), m.hours(-24)))
	self("leaf-future", dates(m.hours(24), m.hours(48)))
	self("leaf-path-0", ext(basic(true, 0)))
	self("leaf-unknown-critical", also(extend(oidUnknown, true)))
	self("leaf-broken-signature", func(t *template) { t.signature = flip })
	self("leaf-outside-its-constraints", also(constraints(list(dns("example.org")), nil), alternative(dns("example.com"))))
	self("leaf-explicit-policy", also(policyConstraints(0, -1)))
	self("leaf-rsa", with(rsaKey(2048)))
	self("leaf-ed25519", with(ed()))

	// issued is a leaf in the bundle whose issuer is not there.
	nobody := m.authority("pinned/nobody")
	issued := func(name string, edits ...edit) *entity {
		t := m.leafTemplate(edits...)
		t.subject = namedIn(name)
		e := m.trust(t.sign(nobody))
		m.add("pinned/issued-"+name, e)
		return e
	}
	issued("leaf")
	issued("leaf-without-purpose", without(oidExtendedKeyUsage))
	issued("leaf-server", ext(purposes(serverAuth)))
	issued("leaf-expired", dates(m.hours(-48), m.hours(-24)))
	m.add("pinned/issued-by-nobody-not-in-bundle", m.leaf(nobody))
	m.add("pinned/nobody-as-intermediate", m.leaf(nobody), nobody)

	two := m.leafTemplate(subject(cn(utf8s("pinned two uids")), uid(utf8s("a")), uid(utf8s("b")))).sign(nobody)
	m.add("pinned/two-uids", m.trust(two))
	nameless := m.leafTemplate(subject(org(utf8s("pinned nameless")))).sign(nobody)
	m.add("pinned/nameless", m.trust(nameless))
	empty := m.leafTemplate(subject()).sign(nobody)
	m.add("pinned/without-subject", m.trust(empty))

	both := m.trust(m.leaf(m.ca, subject(cn(utf8s("in bundle and issued by ca")))))
	m.add("pinned/and-issued-by-root", both)
	server := m.trust(m.leaf(m.ca, subject(cn(utf8s("server in bundle and issued by ca"))), ext(purposes(serverAuth))))
	m.add("pinned/and-issued-by-root-server", server)

	belowPinned(m, nobody)
	rootsAsLeaves(m)
}

// namedIn is the subject of a pinned certificate: each its own, for nothing may be found by
// another's name.
func namedIn(name string) []byte { return namesOf("dev", "pinned "+name) }

func namesOf(group, user string) []byte { return seq(org(utf8s(group)), cn(utf8s(user))) }

// belowPinned are leaves that a pinned certificate signed, which is no authority.
func belowPinned(m *matrix, nobody *entity) {
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"leaf", nil},
		{"leaf-no-extensions", []edit{bare()}},
		{"leaf-v1", []edit{v1()}},
		{"leaf-not-ca", []edit{ext(basic(false, -1))}},
		{"leaf-ca-without-cert-sign", []edit{ext(basic(true, -1))}},
		{"leaf-ca-without-key-usage", []edit{without(oidKeyUsage), ext(basic(true, -1))}},
		{"intermediate", []edit{without(oidExtendedKeyUsage), ext(basic(true, -1), keyUsage(certSign))}},
		{"intermediate-path-0", []edit{without(oidExtendedKeyUsage), ext(basic(true, 0), keyUsage(certSign))}},
		{"intermediate-expired", []edit{dates(m.hours(-48), m.hours(-24)), ext(basic(true, -1), keyUsage(certSign))}},
	} {
		t := m.leafTemplate(c.edits...)
		t.subject = namesOf("dev", "below pinned "+c.name)
		signer := m.trust(t.sign(nobody))
		m.add("pinned/below-"+c.name, m.leaf(signer))
		m.add("pinned/below-"+c.name+"-sent-along", m.leaf(signer), signer)
	}
}

// rootsAsLeaves are roots that come as clients.
func rootsAsLeaves(m *matrix) {
	m.add("pinned/root-as-leaf", m.ca)
	m.add("pinned/root-as-leaf-v1", m.root("pinned/root-v1", v1()))
	m.add("pinned/root-as-leaf-constrained", m.root("pinned/root-constrained", also(constraints(list(dns("example.org")), nil))))
	m.add("pinned/root-as-leaf-path-0", m.root("pinned/root-path-0", ext(basic(true, 0))))
	m.add("pinned/root-as-leaf-expired", m.root("pinned/root-expired", dates(m.hours(-48), m.hours(-1))))
	m.add("pinned/root-as-leaf-server", m.root("pinned/root-server", also(purposes(serverAuth))))
	m.add("pinned/root-as-leaf-client", m.root("pinned/root-client", also(purposes(clientAuth))))
	m.add("pinned/root-as-leaf-policy", m.root("pinned/root-policy", also(policyConstraints(0, 0))))
	stranger := m.authority("pinned/stranger")
	m.add("pinned/self-signed-not-in-bundle", stranger)
	m.add("pinned/self-signed-sent-twice", stranger, stranger)
	sub := m.sub(m.ca, "pinned/intermediate")
	m.add("pinned/intermediate-as-leaf", sub)
	trusted := m.trust(m.sub(m.authority("pinned/absent"), "pinned/intermediate-in-bundle"))
	m.add("pinned/intermediate-in-bundle-as-leaf", trusted)
	m.add("pinned/below-intermediate-in-bundle", m.leaf(trusted))
	// The same name and key as the pinned one, in another certificate.
	pinned := m.leafTemplate(subject(cn(utf8s("pinned once"))))
	pinned.key = p256()
	m.trust(pinned.sign(nil))
	pinned.serial = randomSerial()
	m.add("pinned/other-certificate-of-the-same-key", pinned.sign(nil))
}
