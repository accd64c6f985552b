package main

import (
	"time"

	certs "k8s.io/api/certificates/v1"
	coord "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

var at = meta.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// kinds are the types whose patch strategies are written down.
func kinds() map[string]runtime.Object {
	return map[string]runtime.Object{
		"CertificateSigningRequest": &certs.CertificateSigningRequest{},
		"PodCertificateRequest":     &certs.PodCertificateRequest{},
		"ClusterRole":               &rbac.ClusterRole{},
		"ClusterRoleBinding":        &rbac.ClusterRoleBinding{},
		"ConfigMap":                 &core.ConfigMap{},
		"CSINode":                   &storage.CSINode{},
		"Event":                     &core.Event{},
		"Lease":                     &coord.Lease{},
		"Namespace":                 &core.Namespace{},
		"Node":                      &core.Node{},
		"Role":                      &rbac.Role{},
		"RoleBinding":               &rbac.RoleBinding{},
		"Secret":                    &core.Secret{},
		"ServiceAccount":            &core.ServiceAccount{},
	}
}

func typed(apiVersion, kind string) meta.TypeMeta {
	return meta.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

func named(name string) meta.ObjectMeta {
	return meta.ObjectMeta{Name: name, UID: "u-" + "1", ResourceVersion: "7", CreationTimestamp: at}
}

// objects are what the patches are applied to.
func objects() map[string]runtime.Object {
	rich := named("rich")
	rich.Labels = map[string]string{"a": "1", "b": "2"}
	rich.Annotations = map[string]string{"note": "x"}
	rich.Finalizers = []string{"z", "a", "m"}
	yes := true
	rich.OwnerReferences = []meta.OwnerReference{
		{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "u1", Controller: &yes},
		{APIVersion: "v1", Kind: "Node", Name: "n2", UID: "u2"},
		{APIVersion: "v1", Kind: "Pod", Name: "p3", UID: "u3"},
	}
	condition := func(name core.NodeConditionType, status core.ConditionStatus) core.NodeCondition {
		return core.NodeCondition{Type: name, Status: status, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "r", Message: "m"}
	}
	o := map[string]runtime.Object{}
	o["node"] = &core.Node{TypeMeta: typed("v1", "Node"), ObjectMeta: rich,
		Spec: core.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}, Taints: []core.Taint{{Key: "k", Effect: "NoSchedule"}, {Key: "l", Value: "v", Effect: "NoExecute"}}},
		Status: core.NodeStatus{
			Capacity: core.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("16Gi")}, Phase: "Running",
			Conditions: []core.NodeCondition{condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("PIDPressure", "False"), condition("Ready", "True")},
			Addresses:  []core.NodeAddress{{Type: "InternalIP", Address: "10.1.2.3"}, {Type: "Hostname", Address: "n1"}, {Type: "ExternalIP", Address: "192.0.2.1"}},
			Images:     []core.ContainerImage{{Names: []string{"a:1"}, SizeBytes: 5}}, VolumesInUse: []core.UniqueVolumeName{"v1", "v2"},
		}}
	twice := o["node"].DeepCopyObject().(*core.Node)
	twice.Status.Addresses = []core.NodeAddress{{Type: "InternalIP", Address: "10.1.2.3"}, {Type: "InternalIP", Address: "fd00::1"}, {Type: "Hostname", Address: "n1"}}
	o["node-two-ips"] = twice
	o["node-new"] = &core.Node{TypeMeta: typed("v1", "Node"), ObjectMeta: named("new")}
	o["event"] = &core.Event{TypeMeta: typed("v1", "Event"), ObjectMeta: rich, InvolvedObject: core.ObjectReference{Kind: "Node", Name: "n1", UID: "n1"}, Reason: "Starting",
		Message: "hello", Source: core.EventSource{Component: "kubelet", Host: "n1"}, FirstTimestamp: at, LastTimestamp: at, Count: 1, Type: "Normal"}
	o["configmap"] = &core.ConfigMap{TypeMeta: typed("v1", "ConfigMap"), ObjectMeta: rich, Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"c": {1, 2}}}
	o["configmap-new"] = &core.ConfigMap{TypeMeta: typed("v1", "ConfigMap"), ObjectMeta: named("new")}
	o["secret"] = &core.Secret{TypeMeta: typed("v1", "Secret"), ObjectMeta: rich, Type: "Opaque", Data: map[string][]byte{"password": []byte("hunter2")}}
	o["csr"] = &certs.CertificateSigningRequest{TypeMeta: typed("certificates.k8s.io/v1", "CertificateSigningRequest"), ObjectMeta: rich,
		Spec: certs.CertificateSigningRequestSpec{Request: []byte("PEM"), SignerName: "example.com/a", Usages: []certs.KeyUsage{"client auth", "digital signature"}, Username: "u", Groups: []string{"g", "h"},
			Extra: map[string]certs.ExtraValue{"k": {"v"}}},
		Status: certs.CertificateSigningRequestStatus{Conditions: []certs.CertificateSigningRequestCondition{
			{Type: "Approved", Status: "True", Reason: "r", LastUpdateTime: at, LastTransitionTime: at}, {Type: "Other", Status: "True", LastUpdateTime: at, LastTransitionTime: at}}}}
	o["role"] = &rbac.Role{TypeMeta: typed("rbac.authorization.k8s.io/v1", "Role"), ObjectMeta: rich, Rules: []rbac.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}, {Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	o["serviceaccount"] = &core.ServiceAccount{TypeMeta: typed("v1", "ServiceAccount"), ObjectMeta: rich, Secrets: []core.ObjectReference{{Name: "s1"}, {Name: "s2", Namespace: "n"}, {Name: "s3"}}, ImagePullSecrets: []core.LocalObjectReference{{Name: "p1"}, {Name: "p2"}}}
	o["serviceaccount-nameless"] = &core.ServiceAccount{TypeMeta: typed("v1", "ServiceAccount"), ObjectMeta: rich, Secrets: []core.ObjectReference{{Name: "s1"}, {Kind: "Secret"}}}
	holder, seconds := "n1", int32(40)
	o["lease"] = &coord.Lease{TypeMeta: typed("coordination.k8s.io/v1", "Lease"), ObjectMeta: rich, Spec: coord.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds}}
	o["namespace"] = &core.Namespace{TypeMeta: typed("v1", "Namespace"), ObjectMeta: rich, Spec: core.NamespaceSpec{Finalizers: []core.FinalizerName{"kubernetes"}},
		Status: core.NamespaceStatus{Phase: "Active", Conditions: []core.NamespaceCondition{{Type: "A", Status: "True", LastTransitionTime: at}, {Type: "B", Status: "False", LastTransitionTime: at}}}}
	return o
}
