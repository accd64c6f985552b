package main

import (
	"context"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
)

// pageObjects are listed in pages of pageLimit.
const (
	pageObjects = 5
	pageLimit   = 2
)

// read gets and lists.
func (s *script) read() {
	s.step("create-for-pages", func(ctx context.Context) error {
		for index := range pageObjects {
			if _, err := s.create(ctx, fmt.Sprintf("page-%d", index)); err != nil {
				return err
			}
		}
		return nil
	})
	s.step("get", func(ctx context.Context) error {
		request, err := s.requests().Get(ctx, s.run+"-page-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		complete := request.UID != "" && request.ResourceVersion != "" && !request.CreationTimestamp.IsZero() &&
			request.Spec.Username != "" && len(request.Spec.Groups) > 0 && request.Spec.SignerName == ownSigner
		return expect(complete, "the server set too little: %v", request)
	})
	s.step("get-missing", func(ctx context.Context) error {
		_, err := s.requests().Get(ctx, s.run+"-nobody", metav1.GetOptions{})
		return refused(err, errors.IsNotFound, "NotFound")
	})
	s.step("list-pages", s.listPages)
	s.step("list-label-selector", func(ctx context.Context) error {
		return s.listed(ctx, metav1.ListOptions{LabelSelector: s.mine() + ",purpose in (page-1,page-3)"}, 2)
	})
	s.step("list-field-selector", func(ctx context.Context) error {
		selector := "metadata.name=" + s.run + "-page-2,spec.signerName=" + ownSigner
		return s.listed(ctx, metav1.ListOptions{FieldSelector: selector}, 1)
	})
	s.step("list-resource-version-0", func(ctx context.Context) error {
		// Answered from the server's cache, which may lag: only that it is answered counts.
		_, err := s.requests().List(ctx, metav1.ListOptions{LabelSelector: s.mine(), ResourceVersion: "0"})
		return err
	})
	s.step("list-exact-version", func(ctx context.Context) error {
		now, err := s.requests().List(ctx, metav1.ListOptions{LabelSelector: s.mine(), Limit: 1})
		if err != nil {
			return err
		}
		options := metav1.ListOptions{
			LabelSelector:        s.mine() + ",purpose!=denied",
			ResourceVersion:      now.ResourceVersion,
			ResourceVersionMatch: metav1.ResourceVersionMatchExact,
		}
		return s.listed(ctx, options, pageObjects)
	})
	s.step("list-metadata", s.listMetadata)
	s.step("list-dynamic", s.listDynamic)
}

func (s *script) listed(ctx context.Context, options metav1.ListOptions, count int) error {
	list, err := s.requests().List(ctx, options)
	if err != nil {
		return err
	}
	return expect(len(list.Items) == count, "%d items, expected %d", len(list.Items), count)
}

// listPages follows continue tokens to the end.
func (s *script) listPages(ctx context.Context) error {
	options := metav1.ListOptions{LabelSelector: s.mine() + ",purpose!=denied", Limit: pageLimit}
	names, version := map[string]bool{}, ""
	for page := 1; ; page++ {
		list, err := s.requests().List(ctx, options)
		if err != nil {
			return fmt.Errorf("page %d: %w", page, err)
		}
		if len(list.Items) > pageLimit || page > pageObjects {
			return fmt.Errorf("page %d has %d items", page, len(list.Items))
		}
		if version == "" {
			version = list.ResourceVersion
		}
		if list.ResourceVersion != version {
			return fmt.Errorf("page %d is of version %s, the first of %s", page, list.ResourceVersion, version)
		}
		for _, item := range list.Items {
			names[item.Name] = true
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	return expect(len(names) == pageObjects, "%d objects in all pages, expected %d", len(names), pageObjects)
}

// listMetadata asks for metadata alone, as the garbage collector does.
func (s *script) listMetadata(ctx context.Context) error {
	client, err := metadata.NewForConfig(s.config)
	if err != nil {
		return err
	}
	resource := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	list, err := client.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: s.mine() + ",purpose!=denied"})
	if err != nil {
		return err
	}
	return expect(len(list.Items) == pageObjects && list.Items[0].UID != "", "%d items", len(list.Items))
}

// listDynamic reads without types, in JSON whatever the script's media type: the client has no
// other.
func (s *script) listDynamic(ctx context.Context) error {
	client, err := dynamic.NewForConfig(s.base)
	if err != nil {
		return err
	}
	resource := certificatesv1.SchemeGroupVersion.WithResource("certificatesigningrequests")
	list, err := client.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: s.mine() + ",purpose!=denied"})
	if err != nil {
		return err
	}
	return expect(len(list.Items) == pageObjects && list.Items[0].GetKind() == "CertificateSigningRequest",
		"%d items", len(list.Items))
}
