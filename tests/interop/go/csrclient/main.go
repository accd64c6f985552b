// Csrclient drives the certificate API of a server through client-go, as a controller or an
// operator's own tool would.
//
// It prints a line of JSON per step and judges no server: the interop suite does, step by step. The
// exit code is 0 unless the program could not run at all. Everything it creates carries a label of
// the run and is deleted at the end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// media are the content types that the whole script is played in: what client-go sends when nobody
// chooses (protobuf, glad of JSON in answers), then each alone, so that no server passes by
// answering JSON to who asked for protobuf.
var media = []struct{ name, contentType string }{
	{"default", ""},
	{"json", "application/json"},
	{"protobuf", "application/vnd.kubernetes.protobuf"},
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of a user who may do everything")
	signer := flag.String("signer", "kubernetes.io/kube-apiserver-client",
		"signer of the request that is waited for; empty: nobody signs, the steps that wait are left out")
	timeout := flag.Duration("timeout", 30*time.Second, "how long a step may take")
	only := flag.String("media", "", "play in this media type only: default, json or protobuf")
	verbose := flag.Bool("verbose", false, "show client-go's own log on stderr")
	showVersion := flag.Bool("version", false, "print the version of Kubernetes whose client-go this is")
	flag.Parse()
	if *showVersion {
		fmt.Println(version.Get().GitVersion)
		return
	}
	if !*verbose {
		klog.SetLogger(klog.Logger{})
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil || *kubeconfig == "" {
		fmt.Fprintf(os.Stderr, "csrclient: --kubeconfig %q: %v\n", *kubeconfig, err)
		os.Exit(1)
	}
	if err := reach(config, *timeout); err != nil {
		fmt.Fprintf(os.Stderr, "csrclient: %s does not answer: %v\n", config.Host, err)
		os.Exit(1)
	}
	for _, medium := range media {
		if *only != "" && *only != medium.name {
			continue
		}
		if err := play(config, medium.name, medium.contentType, *signer, *timeout); err != nil {
			fmt.Fprintf(os.Stderr, "csrclient: %v\n", err)
			os.Exit(1)
		}
	}
}

// script is one play of all steps in one media type.
type script struct {
	// base is as the kubeconfig says: for what is served in JSON only.
	base    *rest.Config
	config  *rest.Config
	client  kubernetes.Interface
	medium  string
	run     string
	signer  string
	timeout time.Duration
}

func play(base *rest.Config, medium, contentType, signer string, timeout time.Duration) error {
	config := rest.CopyConfig(base)
	config.ContentType = contentType
	config.AcceptContentTypes = contentType
	// The steps follow each other; the default pace of 5 requests a second would only make them slow.
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("no client from the kubeconfig: %w", err)
	}
	run := fmt.Sprintf("csrclient-%s-%s", medium, randomName())
	s := &script{
		base: base, config: config, client: client,
		medium: medium, run: run, signer: signer, timeout: timeout,
	}
	s.discover()
	s.issue()
	s.read()
	s.watch()
	s.write()
	s.remove()
	return nil
}

// reach is an error if nothing answers at all; what it answers is for the steps to judge.
func reach(base *rest.Config, timeout time.Duration) error {
	config := rest.CopyConfig(base)
	config.Timeout = timeout
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.Discovery().RESTClient().Get().AbsPath("/version").DoRaw(context.Background())
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return nil
	}
	return err
}

// step runs one step and prints its outcome.
func (s *script) step(name string, do func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	started := time.Now()
	err := guarded(ctx, do)
	outcome := struct {
		Step         string `json:"step"`
		OK           bool   `json:"ok"`
		Error        string `json:"error,omitempty"`
		Milliseconds int64  `json:"milliseconds"`
	}{Step: s.medium + "/" + name, OK: err == nil, Milliseconds: time.Since(started).Milliseconds()}
	if err != nil {
		outcome.Error = strings.TrimSpace(err.Error())
	}
	line, err := json.Marshal(outcome)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// guarded turns a panic in client-go (an answer without what it takes for granted) into the step's
// error.
func guarded(ctx context.Context, do func(ctx context.Context) error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return do(ctx)
}

// expect is an error unless the condition holds.
func expect(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// refused is nil if the error is the refusal that was expected.
func refused(err error, is func(error) bool, name string) error {
	switch {
	case err == nil:
		return errors.New("accepted; expected " + name)
	case is(err):
		return nil
	default:
		return fmt.Errorf("expected %s: %w", name, err)
	}
}
