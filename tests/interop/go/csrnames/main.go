// Csrnames asks kube-controller-manager's own functions what they make of odd names and addresses.
//
// It prints one line per case: a label, the request (DER, base64), and for each built-in signer the
// verdict:
//
// 	malformed kube-apiserver refuses the request when it is created failed: TEXT the signer writes a
// 	Failed condition with reason SignerValidationFailure and this message retried: TEXT the signer
// 	can neither issue nor fail: it tries again for ever issued a certificate, which kube-apiserver
// 	takes; its names are in the last column
//
// The last column is the value of the issued certificate's subjectAltName (DER, base64), or "-".
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"

	capi "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	certutil "k8s.io/client-go/util/cert"
	capihelper "k8s.io/kubernetes/pkg/apis/certificates"
	"k8s.io/kubernetes/pkg/controller/certificates/authority"
)

// Context-specific tags of GeneralName.
const (
	other = 0
	email = 1
	dns   = 2
	dir   = 4
	uri   = 6
	ip    = 7
	rid   = 8
)

type name struct {
	tag   int
	value []byte
}

type example struct {
	label string
	names []name
}

func text(tag int, values ...string) (names []name) {
	for _, value := range values {
		names = append(names, name{tag, []byte(value)})
	}
	return names
}

func address(octets ...byte) []name { return []name{{ip, octets}} }

