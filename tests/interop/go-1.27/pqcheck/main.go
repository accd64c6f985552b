// Command pqcheck is Go 1.27 as the other side of post-quantum certificates: crypto/x509 makes and
// judges keys, requests and chains, crypto/tls calls and serves with them.
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/mldsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

const usage = `usage: pqcheck --version
       pqcheck new ML-DSA-44|ML-DSA-65|ML-DSA-87 NODE DIRECTORY
           makes NODE.key and NODE.csr, as a kubelet of that name would ask
       pqcheck request FILE
           reads a request and verifies its signature
       pqcheck post URL CA-FILE TOKEN NAME REQUEST-FILE
           files a request of a node with a bearer token, waits, prints the certificate
       pqcheck verify CA-FILE client|server CHAIN-FILE [HOST]
       pqcheck call URL CA-FILE CREDENTIAL-FILE [BODY]
           asks with a client certificate, which stands with its key in one file
       pqcheck serve ADDRESS CA-FILE CREDENTIAL-FILE
           answers whoever has a client certificate of that CA, and says who it was`

// waitMax is how long an approval and a signature may take.
const waitMax = 20 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch rest := args[1:]; {
	case args[0] == "--version" && len(rest) == 0:
		fmt.Println(runtime.Version())
		return nil
	case args[0] == "new" && len(rest) == 3:
		return makeRequest(rest[0], rest[1], rest[2])
	case args[0] == "request" && len(rest) == 1:
		return readRequest(rest[0])
	case args[0] == "post" && len(rest) == 5:
		return post(rest[0], rest[1], rest[2], rest[3], rest[4])
	case args[0] == "verify" && len(rest) >= 3:
		return verify(rest[0], rest[1], rest[2], rest[3:])
	case args[0] == "call" && (len(rest) == 3 || len(rest) == 4):
		return call(rest[0], rest[1], rest[2], rest[3:])
	case args[0] == "serve" && len(rest) == 3:
		return serve(rest[0], rest[1], rest[2])
	}
	return errors.New(usage)
}

// kind names a public key as Everleaf's commands do.
func kind(key any) string {
	switch key := key.(type) {
	case *mldsa.PublicKey:
		return key.Parameters().String()
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	}
	return fmt.Sprintf("%T", key)
}

func makeRequest(set, node, directory string) error {
	sets := map[string]mldsa.Parameters{
		"ML-DSA-44": mldsa.MLDSA44(), "ML-DSA-65": mldsa.MLDSA65(), "ML-DSA-87": mldsa.MLDSA87(),
	}
	parameters, ok := sets[set]
	if !ok {
		return errors.New(usage)
	}
	key, err := mldsa.GenerateKey(parameters)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{
		Organization: []string{"system:nodes"}, CommonName: "system:node:" + node,
	}}
	request, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		node + ".key": {Type: "PRIVATE KEY", Bytes: private},
		node + ".csr": {Type: "CERTIFICATE REQUEST", Bytes: request},
	} {
		if err := os.WriteFile(directory+"/"+name, pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readRequest(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return fmt.Errorf("%s holds no request", file)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return err
	}
	fmt.Printf("%s, a key of %s, signed by %s\n", request.Subject, kind(request.PublicKey), request.SignatureAlgorithm)
	return nil
}

type signingRequest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       spec              `json:"spec"`
}

type spec struct {
	Request    []byte   `json:"request"`
	SignerName string   `json:"signerName"`
	Usages     []string `json:"usages"`
}

type answered struct {
	Status struct {
		Certificate []byte           `json:"certificate"`
		Conditions  []map[string]any `json:"conditions"`
	} `json:"status"`
}

func post(server, authority, token, name, file string) error {
	request, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	body, err := json.Marshal(signingRequest{
		APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest",
		Metadata: map[string]string{"name": name},
		Spec: spec{
			Request: request, SignerName: "kubernetes.io/kube-apiserver-client-kubelet",
			Usages: []string{"digital signature", "client auth"},
		},
	})
	if err != nil {
		return err
	}
	roots, err := pool(authority)
	if err != nil {
		return err
	}
	client := client(&tls.Config{RootCAs: roots})
	path := server + "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	if _, err := ask(client, http.MethodPost, path, token, body); err != nil {
		return err
	}
	for started := time.Now(); time.Since(started) < waitMax; time.Sleep(50 * time.Millisecond) {
		text, err := ask(client, http.MethodGet, path+"/"+name, token, nil)
		if err != nil {
			return err
		}
		var object answered
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		if len(object.Status.Certificate) > 0 {
			_, err := os.Stdout.Write(object.Status.Certificate)
			return err
		}
		for _, condition := range object.Status.Conditions {
			if condition["type"] != "Approved" {
				return fmt.Errorf("%v: %v", condition["type"], condition["message"])
			}
		}
	}
	return fmt.Errorf("no certificate for %s after %s", name, waitMax)
}

func verify(roots, purpose, chain string, hosts []string) error {
	authorities, err := pool(roots)
	if err != nil {
		return err
	}
	purposes := map[string]x509.ExtKeyUsage{"client": x509.ExtKeyUsageClientAuth, "server": x509.ExtKeyUsageServerAuth}
	options := x509.VerifyOptions{
		Roots: authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{purposes[purpose]},
	}
	text, err := os.ReadFile(chain)
	if err != nil {
		return err
	}
	var leaf *x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		if leaf == nil {
			leaf = certificate
		} else {
			options.Intermediates.AddCert(certificate)
		}
	}
	if leaf == nil {
		return fmt.Errorf("%s holds no certificate", chain)
	}
	for _, host := range hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			return err
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return err
	}
	fmt.Printf("%s, a key of %s, signed by %s\n", leaf.Subject, kind(leaf.PublicKey), leaf.SignatureAlgorithm)
	return nil
}

func call(url, authority, credential string, bodies []string) error {
	roots, err := pool(authority)
	if err != nil {
		return err
	}
	own, err := tls.LoadX509KeyPair(credential, credential)
	if err != nil {
		return err
	}
	method, body := http.MethodGet, []byte(nil)
	if len(bodies) > 0 {
		method, body = http.MethodPost, []byte(bodies[0])
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}
	text, err := ask(client(config), method, url, "", body)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(text, '\n'))
	return err
}

func serve(address, authority, credential string) error {
	roots, err := pool(authority)
	if err != nil {
		return err
	}
	own, err := tls.LoadX509KeyPair(credential, credential)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{own}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	answer := func(writer http.ResponseWriter, request *http.Request) {
		peer := request.TLS.PeerCertificates[0]
		fmt.Printf("%s, a key of %s, %s\n", peer.Subject, kind(peer.PublicKey), session(request.TLS))
		writer.WriteHeader(http.StatusServiceUnavailable)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: waitMax}
	return server.Serve(tls.NewListener(listener, config))
}

// ask returns the body of a good answer, and says on standard error over which session it came.
func ask(client *http.Client, method, url, token string, body []byte) ([]byte, error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, text)
	}
	fmt.Fprintf(os.Stderr, "server with a key of %s, %s\n", kind(answer.TLS.PeerCertificates[0].PublicKey), session(answer.TLS))
	return text, nil
}

func client(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: waitMax}
}

func session(state *tls.ConnectionState) string {
	return fmt.Sprintf("%s, %s", tls.VersionName(state.Version), state.CurveID)
}

func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return roots, nil
}
