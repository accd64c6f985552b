package main

import (
	"bytes"
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	apply "k8s.io/client-go/applyconfigurations/certificates/v1"
	"k8s.io/utils/ptr"
)

// write changes objects in every way that leaves them there.
func (s *script) write() {
	s.step("create-existing", func(ctx context.Context) error {
		_, err := s.create(ctx, "page-0")
		return refused(err, errors.IsAlreadyExists, "AlreadyExists")
	})
	s.step("create-invalid", func(ctx context.Context) error {
		request := s.request("invalid")
		request.Spec.Usages = nil
		_, err := s.requests().Create(ctx, request, metav1.CreateOptions{})
		return refused(err, errors.IsInvalid, "Invalid")
	})
	s.step("create-dry-run", func(ctx context.Context) error {
		options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		if _, err := s.requests().Create(ctx, s.request("dry"), options); err != nil {
			return err
		}
		_, err := s.requests().Get(ctx, s.run+"-dry", metav1.GetOptions{})
		return refused(err, errors.IsNotFound, "NotFound after a dry run")
	})
	s.step("update", func(ctx context.Context) error {
		request, err := s.requests().Get(ctx, s.run+"-page-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		stale := request.DeepCopy()
		request.Labels["updated"] = "true"
		if _, err = s.requests().Update(ctx, request, metav1.UpdateOptions{}); err != nil {
			return err
		}
		_, err = s.requests().Update(ctx, stale, metav1.UpdateOptions{})
		if err == nil {
			// An unchanged object is no write, so a stale version of it may pass; a changed one must not.
			stale.Labels["stale"] = "true"
			_, err = s.requests().Update(ctx, stale, metav1.UpdateOptions{})
		}
		return refused(err, errors.IsConflict, "Conflict for a stale version")
	})
	s.patches()
	s.applies()
	s.step("update-status", s.updateStatus)
}

// patches sends each kind of patch; each sets a label of its own.
func (s *script) patches() {
	name := s.run + "-page-1"
	for _, patch := range []struct {
		step string
		kind types.PatchType
		body string
	}{
		{"patch-json", types.JSONPatchType, `[{"op":"add","path":"/metadata/labels/patch-json","value":"true"}]`},
		{"patch-merge", types.MergePatchType, `{"metadata":{"labels":{"patch-merge":"true"}}}`},
		{"patch-strategic", types.StrategicMergePatchType, `{"metadata":{"labels":{"patch-strategic":"true"}}}`},
	} {
		s.step(patch.step, func(ctx context.Context) error {
			request, err := s.requests().Patch(ctx, name, patch.kind, []byte(patch.body), metav1.PatchOptions{})
			if err != nil {
				return err
			}
			return expect(request.Labels[patch.step] == "true", "the label is missing: %v", request.Labels)
		})
	}
	s.step("patch-approval", func(ctx context.Context) error {
		body := []byte(`{"status":{"conditions":[{"type":"Approved","status":"True","reason":"Patched"}]}}`)
		request, err := s.requests().Patch(ctx, name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "approval")
		if err != nil {
			return err
		}
		return expect(len(request.Status.Conditions) == 1, "conditions: %v", request.Status.Conditions)
	})
}

// applies creates and changes an object by server-side apply; another owner of a field is a
// conflict.
func (s *script) applies() {
	name := s.run + "-applied"
	spec := s.request("applied").Spec
	by := func(owner, value string, force bool) (*certificatesv1.CertificateSigningRequest, error) {
		ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
		defer cancel()
		desired := apply.CertificateSigningRequest(name).
			WithLabels(map[string]string{runLabel: s.run, "owner": value}).
			WithSpec(apply.CertificateSigningRequestSpec().
				WithRequest(spec.Request...).WithSignerName(spec.SignerName).WithUsages(spec.Usages...))
		return s.requests().Apply(ctx, desired, metav1.ApplyOptions{FieldManager: owner, Force: force})
	}
	s.step("apply-create", func(context.Context) error {
		request, err := by("first", "first", false)
		if err != nil {
			return err
		}
		owned := len(request.ManagedFields) == 1 && request.ManagedFields[0].Manager == "first"
		return expect(owned && request.Labels["owner"] == "first", "managedFields: %v", request.ManagedFields)
	})
	s.step("apply-conflict", func(context.Context) error {
		_, err := by("second", "second", false)
		return refused(err, errors.IsConflict, "Conflict")
	})
	s.step("apply-force", func(context.Context) error {
		request, err := by("second", "second", true)
		if err != nil {
			return err
		}
		return expect(request.Labels["owner"] == "second", "labels: %v", request.Labels)
	})
	s.step("apply-status", func(ctx context.Context) error {
		desired := apply.CertificateSigningRequest(name).
			WithStatus(apply.CertificateSigningRequestStatus().
				WithConditions(apply.CertificateSigningRequestCondition().
					WithType("Noted").WithStatus("True").WithReason("Csrclient")))
		options := metav1.ApplyOptions{FieldManager: "status", Force: true}
		request, err := s.requests().ApplyStatus(ctx, desired, options)
		if err != nil {
			return err
		}
		return expect(len(request.Status.Conditions) == 1, "conditions: %v", request.Status.Conditions)
	})
}

// updateStatus signs for our own signer.
func (s *script) updateStatus(ctx context.Context) error {
	name := s.run + "-page-2"
	if err := s.decide(ctx, name, certificatesv1.CertificateApproved); err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	request, err := s.requests().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	request.Status.Certificate = selfSigned("page-2")
	if _, err = s.requests().UpdateStatus(ctx, request, metav1.UpdateOptions{}); err != nil {
		return err
	}
	stored, err := s.requests().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return expect(bytes.Equal(stored.Status.Certificate, request.Status.Certificate), "the certificate was not kept")
}

// remove deletes one by one and by selector; nothing of the run is left.
func (s *script) remove() {
	s.step("delete-other-uid", func(ctx context.Context) error {
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}}
		err := s.requests().Delete(ctx, s.run+"-page-3", options)
		return refused(err, errors.IsConflict, "Conflict")
	})
	s.step("delete", func(ctx context.Context) error {
		name := s.run + "-page-3"
		if err := s.requests().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		_, err := s.requests().Get(ctx, name, metav1.GetOptions{})
		return refused(err, errors.IsNotFound, "NotFound")
	})
	s.step("delete-collection", func(ctx context.Context) error {
		mine := metav1.ListOptions{LabelSelector: s.mine()}
		if err := s.requests().DeleteCollection(ctx, metav1.DeleteOptions{}, mine); err != nil {
			return err
		}
		return s.listed(ctx, mine, 0)
	})
}
