#!/usr/bin/env bash
# k8s.io/apiserver v0.37.2 (Kubernetes 1.37): DELETE takes its options from the body or from the
# query, never from both. Any body, even an empty object, switches the whole query off:
# `?dryRun=All` with a body that says something else (a propagation policy, a precondition) is no
# dry run, the object is deleted, and nothing warns. POST, PUT and PATCH know these options in the
# query alone, and the OpenAPI document offers both places for DELETE; so do clients made from it,
# side by side.
# Seen, for ?dryRun=All&propagationPolicy=Background:
#   no body: dryRun [All], propagationPolicy Background
#   {}: dryRun [], propagationPolicy none
#   {"propagationPolicy":"Orphan"}: dryRun [], propagationPolicy Orphan
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Tells which options of a deletion reach the storage.
type storage struct{}

func (storage) Delete(_ context.Context, _ string, _ rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	policy := "none"
	if options.PropagationPolicy != nil {
		policy = string(*options.PropagationPolicy)
	}
	fmt.Printf("dryRun %v, propagationPolicy %s\n", options.DryRun, policy)
	return &metav1.Status{Status: "Success"}, true, nil
}

func main() {
	v1 := schema.GroupVersion{Version: "v1"}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{})
	handler := handlers.DeleteResource(storage{}, true, &handlers.RequestScope{
		Namer:            handlers.ContextBasedNaming{ClusterScoped: true},
		Serializer:       serializer.NewCodecFactory(scheme),
		ParameterCodec:   runtime.NewParameterCodec(scheme),
		Kind:             v1.WithKind("Status"),
		Resource:         v1.WithResource("things"),
		MetaGroupVersion: v1,
		HubGroupVersion:  v1,
	}, nil)
	for _, body := range []string{"", "{}", `{"propagationPolicy":"Orphan"}`} {
		r := httptest.NewRequest(http.MethodDelete, "/api/v1/things/one?dryRun=All&propagationPolicy=Background", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		info := &request.RequestInfo{IsResourceRequest: true, Verb: "delete", APIVersion: "v1", Resource: "things", Name: "one"}
		fmt.Printf("%s: ", map[bool]string{true: "no body", false: body}[body == ""])
		answer := httptest.NewRecorder()
		handler(answer, r.WithContext(request.WithRequestInfo(r.Context(), info)))
		if answer.Code != http.StatusOK {
			fmt.Println(answer.Code, answer.Body)
		}
	}
}
GO
go mod init example.com/delete 2>/dev/null
go get k8s.io/apiserver@v0.37.2 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
seen=$(go run .)
printf '%s\n' "$seen"
diff <(printf '%s\n' "$seen") - <<'EXPECTED'
no body: dryRun [All], propagationPolicy Background
{}: dryRun [], propagationPolicy none
{"propagationPolicy":"Orphan"}: dryRun [], propagationPolicy Orphan
EXPECTED
