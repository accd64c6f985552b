// Command patches writes what Kubernetes' own strategic merge makes of a few hundred patches, and
// which fields of its types have a patch strategy. The tests of everleaf-api compare with both.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// attempts per patch: where upstream follows the random order of a Go map, they differ, and there
// is nothing to compare.
const attempts = 40

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// outcome is what the merge changed or an error.
type outcome struct {
	// Changed are the top-level members that differ from the object's; null for one that is gone.
	Changed map[string]any `json:"changed,omitempty"`
	Error   string         `json:"error,omitempty"`
	Code    int            `json:"code,omitempty"`
}

// record is one line of the file.
type record struct {
	Object string          `json:"object"`
	Patch  json.RawMessage `json:"patch"`
	outcome
}

// merge does what the API server's patch handler does between reading a patch and decoding its
// result.
func merge(object runtime.Object, patch []byte) (answer outcome) {
	defer func() {
		if r := recover(); r != nil {
			answer = outcome{Error: "panic", Code: 500}
		}
	}()
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	must(err)
	changes := map[string]any{}
	must(kjson.Unmarshal(patch, &changes))
	result, err := strategicpatch.StrategicMergeMapPatch(original, changes, object)
	if err != nil {
		return outcome{Error: err.Error(), Code: code(err)}
	}
	was, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	must(err)
	changed := map[string]any{}
	for name, value := range result {
		if !reflect.DeepEqual(value, was[name]) {
			changed[name] = value
		}
	}
	for name := range was {
		if _, kept := result[name]; !kept {
			changed[name] = nil
		}
	}
	return outcome{Changed: changed}
}

// code as in interpretStrategicMergePatchError of k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
func code(err error) int {
	switch err {
	case mergepatch.ErrBadJSONDoc, mergepatch.ErrBadPatchFormatForPrimitiveList, mergepatch.ErrBadPatchFormatForRetainKeys,
		mergepatch.ErrBadPatchFormatForSetElementOrderList, mergepatch.ErrUnsupportedStrategicMergePatchFormat:
		return 400
	case mergepatch.ErrNoListOfLists, mergepatch.ErrPatchContentNotMatchRetainKeys:
		return 422
	}
	return 500
}

// play merges often enough to see whether the outcome is certain.
func play(object runtime.Object, patch []byte) (outcome, bool) {
	first := merge(object, patch)
	for i := 1; i < attempts; i++ {
		if !reflect.DeepEqual(merge(object, patch), first) {
			return outcome{}, false
		}
	}
	return first, true
}

func encode(value any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	must(encoder.Encode(value))
	return bytes.TrimSpace(out.Bytes())
}

// strategies lists the fields of a type that have a patch strategy, as "path: strategy key".
func strategies(t reflect.Type, path string, seen map[reflect.Type]bool, out *[]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || seen[t] {
		return
	}
	seen[t] = true
	defer delete(seen, t)
	for i := 0; i < t.NumField(); i++ {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		if strategy := field.Tag.Get("patchStrategy"); strategy != "" {
			*out = append(*out, strings.TrimSpace(fmt.Sprintf("%s: %s %s", at, strategy, field.Tag.Get("patchMergeKey"))))
		}
		strategies(field.Type, at, seen, out)
	}
}

func writeStrategies(path string) {
	all := map[string][]string{}
	for kind, object := range kinds() {
		found := []string{}
		strategies(reflect.TypeOf(object), "", map[reflect.Type]bool{}, &found)
		sort.Strings(found)
		all[kind] = found
	}
	text, err := json.MarshalIndent(all, "", " ")
	must(err)
	must(os.WriteFile(path, append(text, '\n'), 0o644))
}

func main() {
	dir := os.Args[1]
	writeStrategies(filepath.Join(dir, "strategies.json"))
	objects := objects()
	var out bytes.Buffer
	out.WriteString("{\"objects\":{\n")
	names := make([]string, 0, len(objects))
	for name := range objects {
		names = append(names, name)
	}
	sort.Strings(names)
	for i, name := range names {
		if i > 0 {
			out.WriteString(",\n")
		}
		fmt.Fprintf(&out, "%q:%s", name, encode(objects[name]))
	}
	out.WriteString("\n},\"patches\":[\n")
	written, uncertain, failed := 0, 0, 0
	dice := rand.New(rand.NewSource(6902))
	for _, one := range append(byHand(), atRandom(dice, objects, names)...) {
		answer, certain := play(objects[one.object], one.patch)
		if !certain {
			uncertain++
			continue
		}
		if answer.Code != 0 {
			failed++
		}
		if written > 0 {
			out.WriteString(",\n")
		}
		written++
		out.Write(encode(record{Object: one.object, Patch: one.patch, outcome: answer}))
	}
	out.WriteString("\n]}\n")
	must(os.WriteFile(filepath.Join(dir, "merged.json"), out.Bytes(), 0o644))
	fmt.Printf("%d patches, %d of them refused; %d left out, their outcome is by chance\n", written, failed, uncertain)
}