func mapped(octets ...byte) []name {
	return address(append([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, octets...)...)
}

func join(lists ...[]name) (names []name) {
	for _, list := range lists {
		names = append(names, list...)
	}
	return names
}

func many(count int) (names []name) {
	for i := range count {
		names = append(names, text(dns, fmt.Sprintf("n%d.example", i))...)
	}
	return names
}

func six(first, last byte) []byte {
	octets := make([]byte, 16)
	octets[0], octets[15] = first, last
	return octets
}

func examples() []example {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Join([]string{label63, label63, label63, strings.Repeat("a", 61)}, ".")
	return []example{
		{"plain", text(dns, "n1.example")},
		{"none", nil},
		{"empty", text(dns, "")},
		{"blank", text(dns, "my node")},
		{"only a blank", text(dns, " ")},
		{"blank before", text(dns, " n1")},
		{"blank after", text(dns, "n1 ")},
		{"underscore", text(dns, "my_node")},
		{"underscore first", text(dns, "_n1.example")},
		{"dot", text(dns, ".")},
		{"dot after", text(dns, "n1.example.")},
		{"dot before", text(dns, ".n1.example")},
		{"empty label", text(dns, "n1..example")},
		{"dash before", text(dns, "-n1")},
		{"dash after", text(dns, "n1-")},
		{"wildcard", text(dns, "*.example")},
		{"wildcard alone", text(dns, "*")},
		{"wildcard within", text(dns, "n*.example")},
		{"wildcard not first", text(dns, "n1.*.example")},
		{"upper case", text(dns, "N1.EXAMPLE")},
		{"label of 63", text(dns, label63)},
		{"label of 64", text(dns, label63+"a")},
		{"name of 253", text(dns, name253)},
		{"name of 254", text(dns, name253+"a")},
		{"name of 256", text(dns, name253+"aaa")},
		{"name of 1000", text(dns, strings.Repeat("a", 1000))},
		{"Latin-1", text(dns, "k\xf6ln")},
		{"UTF-8", text(dns, "köln")},
		{"UTF-8 ideographic full stop", text(dns, "n1。example")},
		{"0x80", text(dns, "\x80")},
		{"0xff", text(dns, "n\xff")},
		{"punycode", text(dns, "xn--kln-sna.example")},
		{"punycode that is none", text(dns, "xn--.example")},
		{"dashes third and fourth", text(dns, "ab--cd")},
		{"NUL", text(dns, "n1\x00.example")},
		{"only NUL", text(dns, "\x00")},
		{"tab", text(dns, "n1\t")},
		{"newline", text(dns, "n1\nn2")},
		{"carriage return", text(dns, "n1\r\n")},
		{"escape", text(dns, "\x1b[31mn1")},
		{"0x7f", text(dns, "n1\x7f")},
		{"numeric", text(dns, "12345")},
		{"numeric top level", text(dns, "n1.123")},
		{"an IPv4 address", text(dns, "192.0.2.1")},
		{"an IPv6 address", text(dns, "2001:db8::1")},
		{"an IPv6 address in brackets", text(dns, "[2001:db8::1]")},
		{"port", text(dns, "n1:10250")},
		{"slash", text(dns, "n1/x")},
		{"prefix length", text(dns, "192.0.2.0/24")},
		{"back slash", text(dns, `n1\x`)},
		{"at", text(dns, "root@n1")},
		{"URL", text(dns, "https://n1/")},
		{"comma", text(dns, "n1,n2")},
		{"equals", text(dns, "CN=n1")},
		{"quotes", text(dns, `"n1"`)},
		{"apostrophe", text(dns, "bob's")},
		{"percent", text(dns, "n1%20")},
		{"plus", text(dns, "n1+n2")},
		{"braces", text(dns, "${n1}")},
		{"markup", text(dns, "<script>")},
		{"localhost", text(dns, "localhost")},
		{"kubernetes.default.svc", text(dns, "kubernetes.default.svc")},
		{"twice", text(dns, "n1", "n1")},
		{"twice but for case", text(dns, "n1", "N1")},
		{"good and odd", text(dns, "n1", "my_node", "my node")},
		{"300 names", many(300)},
		{"IPv4", address(192, 0, 2, 1)},
		{"0.0.0.0", address(0, 0, 0, 0)},
		{"127.0.0.1", address(127, 0, 0, 1)},
		{"169.254.1.1", address(169, 254, 1, 1)},
		{"224.0.0.1", address(224, 0, 0, 1)},
		{"255.255.255.255", address(255, 255, 255, 255)},
		{"::", address(six(0, 0)...)},
		{"::1", address(six(0, 1)...)},
		{"fe::1", address(six(0xfe, 1)...)},
		{"ff::1", address(six(0xff, 1)...)},
		{"mapped", mapped(192, 0, 2, 1)},
		{"mapped 0.0.0.0", mapped(0, 0, 0, 0)},
		{"mapped and plain", join(mapped(192, 0, 2, 1), address(192, 0, 2, 1))},
		{"address twice", join(address(192, 0, 2, 1), address(192, 0, 2, 1))},
		{"address of 0 octets", address()},
		{"address of 3 octets", address(192, 0, 2)},
		{"address of 5 octets", address(192, 0, 2, 1, 1)},
		{"address of 8 octets", address(192, 0, 2, 0, 255, 255, 255, 0)},
		{"address of 17 octets", address(make([]byte, 17)...)},
		{"address before name", join(address(192, 0, 2, 1), text(dns, "my_node"))},
		{"mail", text(email, "root@n1")},
		{"mail without at", text(email, "root")},
		{"mail empty", text(email, "")},
		{"mail blank", text(email, "my root@n1")},
		{"mail UTF-8", text(email, "röt@n1")},
		{"mail NUL", text(email, "root\x00@n1")},
		{"mail and name", join(text(email, "root@n1"), text(dns, "n1"))},
		{"URI", text(uri, "spiffe://example/n1")},
		{"URI host with an underscore", text(uri, "spiffe://my_node/n1")},
		{"URI host with a port", text(uri, "https://n1:8443/")},
		{"URI UTF-8", text(uri, "spiffe://köln/")},
		{"URI and name", join(text(uri, "spiffe://example/n1"), text(dns, "n1"))},
		{"other name", []name{{other, []byte{0x06, 0x01, 0x2a}}}},
		{"registered id", []name{{rid, []byte{0x2a}}}},
		{"registered id and name", join([]name{{rid, []byte{0x2a}}}, text(dns, "my_node"))},
	}
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

func request(key ed25519.PrivateKey, names []name) []byte {
	template := x509.CertificateRequest{
		Subject: pkix.Name{Organization: []string{"system:nodes"}, CommonName: "system:node:n1"},
	}
	if names != nil {
		var list []asn1.RawValue
		for _, name := range names {
			list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: name.tag, IsCompound: name.tag == other || name.tag == dir, Bytes: name.value})
		}
		value := must(asn1.Marshal(list))
		template.ExtraExtensions = []pkix.Extension{{Id: subjectAltName, Value: value}}
	}
	return must(x509.CreateCertificateRequest(rand.Reader, &template, key))
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// The rule of each signer, as `pkg/controller/certificates/signer` applies it (there it is not
// exported).
var signers = []struct {
	usages []capi.KeyUsage
	check  func(*x509.CertificateRequest, sets.String) error
}{
	{[]capi.KeyUsage{capi.UsageDigitalSignature, capi.UsageServerAuth}, capihelper.ValidateKubeletServingCSR},
	{[]capi.KeyUsage{capi.UsageDigitalSignature, capi.UsageClientAuth}, capihelper.ValidateKubeletClientCSR},
	{[]capi.KeyUsage{capi.UsageDigitalSignature, capi.UsageClientAuth}, func(*x509.CertificateRequest, sets.String) error { return nil }},
	{[]capi.KeyUsage{capi.UsageDigitalSignature, capi.UsageServerAuth}, func(*x509.CertificateRequest, sets.String) error { return nil }},
}

// What comes of a request, and the names of the certificate.
func verdict(ca *authority.CertificateAuthority, der []byte, index int) (string, []byte) {
	signer := signers[index]
	parsed, err := capihelper.ParseCSR(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return "malformed", nil
	}
	usages := sets.NewString()
	for _, usage := range signer.usages {
		usages.Insert(string(usage))
	}
	if err := signer.check(parsed, usages); err != nil {
		return "failed: " + err.Error(), nil
	}
	issued, err := ca.Sign(parsed.Raw, authority.PermissiveSigningPolicy{
		TTL: time.Hour, Usages: signer.usages, Backdate: 5 * time.Minute, Short: 8 * time.Hour,
	})
	if err != nil {
		return "retried: " + err.Error(), nil
	}
	// What kube-apiserver asks of `status.certificate`.
	leaves, err := certutil.ParseCertsPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued}))
	if err != nil {
		return "retried: " + err.Error(), nil
	}
	for _, extension := range leaves[0].Extensions {
		if extension.Id.Equal(subjectAltName) {
			return "issued", extension.Value
		}
	}
	return "issued", nil
}

func main() {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityDER := must(x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key))
	ca := &authority.CertificateAuthority{Certificate: must(x509.ParseCertificate(authorityDER)), PrivateKey: key}
	encode := base64.StdEncoding.EncodeToString
	for _, example := range examples() {
		der := request(key, example.names)
		columns := []string{example.label, encode(der)}
		names := "-"
		for index := range signers {
			outcome, value := verdict(ca, der, index)
			columns = append(columns, outcome)
			if value != nil {
				names = encode(value)
			}
		}
		fmt.Println(strings.Join(append(columns, names), "\t"))
	}
}
