package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// watch follows changes: plainly, with the state streamed first, and through an informer.
func (s *script) watch() {
	s.step("watch", s.watchChanges)
	s.step("watch-list", s.watchList)
	s.step("informer", s.informer)
}

// watchChanges sees an object come, change and go, in this order.
func (s *script) watchChanges(ctx context.Context) error {
	list, err := s.requests().List(ctx, metav1.ListOptions{LabelSelector: s.mine()})
	if err != nil {
		return err
	}
	selector := s.mine() + ",purpose=watched"
	options := metav1.ListOptions{LabelSelector: selector, ResourceVersion: list.ResourceVersion}
	stream, err := s.requests().Watch(ctx, options)
	if err != nil {
		return err
	}
	defer stream.Stop()
	request, err := s.create(ctx, "watched")
	if err != nil {
		return err
	}
	if err := s.next(ctx, stream, watch.Added, request.Name); err != nil {
		return err
	}
	request.Labels["seen"] = "true"
	if _, err = s.requests().Update(ctx, request, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := s.next(ctx, stream, watch.Modified, request.Name); err != nil {
		return err
	}
	if err := s.requests().Delete(ctx, request.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return s.next(ctx, stream, watch.Deleted, request.Name)
}

// next is nil if the next event is of that kind and about that object.
func (s *script) next(ctx context.Context, stream watch.Interface, kind watch.EventType, name string) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("no %s of %s came", kind, name)
	case event, open := <-stream.ResultChan():
		if !open {
			return fmt.Errorf("the watch ended before %s of %s", kind, name)
		}
		request, ours := event.Object.(*certificatesv1.CertificateSigningRequest)
		fits := ours && event.Type == kind && request.Name == name
		return expect(fits, "expected %s of %s, got %s: %v", kind, name, event.Type, event.Object)
	}
}

// watchList asks for the state as the beginning of the stream; its end is a marked bookmark.
func (s *script) watchList(ctx context.Context) error {
	stream, err := s.requests().Watch(ctx, metav1.ListOptions{
		LabelSelector:        s.mine() + ",purpose!=denied",
		SendInitialEvents:    ptr.To(true),
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		AllowWatchBookmarks:  true,
	})
	if err != nil {
		return err
	}
	defer stream.Stop()
	for added := 0; ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no bookmark came after %d objects", added)
		case event, open := <-stream.ResultChan():
			request, ours := event.Object.(*certificatesv1.CertificateSigningRequest)
			switch {
			case !open:
				return errors.New("the watch ended before its bookmark")
			case ours && event.Type == watch.Added:
				added++
			case ours && event.Type == watch.Bookmark && request.Annotations[metav1.InitialEventsAnnotationKey] == "true":
				return expect(added == pageObjects && request.ResourceVersion != "",
					"%d objects before the bookmark, expected %d", added, pageObjects)
			default:
				return fmt.Errorf("unexpected %s: %v", event.Type, event.Object)
			}
		}
	}
}

// informer fills a cache and sees a later object arrive in it.
func (s *script) informer(ctx context.Context) error {
	narrow := informers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = s.mine() })
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, narrow)
	source := factory.Certificates().V1().CertificateSigningRequests()
	informer := source.Informer()
	ctx, cancel := context.WithCancel(ctx)
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.New("the cache did not fill")
	}
	request, err := s.create(ctx, "informed")
	if err != nil {
		return err
	}
	for {
		if _, err := source.Lister().Get(request.Name); err == nil {
			return s.requests().Delete(ctx, request.Name, metav1.DeleteOptions{})
		}
		select {
		case <-ctx.Done():
			return errors.New("a new object did not reach the cache")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
