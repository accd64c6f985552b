package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/certificate/csr"
)

// discover asks what every client asks first.
func (s *script) discover() {
	s.step("server-version", func(context.Context) error {
		client, err := discovery.NewDiscoveryClientForConfig(s.base)
		if err != nil {
			return err
		}
		answer, err := client.ServerVersion()
		if err != nil {
			return err
		}
		return expect(answer.Major == "1" && answer.Minor != "" && answer.GitVersion != "", "incomplete: %#v", answer)
	})
	s.step("discovery", func(context.Context) error {
		answer, err := s.client.Discovery().ServerResourcesForGroupVersion("certificates.k8s.io/v1")
		if err != nil {
			return err
		}
		found := map[string]bool{}
		for _, resource := range answer.APIResources {
			found[resource.Name] = true
		}
		const plural = "certificatesigningrequests"
		all := found[plural] && found[plural+"/approval"] && found[plural+"/status"]
		return expect(all, "the resource or a subresource is missing: %v", found)
	})
	s.step("preferred-resources", func(context.Context) error {
		_, err := s.client.Discovery().ServerPreferredResources()
		return err
	})
}

// issue walks a request from its creation to its certificate with client-go's certificate
// functions, as a kubelet does.
func (s *script) issue() {
	key := newKey()
	signer := s.signer
	if signer == "" {
		signer = ownSigner
	}
	name := s.run + "-issue"
	var uid types.UID
	file := func(ctx context.Context) (string, types.UID, error) {
		lifetime := time.Hour
		request := pemRequest(key, "csrclient")
		return csr.RequestCertificateWithContext(ctx, s.client, request, name, signer, &lifetime, clientUsages, key)
	}
	s.step("request", func(ctx context.Context) error {
		created, id, err := file(ctx)
		uid = id
		return errors.Join(err, expect(err != nil || created == name && id != "", "named %q, uid %q", created, id))
	})
	s.step("request-again", func(ctx context.Context) error {
		_, id, err := file(ctx)
		return errors.Join(err, expect(err != nil || id == uid, "uid %q became %q", uid, id))
	})
	s.step("request-generated-name", func(ctx context.Context) error {
		request := pemRequest(key, "csrclient")
		created, _, err := csr.RequestCertificateWithContext(ctx, s.client, request, "", ownSigner, nil, clientUsages, key)
		if err != nil {
			return err
		}
		return s.requests().Delete(ctx, created, metav1.DeleteOptions{})
	})
	s.step("approve", func(ctx context.Context) error {
		return s.decide(ctx, name, certificatesv1.CertificateApproved)
	})
	if s.signer != "" {
		s.step("wait", func(ctx context.Context) error {
			chain, err := csr.WaitForCertificate(ctx, s.client, name, uid)
			if err != nil {
				return err
			}
			return certifies(chain, key)
		})
	}
	s.step("wait-denied", func(ctx context.Context) error {
		denied, err := s.create(ctx, "denied")
		if err != nil {
			return err
		}
		if err := s.decide(ctx, denied.Name, certificatesv1.CertificateDenied); err != nil {
			return err
		}
		_, err = csr.WaitForCertificate(ctx, s.client, denied.Name, denied.UID)
		isDenial := func(err error) bool { return strings.Contains(err.Error(), "denied") }
		return refused(err, isDenial, "a denial")
	})
	s.step("remove-issued", func(ctx context.Context) error {
		return s.requests().Delete(ctx, name, metav1.DeleteOptions{})
	})
}

// decide approves or denies as `kubectl certificate` does.
func (s *script) decide(ctx context.Context, name string, kind certificatesv1.RequestConditionType) error {
	request, err := s.requests().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	request.Status.Conditions = append(request.Status.Conditions, condition(kind))
	request, err = s.requests().UpdateApproval(ctx, name, request, metav1.UpdateOptions{})
	if err != nil {
		return err
	}
	for _, present := range request.Status.Conditions {
		if present.Type == kind {
			return expect(!present.LastUpdateTime.IsZero() && !present.LastTransitionTime.IsZero(),
				"the condition has no times: %v", present)
		}
	}
	return fmt.Errorf("the answer has no condition %s: %v", kind, request.Status.Conditions)
}

// certifies is nil if the chain's first certificate is for the key.
func certifies(chain []byte, key *ecdsa.PrivateKey) error {
	block, _ := pem.Decode(chain)
	if block == nil {
		return errors.New("the certificate is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	return expect(key.PublicKey.Equal(certificate.PublicKey), "the certificate is for another key")
}
