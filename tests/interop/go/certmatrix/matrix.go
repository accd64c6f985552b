package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// mainBundle holds the roots of all cases that need no bundle of their own: a start of the server a
// bundle is dear.
const mainBundle = "main"

// matrix collects cases.
type matrix struct {
	now     time.Time
	ca      *entity
	bundles []*bundle
	cases   []*entry
}

// bundle is a file of authorities.
type bundle struct {
	Name string `json:"name"`
	PEM  string `json:"pem"`
}

// entry is one case.
type entry struct {
	Name   string   `json:"name"`
	Bundle string   `json:"bundle"`
	Chain  [][]byte `json:"chain"`
	// Key is the PKCS#8 private key that proves possession. It never leaves this run.
	Key []byte `json:"key,omitempty"`
	// TLS12 is for keys that TLS 1.3 has no signature for.
	TLS12 bool `json:"tls12,omitempty"`
}

// document is matrix.json.
type document struct {
	Made    time.Time `json:"made"`
	Bundles []*bundle `json:"bundles"`
	Cases   []*entry  `json:"cases"`
}

// newMatrix is every case, made now.
func newMatrix(now time.Time) *matrix {
	m := &matrix{now: now.UTC().Truncate(time.Second)}
	m.bundle(mainBundle)
	m.ca = m.root("ca")
	for _, table := range []func(*matrix){
		subjects, userIDs, leafKeys, authorityKeys, signatures, versions, leafUsages, leafExtensions, alternativeNames, malformedExtensions,
		pinned, roots, rootNames, intermediates, deepChains, purposesNested, nameForms, nameCorners,
		policyRules, dateForms, encodings, namesEncoded, bundles,
	} {
		table(m)
	}
	return m
}

// template is what every certificate begins as.
func (m *matrix) template(subject []byte, edits []edit, extensions ...extension) template {
	t := template{
		version:    context(0, true, integer(2)),
		serial:     randomSerial(),
		notBefore:  m.hours(-24),
		notAfter:   m.hours(24 * 365),
		subject:    subject,
		extensions: extensions,
	}
	for _, edit := range edits {
		edit(&t)
	}
	if t.key == nil {
		t.key = p256()
	}
	return t
}

func (m *matrix) at(hours int) time.Time { return m.now.Add(time.Duration(hours) * time.Hour) }

// hours is a time relative to now. No margin is below an hour: a replay judges at the recorded
// instant.
func (m *matrix) hours(hours int) []byte { return instant(m.at(hours)) }

// authority is a self-signed CA that nobody trusts yet.
func (m *matrix) authority(common string, edits ...edit) *entity {
	return m.template(named(common), edits, basic(true, -1), keyUsage(certAndCRLSign)).sign(nil)
}

// root is an authority of the main bundle.
func (m *matrix) root(common string, edits ...edit) *entity {
	return m.trust(m.authority(common, edits...))
}

// trust puts a certificate into the main bundle. One that the server could not read would keep it
// from starting.
func (m *matrix) trust(e *entity) *entity {
	must(x509.ParseCertificate(e.der))
	m.bundles[0].add(e)
	return e
}

// sub is a CA below another.
func (m *matrix) sub(by *entity, common string, edits ...edit) *entity {
	return m.template(named(common), edits, basic(true, -1), keyUsage(certAndCRLSign)).sign(by)
}

// leaf is a client certificate; jane of dev unless an edit says otherwise.
func (m *matrix) leaf(by *entity, edits ...edit) *entity {
	return m.leafTemplate(edits...).sign(by)
}

func (m *matrix) leafTemplate(edits ...edit) template {
	subject := name(org(utf8s("dev")), cn(utf8s("jane")))
	// The smallest keys, for the recording's sake; an edit may choose another.
	edits = append([]edit{with(ed())}, edits...)
	return m.template(subject, edits, keyUsage(digitalSignature), purposes(clientAuth))
}

// add is a case of the main bundle: a certificate, and those that are sent along.
func (m *matrix) add(name string, chain ...*entity) *entry {
	return m.addIn(mainBundle, name, chain...)
}

func (m *matrix) addIn(bundle, name string, chain ...*entity) *entry {
	e := &entry{Name: name, Bundle: bundle, Chain: [][]byte{}}
	for _, old := range m.cases {
		if old.Name == name {
			panic("two cases are called " + name)
		}
	}
	if !strings.Contains(name, "/") {
		panic("no group in " + name)
	}
	for _, certificate := range chain {
		e.Chain = append(e.Chain, append([]byte{}, certificate.der...))
	}
	if len(chain) > 0 {
		e.Key = chain[0].key.pkcs8()
	}
	m.cases = append(m.cases, e)
	return e
}

// plain is a case whose leaf differs from an ordinary one by these edits.
func (m *matrix) plain(name string, edits ...edit) *entry { return m.add(name, m.leaf(m.ca, edits...)) }

// under is a case of a root of its own, named as the case, that differs by these edits.
func (m *matrix) under(name string, edits ...edit) *entry {
	return m.add(name, m.leaf(m.root(name, edits...)))
}

// between is a case of an intermediate that differs by these edits.
func (m *matrix) between(name string, edits ...edit) *entry {
	sub := m.sub(m.ca, name, edits...)
	return m.add(name, m.leaf(sub), sub)
}

// bundle begins one.
func (m *matrix) bundle(name string) *bundle {
	b := &bundle{Name: name}
	m.bundles = append(m.bundles, b)
	return b
}

func (b *bundle) add(certificates ...*entity) *bundle {
	for _, e := range certificates {
		b.block("CERTIFICATE", nil, e.der)
	}
	return b
}

func (b *bundle) block(label string, headers map[string]string, content ...[]byte) *bundle {
	var text bytes.Buffer
	must(0, pem.Encode(&text, &pem.Block{Type: label, Headers: headers, Bytes: join(content...)}))
	b.PEM += text.String()
	return b
}

func (b *bundle) text(text string) *bundle {
	b.PEM += text
	return b
}

// write puts matrix.json and the bundles into a directory.
func (m *matrix) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, b := range m.bundles {
		if err := os.WriteFile(filepath.Join(dir, b.Name+".pem"), []byte(b.PEM), 0o600); err != nil {
			return err
		}
	}
	text, err := json.Marshal(document{m.now, m.bundles, m.cases})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "matrix.json"), text, 0o600)
}

// base64Lines is text as PEM has it, for bundles that are no proper PEM.
func base64Lines(der []byte) string {
	text := base64.StdEncoding.EncodeToString(der)
	var lines strings.Builder
	for len(text) > 64 {
		lines.WriteString(text[:64] + "\n")
		text = text[64:]
	}
	return lines.String() + text + "\n"
}
