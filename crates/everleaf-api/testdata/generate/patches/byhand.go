package main

// patchOf is a patch and what it is applied to.
type patchOf struct {
	object string
	patch  []byte
}

// byHand are the patches that somebody thought of: each directive, right and wrong.
func byHand() []patchOf {
	var all []patchOf
	add := func(object string, patches ...string) {
		for _, patch := range patches {
			all = append(all, patchOf{object, []byte(patch)})
		}
	}
	add("configmap",
		`{}`,
		`{"data":{"a":"9"}}`, `{"data":{"a":null,"z":null,"c":"3"}}`, `{"data":null}`, `{"data":{}}`, `{"data":5}`, `{"data":["a"]}`, `{"data":{"a":{"b":"c"}}}`,
		`{"data":{"$patch":"delete"}}`, `{"data":{"$patch":"replace","x":"y"}}`, `{"data":{"$patch":"replace","x":null}}`, `{"data":{"$patch":"merge","x":"y"}}`, `{"data":{"$patch":"wrong"}}`,
		`{"data":{"$patch":5}}`, `{"data":{"$patch":null,"x":"y"}}`, `{"data":{"$patch":1.5,"x":[1,true,null]}}`, `{"data":{"$patch":["a"]}}`, `{"data":{"$patch":{"a":"b"}}}`, `{"data":{"$patch":true}}`,
		`{"$patch":"delete"}`, `{"$patch":"replace","metadata":{"name":"rich"}}`, `{"$patch":"wrong","n":1000000.5,"m":0.00001}`,
		`{"metadata":{"labels":{"c":"3"}}}`, `{"metadata":{"labels":{"a":null}}}`, `{"metadata":{"labels":null,"annotations":{"note":"y"}}}`,
		`{"metadata":{"labels":{"$setElementOrder/a":["x"]}}}`, `{"metadata":{"labels":{"$retainKeys":["a"],"a":"7"}}}`, `{"metadata":{"labels":{"$retainKeys":["a"],"b":"7"}}}`,
		`{"metadata":{"labels":{"$retainKeys":"a"}}}`, `{"metadata":{"labels":{"$retainKeys":[]}}}`, `{"metadata":{"labels":{"$retainKeys":["a",5],"b":null}}}`, `{"metadata":{"labels":{"$retainKeys":[],"$setElementOrder/x":1}}}`,
		`{"metadata":{"$retainKeys":["name","uid","finalizers"],"finalizers":["q"],"$setElementOrder/finalizers":["q","z"]}}`,
		`{"colour":"red"}`, `{"colour":{"$patch":"delete"}}`, `{"colour":{"deep":{"$patch":"x"},"keep":[{"$patch":"y"},{"a":null}],"gone":null}}`, `{"colour":{"$setElementOrder/x":[1]}}`,
		`{"binaryData":{"c":null,"d":"AQ=="}}`, `{"immutable":true}`, `{"kind":"Secret","apiVersion":"v2"}`, `{"metadata":5}`, `{"metadata":null}`,
		`{"$setElementOrder/data":[]}`, `{"$setElementOrder/nothing":[]}`, `{"$setElementOrder/data":{}}`, `{"$setElementOrder":[]}`, `{"$setElementOrderly/x":[]}`, `{"$setElementOrder/":[]}`, `{"$setElementOrder/data":null}`,
		`{"$deleteFromPrimitiveList/data":["a"]}`, `{"$deleteFromPrimitiveList/data":{"a":"5"}}`, `{"$deleteFromPrimitiveList/data":null}`, `{"$deleteFromPrimitiveList":["a"]}`, `{"$deleteFromPrimitiveLists/data":["a"]}`, `{"$deleteFromPrimitiveList/":["a"]}`, `{"$deleteFromPrimitiveList/nothing":["a"]}`, `{"$deleteFromPrimitiveList/kind":"X"}`,
	)
	add("configmap-new", `{"data":{"a":null,"b":{"c":null}}}`, `{"data":{"a":null,"b":"c"}}`, `{"data":{"a":null}}`, `{"metadata":{"finalizers":["b","a"]}}`, `{"metadata":{"finalizers":["b","a","b"],"$setElementOrder/finalizers":["b","a"]}}`, `{"metadata":{"$setElementOrder/finalizers":["b"]}}`,
		`{"metadata":{"finalizers":[],"$setElementOrder/finalizers":[]}}`, `{"metadata":{"finalizers":["c","b","a"],"$setElementOrder/finalizers":[]}}`, `{"metadata":{"ownerReferences":[{"uid":"x","name":null},{"uid":"y","$patch":"delete"}]}}`,
		`{"metadata":{"ownerReferences":[{"uid":"x","name":null},{"uid":"y","$patch":"delete"}],"$setElementOrder/ownerReferences":[{"uid":"x"}]}}`)
	finalizers := func(rest string) string { return `{"metadata":{` + rest + `}}` }
	for _, rest := range []string{
		`"finalizers":["b"]`, `"finalizers":["a"]`, `"finalizers":["m","b","z"]`, `"finalizers":[]`, `"finalizers":null`, `"finalizers":["b","b"]`, `"finalizers":[5]`, `"finalizers":[null]`, `"finalizers":[["a"]]`, `"finalizers":[{"a":"b"}]`, `"finalizers":"a"`,
		`"$deleteFromPrimitiveList/finalizers":["a"]`, `"$deleteFromPrimitiveList/finalizers":["a","q"]`, `"$deleteFromPrimitiveList/finalizers":[]`, `"$deleteFromPrimitiveList/finalizers":null`, `"$deleteFromPrimitiveList/finalizers":"a"`, `"$deleteFromPrimitiveList/finalizers":[1]`, `"$deleteFromPrimitiveList/finalizers":[[1]]`,
		`"finalizers":["b"],"$deleteFromPrimitiveList/finalizers":["a"]`, `"finalizers":["b"],"$setElementOrder/finalizers":["m","b"]`, `"$setElementOrder/finalizers":["a","m","z"]`, `"$setElementOrder/finalizers":["m"]`, `"$setElementOrder/finalizers":[]`,
		`"finalizers":["b"],"$setElementOrder/finalizers":["a"]`, `"finalizers":["b","c"],"$setElementOrder/finalizers":["c","b"]`, `"finalizers":["b","c"],"$setElementOrder/finalizers":["b","x","c","z"]`, `"finalizers":["b"],"$setElementOrder/finalizers":[]`,
		`"$setElementOrder/finalizers":["a",5]`, `"$setElementOrder/finalizers":[["a"]]`, `"$setElementOrder/finalizers":"a"`, `"finalizers":"a","$setElementOrder/finalizers":["a"]`, `"finalizers":null,"$setElementOrder/finalizers":["a"]`,
		`"$deleteFromPrimitiveList/finalizers":["z"],"$setElementOrder/finalizers":["m","a"]`, `"finalizers":["n"],"$deleteFromPrimitiveList/finalizers":["z"],"$setElementOrder/finalizers":["m","n","a"]`,
		`"ownerReferences":[{"uid":"u2","name":"other"}]`, `"ownerReferences":[{"uid":"u9","name":"new"}]`, `"ownerReferences":[{"uid":"u2","$patch":"delete"}]`, `"ownerReferences":[{"name":"n2","$patch":"delete"}]`, `"ownerReferences":[{"name":"x"}]`,
		`"ownerReferences":[{"$patch":"replace"},{"uid":"u9"}]`, `"ownerReferences":[{"$patch":"replace"}]`, `"ownerReferences":[{"$patch":"merge"},{"uid":"u9"}]`, `"ownerReferences":[{"uid":"u9","$patch":"wrong"}]`, `"ownerReferences":[{"uid":"u1","$patch":5}]`,
		`"ownerReferences":[{"uid":"u1","controller":null}]`, `"ownerReferences":[{"uid":"u1","$retainKeys":["uid","name"],"name":"x"}]`, `"ownerReferences":[{"uid":"u1","$retainKeys":["name"],"name":"x"}]`, `"ownerReferences":["u1"]`, `"ownerReferences":[{"uid":null}]`, `"ownerReferences":[{"uid":["u1"]}]`, `"ownerReferences":[{"uid":7}]`,
		`"ownerReferences":[{"uid":"u3","$patch":"delete"},{"uid":"u4","name":"x"}],"$setElementOrder/ownerReferences":[{"uid":"u2"},{"uid":"u4"},{"uid":"u1"}]`,
		`"ownerReferences":[{"uid":"u1","$patch":"delete"},{"uid":"u1","name":"again"}],"$setElementOrder/ownerReferences":[{"uid":"u1"}]`,
		`"ownerReferences":[{"uid":"u3","$patch":"delete"},{"uid":"u9"},{"uid":"u3","name":"again"}],"$setElementOrder/ownerReferences":[{"uid":"u9"},{"uid":"u3"}]`,
		`"ownerReferences":[{"uid":"u9"},{"uid":"u8"}]`, `"ownerReferences":[{"uid":"u9"},{"uid":"u9","name":"twice"}]`, `"ownerReferences":[{"uid":"u3","name":"x"},{"uid":"u1","name":"y"}]`,
		`"$setElementOrder/ownerReferences":[{"uid":"u3"},{"uid":"u1"}]`, `"$setElementOrder/ownerReferences":["u3"]`, `"$setElementOrder/ownerReferences":[{"name":"x"}]`, `"ownerReferences":[{"uid":"u9"}],"$setElementOrder/ownerReferences":[]`,
		`"ownerReferences":[{"uid":"u9"},{"uid":"u8"},{"uid":"u2"}],"$setElementOrder/ownerReferences":[]`, `"ownerReferences":[{"uid":"u9"},{"$patch":"replace"}],"$setElementOrder/ownerReferences":[{"uid":"u9"}]`, `"ownerReferences":[{"$patch":"replace"},{"uid":"u9"}],"$setElementOrder/ownerReferences":[{"uid":"u9"}]`,
		`"$deleteFromPrimitiveList/ownerReferences":["u1"]`, `"$deleteFromPrimitiveList/ownerReferences":[{"uid":"u1","name":"x"}]`,
		`"managedFields":[{"manager":"x"}]`, `"managedFields":[{"$patch":"replace"}]`, `"name":"other"`, `"name":null`, `"uid":"other"`, `"resourceVersion":"8"`, `"generation":1.5`,
	} {
		add("configmap", finalizers(rest))
	}
	ready := `{"type":"Ready","status":"False","lastHeartbeatTime":"2026-02-03T04:05:06Z"}`
	add("node",
		`{"status":{"$setElementOrder/conditions":[{"type":"MemoryPressure"},{"type":"DiskPressure"},{"type":"PIDPressure"},{"type":"Ready"}],"conditions":[{"lastHeartbeatTime":"2026-02-03T04:05:06Z","type":"MemoryPressure"},{"lastHeartbeatTime":"2026-02-03T04:05:06Z","type":"Ready"}]}}`,
		`{"status":{"conditions":[`+ready+`]}}`, `{"status":{"conditions":[`+ready+`,{"type":"DiskPressure","status":"True"}]}}`, `{"status":{"conditions":[{"type":"New","status":"True"}]}}`, `{"status":{"conditions":[{"type":"Ready","$patch":"delete"}]}}`,
		`{"status":{"conditions":[`+ready+`,{"type":"New","status":"True"}],"$setElementOrder/conditions":[{"type":"Ready"},{"type":"New"},{"type":"DiskPressure"}]}}`,
		`{"status":{"conditions":[{"type":"New"},`+ready+`],"$setElementOrder/conditions":[{"type":"Ready"},{"type":"New"}]}}`,
		`{"status":{"addresses":[{"type":"InternalIP","address":"10.9.9.9"},{"type":"Hostname","address":"x"},{"$patch":"replace"}]}}`, `{"status":{"addresses":[{"type":"InternalIP","address":"10.9.9.9"},{"type":"InternalIP","address":"fd00::9"},{"$patch":"replace"}]}}`,
		`{"status":{"addresses":[{"type":"InternalIP","address":"a"},{"type":"Hostname","address":"b"},{"type":"InternalIP","address":"c"},{"$patch":"replace"}]}}`,
		`{"status":{"capacity":{"cpu":"8"},"allocatable":{"cpu":"7"}}}`, `{"status":{"capacity":{"memory":null}}}`, `{"status":{"images":[{"names":["b:2"],"sizeBytes":6}]}}`, `{"status":{"volumesInUse":["v2"]}}`, `{"status":{"volumesInUse":["v2","v3","v1"],"$setElementOrder/volumesInUse":["v3"]}}`, `{"status":{"volumesInUse":["v2","v3"],"$setElementOrder/volumesInUse":["v2","v3"]}}`, `{"status":{"$deleteFromPrimitiveList/volumesInUse":["v1"]}}`,
		`{"status":{"$setElementOrder/images":[{"names":["a:1"]}]}}`, `{"status":{"$setElementOrder/config":[]}}`, `{"status":{"$setElementOrder/nodeInfo":[]}}`, `{"status":{"$setElementOrder/CONDITIONS":[{"type":"Ready"}]}}`, `{"status":{"nodeInfo":{"kubeletVersion":"v1.37.2"}}}`,
		`{"spec":{"podCIDRs":["10.1.0.0/24"]}}`, `{"spec":{"podCIDRs":["10.1.0.0/24"],"$deleteFromPrimitiveList/podCIDRs":["10.0.0.0/24"]}}`, `{"spec":{"taints":[{"key":"x","effect":"NoSchedule"}]}}`, `{"spec":{"$setElementOrder/taints":[{"key":"l"}],"taints":[{"key":"l","effect":"NoSchedule"}]}}`, `{"spec":{"$deleteFromPrimitiveList/taints":[{"key":"k"}]}}`, `{"spec":{"unschedulable":true}}`, `{"spec":{"taints":[{"$patch":"delete","key":"k"}]}}`, `{"spec":{"taints":null}}`,
	)
	add("node-new", `{"status":{"$setElementOrder/conditions":[{"type":"B"},{"type":"A"}],"conditions":[{"type":"B"},{"type":"A"}]}}`, `{"status":{"$setElementOrder/conditions":[{"type":"A"},{"type":"B"}],"conditions":[{"type":"B"},{"type":"A"}]}}`, `{"status":{"conditions":[{"type":"B"},{"type":"A"},{"type":"B"}]}}`, `{"status":{"addresses":[{"type":"A","address":"1"},{"$patch":"replace"}]}}`, `{"spec":{"podCIDRs":["b","a"]}}`)
	add("node-two-ips", `{"status":{"addresses":[{"type":"InternalIP","address":"x"}]}}`, `{"status":{"addresses":[{"type":"InternalIP","$patch":"delete"}]}}`, `{"status":{"addresses":[{"type":"Hostname","address":"y"}]}}`, `{"status":{"$setElementOrder/addresses":[{"type":"Hostname"},{"type":"InternalIP"}]}}`, `{"status":{"$setElementOrder/addresses":[{"type":"Hostname"},{"type":"InternalIP"},{"type":"New"}],"addresses":[{"type":"New","address":"z"}]}}`)
	add("csr", `{"status":{"conditions":[{"type":"Denied","status":"True"}]}}`, `{"status":{"conditions":[{"type":"Approved","$patch":"delete"}]}}`, `{"status":{"conditions":null}}`, `{"spec":{"usages":["any"]}}`, `{"spec":{"extra":{"k":["w"]}}}`, `{"spec":{"extra":{"l":["w"]}}}`, `{"spec":{"extra":{"k":null}}}`, `{"spec":{"$deleteFromPrimitiveList/groups":["g"]}}`, `{"spec":{"$setElementOrder/usages":["digital signature","client auth"]}}`, `{"status":{"certificate":"AAAA"}}`, `{"status":{"$setElementOrder/certificate":["A"]}}`, `{"status":{"$setElementOrder/conditions":[{"type":"Other"}]}}`, `{"status":{"$setElementOrder/conditions":[]}}`)
	add("role", `{"rules":[{"verbs":["*"]}]}`, `{"rules":null}`, `{"rules":[]}`, `{"rules":[{"$patch":"delete"}]}`, `{"$setElementOrder/rules":[]}`)
	add("serviceaccount", `{"secrets":[{"name":"s2","namespace":"m"}]}`, `{"secrets":[{"name":"s4"},{"name":"s1","$patch":"delete"}],"$setElementOrder/secrets":[{"name":"s4"},{"name":"s2"}]}`, `{"imagePullSecrets":[{"name":"p3"}]}`, `{"imagePullSecrets":[{"name":"p1"},{"name":"p2"}],"$setElementOrder/imagePullSecrets":[{"name":"p2"}]}`, `{"secrets":[{"kind":"Secret"}]}`)
	add("serviceaccount-nameless", `{"secrets":[{"name":"s1","namespace":"m"}]}`, `{"secrets":[{"name":"s1","$patch":"delete"}]}`, `{"secrets":[{"name":"s2"},{"$patch":"replace"}]}`)
	add("event", `{"count":2,"lastTimestamp":"2026-02-03T04:05:06Z"}`, `{"count":2,"lastTimestamp":"2026-02-03T04:05:06Z","metadata":{"annotations":null},"series":{"count":2,"lastObservedTime":"2026-02-03T04:05:06.000000Z"}}`, `{"source":{"host":null}}`, `{"involvedObject":{"$patch":"replace","name":"x"}}`, `{"count":"two"}`)
	add("secret", `{"data":{"password":null,"token":"AAAA"}}`, `{"stringData":{"token":"x"}}`, `{"type":null}`)
	add("lease", `{"spec":{"renewTime":"2026-02-03T04:05:06.000000Z","leaseTransitions":0}}`, `{"spec":{"holderIdentity":null}}`, `{"spec":{"holderIdentity":{"$patch":"delete"}}}`, `{"spec":{"$setElementOrder/holderIdentity":[]}}`)
	add("namespace", `{"spec":{"finalizers":[]}}`, `{"spec":{"finalizers":["x"]}}`, `{"status":{"conditions":[{"type":"B","status":"True"},{"type":"C","status":"True"}]}}`, `{"status":{"phase":"Terminating"}}`)
	return all
}
