package main

import (
	"bufio"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Limits of one connection.
const (
	connectionSeconds = 20
	answerBytesMax    = 1 << 20
	// A server that refuses may close before its alert is read; then the connection is tried again.
	triesMax = 5
)

const review = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`

// verdict is what a server made of a certificate: somebody, or a refusal.
type verdict struct {
	User   string   `json:"user,omitempty"`
	UID    string   `json:"uid,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Extra is written when it is empty, too: the recording leaves out what is usual, not what is
	// missing.
	Extra   map[string][]string `json:"extra"`
	Refused string              `json:"refused,omitempty"`
	// Detail is for people: the alert of a refused handshake.
	Detail string `json:"detail,omitempty"`
}

// shower is how one server is reached.
type shower struct {
	address, host string
	roots         *x509.CertPool
}

// show presents the cases of a bundle and prints the verdicts.
func show(server, ca, file, bundle string) error {
	var read document
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	where, err := url.Parse(server)
	if err != nil {
		return err
	}
	s := shower{where.Host, where.Hostname(), x509.NewCertPool()}
	authority, err := os.ReadFile(ca)
	if err != nil || !s.roots.AppendCertsFromPEM(authority) {
		return fmt.Errorf("%s: no certificates: %v", ca, err)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for _, e := range read.Cases {
		if e.Bundle != bundle {
			continue
		}
		v, err := s.judge(e)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if err := out.Encode(map[string]any{"name": e.Name, "verdict": v}); err != nil {
			return err
		}
	}
	return nil
}

// judge asks until there is an answer or an alert. A connection that is reset again and again is a
// refusal, too.
func (s shower) judge(e *entry) (v verdict, err error) {
	for range triesMax {
		v, err = s.ask(e)
		var reset bool
		for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
			reset = reset || errors.Is(err, gone)
		}
		if !reset {
			return v, err
		}
	}
	return verdict{Refused: "handshake", Detail: err.Error()}, nil
}

// ask opens a connection with a certificate and asks who that is.
func (s shower) ask(e *entry) (verdict, error) {
	config, err := s.config(e)
	if err != nil {
		return verdict{}, err
	}
	dialer := net.Dialer{Timeout: connectionSeconds * time.Second}
	plain, err := dialer.Dial("tcp", s.address)
	if err != nil {
		return verdict{}, err
	}
	defer plain.Close()
	if err := plain.SetDeadline(time.Now().Add(connectionSeconds * time.Second)); err != nil {
		return verdict{}, err
	}
	connection := tls.Client(plain, config)
	if err := connection.Handshake(); err != nil {
		return refusal(err)
	}
	request, err := http.NewRequest("POST", "https://"+s.address+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(review))
	if err != nil {
		return verdict{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	// What the server has against the certificate is read even where it would not read the request any
	// more.
	written := request.Write(connection)
	response, err := http.ReadResponse(bufio.NewReader(connection), request)
	if err != nil {
		return refusal(errors.Join(err, written))
	}
	defer response.Body.Close()
	return read(response, e)
}

// config presents exactly the bytes of the case: nothing is parsed, nothing is chosen by what the
// server asks for.
func (s shower) config(e *entry) (*tls.Config, error) {
	certificate := &tls.Certificate{Certificate: e.Chain}
	if len(e.Key) > 0 {
		private, err := x509.ParsePKCS8PrivateKey(e.Key)
		if err != nil {
			return nil, err
		}
		certificate.PrivateKey = private.(crypto.PrivateKey)
	}
	config := &tls.Config{
		RootCAs:    s.roots,
		ServerName: s.host,
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		},
	}
	if e.TLS12 {
		config.MinVersion, config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	}
	return config, nil
}

// refusal is an alert of the other side; any other error stays one.
func refusal(err error) (verdict, error) {
	var failed *net.OpError
	if errors.As(err, &failed) && failed.Op == "remote error" {
		return verdict{Refused: "handshake", Detail: failed.Err.Error()}, nil
	}
	return verdict{}, err
}

// read is the verdict of an answer. Who may not ask is an error, not a verdict: the server is set
// up wrongly.
func read(response *http.Response, e *entry) (verdict, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, answerBytesMax))
	if err != nil {
		return verdict{}, err
	}
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return verdict{Refused: "401"}, nil
	case http.StatusCreated:
	default:
		return verdict{}, fmt.Errorf("%s: %s", response.Status, body)
	}
	var answer struct {
		Status struct {
			UserInfo struct {
				Username string              `json:"username"`
				UID      string              `json:"uid"`
				Groups   []string            `json:"groups"`
				Extra    map[string][]string `json:"extra"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return verdict{}, err
	}
	who := answer.Status.UserInfo
	for key, values := range who.Extra {
		for i := range values {
			values[i] = withoutFingerprint(values[i], e)
		}
		who.Extra[key] = values
	}
	return verdict{User: who.Username, UID: who.UID, Groups: who.Groups, Extra: who.Extra}, nil
}

// withoutFingerprint writes LEAF for the certificate's own fingerprint: that alone differs from one
// make to the next.
func withoutFingerprint(value string, e *entry) string {
	if len(e.Chain) == 0 {
		return value
	}
	sum := sha256.Sum256(e.Chain[0])
	return strings.ReplaceAll(value, hex.EncodeToString(sum[:]), "LEAF")
}
