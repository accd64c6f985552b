package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
)

const (
	// runLabel marks what a run created.
	runLabel = "csrclient.everleaf.dev/run"
	// ownSigner is a signer that only this program signs for.
	ownSigner = "csrclient.everleaf.dev/self"
)

var clientUsages = []certificatesv1.KeyUsage{
	certificatesv1.UsageDigitalSignature,
	certificatesv1.UsageClientAuth,
}

func (s *script) requests() certificatesclient.CertificateSigningRequestInterface {
	return s.client.CertificatesV1().CertificateSigningRequests()
}

// mine selects what this run created.
func (s *script) mine() string {
	return runLabel + "=" + s.run
}

// create files a request to our own signer, named after the run and the purpose.
func (s *script) create(ctx context.Context, purpose string) (*certificatesv1.CertificateSigningRequest, error) {
	return s.requests().Create(ctx, s.request(purpose), metav1.CreateOptions{})
}

func (s *script) request(purpose string) *certificatesv1.CertificateSigningRequest {
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{
			Name:   s.run + "-" + purpose,
			Labels: map[string]string{runLabel: s.run, "purpose": purpose},
		},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pemRequest(newKey(), purpose),
			SignerName: ownSigner,
			Usages:     clientUsages,
		},
	}
}

func condition(kind certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
	return certificatesv1.CertificateSigningRequestCondition{
		Type:    kind,
		Status:  corev1.ConditionTrue,
		Reason:  "Csrclient",
		Message: "decided by csrclient",
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func pemRequest(key crypto.Signer, commonName string) []byte {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// selfSigned is a certificate as our own signer issues it.
func selfSigned(commonName string) []byte {
	key, now := newKey(), time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func randomName() string {
	bytes := make([]byte, 4)
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	return hex.EncodeToString(bytes)
}
