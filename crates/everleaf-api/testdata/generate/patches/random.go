package main

import (
	"encoding/json"
	"fmt"
	"math/rand"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// atRandom are patches as clients compute them, from what an object is and what it shall be, and
// patches put together from directives without such sense.
func atRandom(dice *rand.Rand, objects map[string]runtime.Object, names []string) []patchOf {
	var all []patchOf
	for i := 0; i < 100; i++ {
		name := names[dice.Intn(len(names))]
		all = append(all, patchOf{name, between(dice, objects[name])})
	}
	for i := 0; i < 100; i++ {
		all = append(all, patchOf{"node", encode(map[string]any{"metadata": directedMeta(dice), "status": directed(dice, "conditions", "type",
			[]string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready", "New", "Newer"}, "status")})})
	}
	return all
}

// between is the patch that leads from the object to a changed one.
func between(dice *rand.Rand, object runtime.Object) []byte {
	was, err := json.Marshal(object)
	must(err)
	changed := object.DeepCopyObject()
	accessor := changed.(meta.Object)
	finalizers := append([]string{}, accessor.GetFinalizers()...)
	accessor.SetFinalizers(shuffled(dice, append(finalizers, "new", "newer")))
	owners := append([]meta.OwnerReference{}, accessor.GetOwnerReferences()...)
	owners = append(owners, meta.OwnerReference{UID: "u8", Name: "eight"}, meta.OwnerReference{UID: "u9", Name: "nine"})
	for i := range owners {
		if dice.Intn(3) == 0 {
			owners[i].Name = fmt.Sprint("changed", i)
		}
	}
	accessor.SetOwnerReferences(shuffled(dice, owners))
	if dice.Intn(2) == 0 {
		accessor.SetLabels(map[string]string{"b": fmt.Sprint(dice.Intn(3)), "c": "3"})
	}
	switch o := changed.(type) {
	case *core.Node:
		o.Status.Conditions = shuffled(dice, append(o.Status.Conditions, core.NodeCondition{Type: "New", Status: "True"}))
		o.Spec.PodCIDRs = shuffled(dice, o.Spec.PodCIDRs)
		o.Spec.Taints = shuffled(dice, o.Spec.Taints)
		for i := range o.Status.Conditions {
			o.Status.Conditions[i].LastHeartbeatTime = meta.Time{Time: at.Add(1e10)}
		}
	case *core.ServiceAccount:
		o.Secrets = shuffled(dice, append(o.Secrets, core.ObjectReference{Name: "s9"}))
	case *core.Namespace:
		o.Status.Conditions = shuffled(dice, append(o.Status.Conditions, core.NamespaceCondition{Type: "C"}))
	}
	now, err := json.Marshal(changed)
	must(err)
	patch, err := strategicpatch.CreateTwoWayMergePatch(was, now, object)
	if err != nil {
		return []byte(`{}`)
	}
	return tidied(patch)
}

// shuffled leaves some out and changes the order of the rest.
func shuffled[T any](dice *rand.Rand, all []T) []T {
	var kept []T
	for _, one := range all {
		if dice.Intn(4) > 0 {
			kept = append(kept, one)
		}
	}
	if dice.Intn(2) == 0 {
		dice.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	}
	return kept
}

func tidied(patch []byte) []byte {
	value := map[string]any{}
	must(kjson.Unmarshal(patch, &value))
	return encode(value)
}

// directed puts together a list of objects, and perhaps the order and the deletions that go with
// it.
func directed(dice *rand.Rand, list, key string, keys []string, member string) map[string]any {
	var items, order []any
	for _, name := range shuffled(dice, keys) {
		item := map[string]any{key: name}
		switch dice.Intn(8) {
		case 0:
			item["$patch"] = "delete"
		case 1:
			continue
		default:
			item[member] = fmt.Sprint("v", dice.Intn(3))
		}
		if dice.Intn(3) > 0 {
			items = append(items, item)
		}
		if item["$patch"] == nil && dice.Intn(20) > 0 {
			order = append(order, map[string]any{key: name})
		}
	}
	if dice.Intn(10) == 0 {
		items = append(items, map[string]any{"$patch": "replace"})
	}
	all := map[string]any{}
	if len(items) > 0 {
		all[list] = items
	}
	if len(order) > 0 && dice.Intn(3) > 0 {
		all["$setElementOrder/"+list] = order
	}
	return all
}

func directedMeta(dice *rand.Rand) map[string]any {
	all := directed(dice, "ownerReferences", "uid", []string{"u1", "u2", "u3", "u4", "u5"}, "name")
	pool := []string{"z", "a", "m", "n", "o"}
	if dice.Intn(2) == 0 {
		all["finalizers"] = shuffled(dice, pool[1:])
		if dice.Intn(2) == 0 {
			all["$setElementOrder/finalizers"] = shuffled(dice, pool)
		}
	}
	if dice.Intn(3) == 0 {
		all["$deleteFromPrimitiveList/finalizers"] = []string{"z"}
	}
	return all
}
