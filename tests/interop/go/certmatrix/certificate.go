package main

import (
	"crypto/rand"
	"math/big"
	"slices"
	"time"
)

// template is a certificate that is still to be signed: its parts in DER, so that each can be
// wrong.
type template struct {
	// version is the element [0]; nil leaves it out.
	version []byte
	serial  []byte
	// algorithm signs; nil is what is usual for the issuer's key.
	algorithm *algorithm
	// inner is the algorithm's name inside what is signed, when it is another.
	inner               []byte
	issuer              []byte
	notBefore, notAfter []byte
	subject             []byte
	key                 *key
	// ids are the unique identifiers of version 2.
	ids        [][]byte
	extensions []extension
	// Last changes, to the fields of what is signed, to it as a whole, to the signature, and to the
	// fields around it.
	fields    func([][]byte) [][]byte
	tbs       func([]byte) []byte
	signature func([]byte) []byte
	outer     func([][]byte) [][]byte
	whole     func([]byte) []byte
}

// entity is a certificate and its key.
type entity struct {
	der     []byte
	subject []byte
	key     *key
}

// as is the same certificate with other bytes.
func (e *entity) as(der []byte) *entity { return &entity{der, e.subject, e.key} }

// edit changes a template.
type edit func(*template)

// Edits.

func subject(rdns ...[]byte) edit { return func(t *template) { t.subject = name(rdns...) } }
func subjectDER(der []byte) edit  { return func(t *template) { t.subject = der } }
func issuer(der []byte) edit      { return func(t *template) { t.issuer = der } }
func with(k *key) edit            { return func(t *template) { t.key = k } }
func signed(a algorithm) edit     { return func(t *template) { t.algorithm = &a } }
func serial(element []byte) edit  { return func(t *template) { t.serial = element } }
func dates(from, until []byte) edit {
	return func(t *template) { t.notBefore, t.notAfter = from, until }
}
func from(element []byte) edit              { return func(t *template) { t.notBefore = element } }
func until(element []byte) edit             { return func(t *template) { t.notAfter = element } }
func bare() edit                            { return func(t *template) { t.extensions = nil } }
func fields(f func([][]byte) [][]byte) edit { return func(t *template) { t.fields = f } }

// versioned sets the version as the number that is encoded: 2 for version 3.
func versioned(encoded int64) edit {
	return func(t *template) { t.version = context(0, true, integer(encoded)) }
}

// v1 is what `openssl x509 -req` makes when it is told nothing of extensions.
func v1() edit {
	return func(t *template) { t.version, t.extensions = nil, nil }
}

// ext replaces extensions of the same type, or adds new ones at the end.
func ext(all ...extension) edit {
	return func(t *template) {
		for _, e := range all {
			at := slices.IndexFunc(t.extensions, func(old extension) bool { return old.kind == e.kind })
			if at < 0 {
				t.extensions = append(t.extensions, e)
			} else {
				t.extensions[at] = e
			}
		}
	}
}

// also adds extensions, whatever is there.
func also(all ...extension) edit {
	return func(t *template) { t.extensions = append(t.extensions, all...) }
}

// without drops extensions.
func without(kinds ...string) edit {
	return func(t *template) {
		t.extensions = slices.DeleteFunc(t.extensions, func(old extension) bool {
			return slices.Contains(kinds, old.kind)
		})
	}
}

// sign makes a certificate; without an issuer it signs itself.
func (t template) sign(by *entity) *entity {
	if by == nil {
		by = &entity{nil, t.subject, t.key}
	}
	if t.issuer == nil {
		t.issuer = by.subject
	}
	how := usual(by.key)
	if t.algorithm != nil {
		how = *t.algorithm
	}
	inner := how.identifier
	if t.inner != nil {
		inner = t.inner
	}
	parts := [][]byte{t.version, t.serial, inner, t.issuer, seq(t.notBefore, t.notAfter), t.subject, t.key.spki}
	parts = append(parts, t.ids...)
	if len(t.extensions) > 0 {
		parts = append(parts, t.extensionsField())
	}
	if t.fields != nil {
		parts = t.fields(parts)
	}
	tbs := seq(parts...)
	if t.tbs != nil {
		tbs = t.tbs(tbs)
	}
	signature := how.sign(by.key, tbs)
	if t.signature != nil {
		signature = t.signature(signature)
	}
	outer := [][]byte{tbs, how.identifier, bits(0, signature...)}
	if t.outer != nil {
		outer = t.outer(outer)
	}
	der := seq(outer...)
	if t.whole != nil {
		der = t.whole(der)
	}
	return &entity{der, t.subject, t.key}
}

func (t template) extensionsField() []byte {
	var all [][]byte
	for _, e := range t.extensions {
		all = append(all, e.der)
	}
	return context(3, true, seq(all...))
}

// Positions in the fields of what is signed.
const (
	fieldVersion = iota
	fieldSerial
	fieldAlgorithm
	fieldIssuer
	fieldValidity
	fieldSubject
	fieldKey
)

// field puts another element in the place of one.
func field(at int, element []byte) edit {
	return fields(func(parts [][]byte) [][]byte {
		parts[at] = element
		return parts
	})
}

func randomSerial() []byte {
	limit := new(big.Int).Lsh(big.NewInt(1), 63)
	return bigInteger(must(rand.Int(rand.Reader, limit)))
}

// Times.

func utcTime(t time.Time) []byte { return raw(tagUTCTime, t.Format("060102150405Z")) }

func generalTime(t time.Time) []byte { return raw(tagGeneralTime, t.Format("20060102150405Z")) }

// instant writes a time as RFC 5280 wants it.
func instant(t time.Time) []byte {
	if t.Year() < 2050 {
		return utcTime(t)
	}
	return generalTime(t)
}
