// Command gen writes the recordings that the tests of everleaf-api compare with.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	certs "k8s.io/api/certificates/v1"
	coord "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var out = os.Args[1]

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func p[T any](v T) *T { return &v }

var t0 = meta.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
var t1 = meta.NewTime(time.Date(2036, 12, 31, 23, 59, 59, 0, time.UTC))
var tOld = meta.NewTime(time.Date(1969, 12, 31, 23, 59, 58, 0, time.UTC))
var m0 = meta.NewMicroTime(time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC))
var m1 = meta.NewMicroTime(time.Date(1969, 12, 31, 23, 59, 58, 500000000, time.UTC))

func fullMeta() meta.ObjectMeta {
	return meta.ObjectMeta{
		Name: "full <&> \u2028 \"x\"\t", GenerateName: "full-", Namespace: "kube-system", SelfLink: "/old", UID: "0b6f1c1e-0000-4000-8000-000000000001",
		ResourceVersion: "1042", Generation: 7, CreationTimestamp: t0, DeletionTimestamp: &t1, DeletionGracePeriodSeconds: p(int64(0)),
		Labels:      map[string]string{"b": "2", "a": "1", "example.com/empty": ""},
		Annotations: map[string]string{"note": "line\nline", "ünï": "☃"},
		OwnerReferences: []meta.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: "n1", UID: "u1", Controller: p(false), BlockOwnerDeletion: p(true)},
			{},
		},
		Finalizers: []string{"z", "a"},
		ManagedFields: []meta.ManagedFieldsEntry{{
			Manager: "kubectl", Operation: meta.ManagedFieldsOperationApply, APIVersion: "v1", Time: &t0, FieldsType: "FieldsV1",
			FieldsV1: &meta.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{}}`)}, Subresource: "status",
		}, {}},
	}
}

func objects() map[string]runtime.Object {
	o := map[string]runtime.Object{}
	m := fullMeta()
	small := meta.ObjectMeta{Name: "small", CreationTimestamp: t0}

	o["csr-empty"] = &certs.CertificateSigningRequest{}
	o["csr-full"] = &certs.CertificateSigningRequest{ObjectMeta: m,
		Spec: certs.CertificateSigningRequestSpec{Request: bytes.Repeat([]byte("PEM\x00\xff"), 200), SignerName: "kubernetes.io/kube-apiserver-client-kubelet",
			ExpirationSeconds: p(int32(86400)), Usages: []certs.KeyUsage{"key encipherment", "digital signature", "client auth"},
			Username: "system:bootstrap:abcdef", UID: "u", Groups: []string{"system:bootstrappers", "", "system:authenticated"},
			Extra: map[string]certs.ExtraValue{"b": {"1", "2"}, "a": {"x"}}},
		Status: certs.CertificateSigningRequestStatus{Certificate: []byte("-----BEGIN CERTIFICATE-----\n"), Conditions: []certs.CertificateSigningRequestCondition{
			{Type: "Approved", Status: "True", Reason: "AutoApproved", Message: "by <rule>", LastUpdateTime: t0, LastTransitionTime: tOld}, {}}}}
	o["csr-pending"] = &certs.CertificateSigningRequest{ObjectMeta: small,
		Spec: certs.CertificateSigningRequestSpec{Request: []byte{}, SignerName: "example.com/a", ExpirationSeconds: p(int32(-1)), Usages: []certs.KeyUsage{"any"}}}
	o["secret-empty"] = &core.Secret{}
	o["secret-full"] = &core.Secret{ObjectMeta: m, Immutable: p(false), Type: "bootstrap.kubernetes.io/token",
		Data: map[string][]byte{"token-id": []byte("abcdef"), "empty": {}, "bin": {0, 255, 254}}, StringData: map[string]string{"plain": "text", "a": ""}}
	o["configmap-empty"] = &core.ConfigMap{}
	o["configmap-full"] = &core.ConfigMap{ObjectMeta: m, Immutable: p(true), Data: map[string]string{"ca.crt": "PEM\n", "": ""}, BinaryData: map[string][]byte{"b": {1}}}
	o["namespace-empty"] = &core.Namespace{}
	o["namespace-full"] = &core.Namespace{ObjectMeta: m, Spec: core.NamespaceSpec{Finalizers: []core.FinalizerName{"kubernetes"}},
		Status: core.NamespaceStatus{Phase: "Active", Conditions: []core.NamespaceCondition{{Type: "T", Status: "True", LastTransitionTime: t0, Reason: "r", Message: "m"}, {}}}}
	o["node-empty"] = &core.Node{}
	q := resource.MustParse
	source := &core.NodeConfigSource{ConfigMap: &core.ConfigMapNodeConfigSource{Namespace: "n", Name: "c", UID: "u", ResourceVersion: "1", KubeletConfigKey: "k"}}
	o["node-full"] = &core.Node{ObjectMeta: m,
		Spec: core.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}, ProviderID: "p://1", Unschedulable: true,
			Taints: []core.Taint{{Key: "k", Value: "v", Effect: "NoSchedule", TimeAdded: &t0}, {}}, ConfigSource: source, DoNotUseExternalID: "x",
			PodPreemptionPolicy: &core.NodePodPreemptionPolicy{}},
		Status: core.NodeStatus{
			Capacity:        core.ResourceList{"cpu": q("4"), "memory": q("16393224Ki"), "hugepages-2Mi": q("0"), "pods": q("110")},
			Allocatable:     core.ResourceList{"cpu": q("3920m"), "ephemeral-storage": q("1e9")},
			Phase:           "Running",
			Conditions:      []core.NodeCondition{{Type: "Ready", Status: "True", LastHeartbeatTime: t0, LastTransitionTime: t1, Reason: "r", Message: "m"}, {}},
			Addresses:       []core.NodeAddress{{Type: "InternalIP", Address: "10.1.2.3"}, {Type: "Hostname", Address: "n1"}},
			DaemonEndpoints: core.NodeDaemonEndpoints{KubeletEndpoint: core.DaemonEndpoint{Port: 10250}},
			NodeInfo: core.NodeSystemInfo{MachineID: "m", SystemUUID: "s", BootID: "b", KernelVersion: "6.1", OSImage: "Debian", ContainerRuntimeVersion: "containerd://2",
				KubeletVersion: "v1.37.0", KubeProxyVersion: "", OperatingSystem: "linux", Architecture: "amd64", Swap: &core.NodeSwapStatus{Capacity: p(int64(1 << 40))}, RunningInUserNamespace: p(false)},
			Images:           []core.ContainerImage{{Names: []string{"a@sha256:1", "a:1"}, SizeBytes: 12345678901}, {}},
			VolumesInUse:     []core.UniqueVolumeName{"v1"},
			VolumesAttached:  []core.AttachedVolume{{Name: "v1", DevicePath: "/dev/x"}, {}},
			Config:           &core.NodeConfigStatus{Assigned: source, Active: &core.NodeConfigSource{}, LastKnownGood: source, Error: "e"},
			RuntimeHandlers:  []core.NodeRuntimeHandler{{Name: "", Features: &core.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: p(true), UserNamespaces: p(false)}}, {Name: "runc"}},
			Features:         &core.NodeFeatures{SupplementalGroupsPolicy: p(true)},
			DeclaredFeatures: []string{"A", "B"},
		}}
	o["serviceaccount-empty"] = &core.ServiceAccount{}
	ref := core.ObjectReference{Kind: "Node", Namespace: "ns", Name: "n1", UID: "u", APIVersion: "v1", ResourceVersion: "3", FieldPath: "spec"}
	o["serviceaccount-full"] = &core.ServiceAccount{ObjectMeta: m, Secrets: []core.ObjectReference{ref, {}}, ImagePullSecrets: []core.LocalObjectReference{{Name: "p"}, {}}, AutomountServiceAccountToken: p(false)}
	o["event-empty"] = &core.Event{}
	o["event-full"] = &core.Event{ObjectMeta: m, InvolvedObject: ref, Reason: "r", Message: "m", Source: core.EventSource{Component: "c", Host: "h"}, FirstTimestamp: t0, LastTimestamp: t1,
		Count: 3, Type: "Normal", EventTime: m0, Series: &core.EventSeries{Count: 2, LastObservedTime: m1}, Action: "a", Related: &ref, ReportingController: "rc", ReportingInstance: "ri"}
	o["clustertrustbundle-empty"] = &certs.ClusterTrustBundle{}
	o["clustertrustbundle-full"] = &certs.ClusterTrustBundle{ObjectMeta: m, Spec: certs.ClusterTrustBundleSpec{SignerName: "example.com/one", TrustBundle: "-----BEGIN CERTIFICATE-----\n<&>"}}
	o["podcertificaterequest-empty"] = &certs.PodCertificateRequest{}
	o["podcertificaterequest-full"] = &certs.PodCertificateRequest{ObjectMeta: m,
		Spec: certs.PodCertificateRequestSpec{SignerName: "example.com/one", PodName: "p", PodUID: "pu", ServiceAccountName: "s", ServiceAccountUID: "su", NodeName: "n", NodeUID: "nu",
			MaxExpirationSeconds: p(int32(0)), StubPKCS10Request: []byte{0x30, 0, 255}, UnverifiedUserAnnotations: map[string]string{"example.com/b": "", "example.com/a": "<&>"}},
		Status: certs.PodCertificateRequestStatus{Conditions: []meta.Condition{{Type: "Issued", Status: "True", ObservedGeneration: 1 << 40, LastTransitionTime: t0, Reason: "R", Message: "m"}, {}},
			CertificateChain: "-----BEGIN CERTIFICATE-----\n", NotBefore: &t0, BeginRefreshAt: &tOld, NotAfter: &t1}}
	o["lease-empty"] = &coord.Lease{}
	o["lease-full"] = &coord.Lease{ObjectMeta: m, Spec: coord.LeaseSpec{HolderIdentity: p("n1"), LeaseDurationSeconds: p(int32(40)), AcquireTime: &m1, RenewTime: &m0,
		LeaseTransitions: p(int32(0)), Strategy: p(coord.OldestEmulationVersion), PreferredHolder: p("")}}
	o["csinode-empty"] = &storage.CSINode{}
	o["csinode-full"] = &storage.CSINode{ObjectMeta: m,
		Spec: storage.CSINodeSpec{Drivers: []storage.CSINodeDriver{{Name: "d", NodeID: "n", TopologyKeys: []string{"k", ""}, Allocatable: &storage.VolumeNodeResources{Count: p(int32(0))}},
			{Allocatable: &storage.VolumeNodeResources{}}, {}}},
		Status: storage.CSINodeStatus{StorageHealth: []storage.StorageHealth{{Name: "d", HealthConditions: []storage.StorageHealthCondition{{Status: "StorageDegraded", Reason: "r", Message: "m",
			AccessMode: p(core.ReadWriteOnce), VolumeMode: p(core.PersistentVolumeBlock), LastTransitionTime: t0}, {}}}, {}}}}
	rules := []rbac.PolicyRule{{Verbs: []string{"get", "*"}, APIGroups: []string{"", "certificates.k8s.io"}, Resources: []string{"secrets"}, ResourceNames: []string{"a"}}, {Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/api/*"}}, {}}
	subjects := []rbac.Subject{{Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: "system:nodes"}, {Kind: "ServiceAccount", Name: "a", Namespace: "b"}, {}}
	roleRef := rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "cluster-admin"}
	o["role-empty"] = &rbac.Role{}
	o["role-full"] = &rbac.Role{ObjectMeta: m, Rules: rules}
	o["rolebinding-empty"] = &rbac.RoleBinding{}
	o["rolebinding-full"] = &rbac.RoleBinding{ObjectMeta: m, Subjects: subjects, RoleRef: roleRef}
	o["clusterrole-empty"] = &rbac.ClusterRole{}
	o["clusterrole-full"] = &rbac.ClusterRole{ObjectMeta: m, Rules: rules, AggregationRule: &rbac.AggregationRule{ClusterRoleSelectors: []meta.LabelSelector{
		{MatchLabels: map[string]string{"a": "b"}, MatchExpressions: []meta.LabelSelectorRequirement{{Key: "k", Operator: "In", Values: []string{"v", "w"}}, {Key: "e", Operator: "Exists"}}}, {}}}}
	o["clusterrole-aggregating-nothing"] = &rbac.ClusterRole{ObjectMeta: small, AggregationRule: &rbac.AggregationRule{}}
	o["clusterrolebinding-empty"] = &rbac.ClusterRoleBinding{}
	o["clusterrolebinding-full"] = &rbac.ClusterRoleBinding{ObjectMeta: m, Subjects: subjects, RoleRef: roleRef}
	resourceAttributes := &authz.ResourceAttributes{Namespace: "ns", Verb: "create", Group: "certificates.k8s.io", Version: "*", Resource: "certificatesigningrequests", Subresource: "nodeclient", Name: "x",
		FieldSelector: &authz.FieldSelectorAttributes{RawSelector: "a=b", Requirements: []meta.FieldSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"x"}}, {}}},
		LabelSelector: &authz.LabelSelectorAttributes{RawSelector: "c", Requirements: []meta.LabelSelectorRequirement{{Key: "k", Operator: "Exists"}}}}
	nonResource := &authz.NonResourceAttributes{Path: "/healthz", Verb: "get"}
	extraz := map[string]authz.ExtraValue{"authentication.kubernetes.io/credential-id": {"X509SHA256=ab"}, "a": {"1", ""}}
	answer := authz.SubjectAccessReviewStatus{Allowed: true, Denied: true, Reason: "RBAC: allowed", EvaluationError: "e"}
	spec := authz.SubjectAccessReviewSpec{ResourceAttributes: resourceAttributes, NonResourceAttributes: nonResource, User: "u", Groups: []string{"g1", "g2"}, Extra: extraz, UID: "uid"}
	o["sar-empty"] = &authz.SubjectAccessReview{}
	o["sar-full"] = &authz.SubjectAccessReview{ObjectMeta: m, Spec: spec, Status: answer}
	o["lsar-full"] = &authz.LocalSubjectAccessReview{ObjectMeta: m, Spec: spec, Status: answer}
	o["ssar-empty"] = &authz.SelfSubjectAccessReview{}
	o["ssar-full"] = &authz.SelfSubjectAccessReview{ObjectMeta: m, Spec: authz.SelfSubjectAccessReviewSpec{ResourceAttributes: resourceAttributes, NonResourceAttributes: nonResource}, Status: answer}
	o["ssrr-empty"] = &authz.SelfSubjectRulesReview{}
	o["ssrr-full"] = &authz.SelfSubjectRulesReview{ObjectMeta: m, Spec: authz.SelfSubjectRulesReviewSpec{Namespace: "ns"}, Status: authz.SubjectRulesReviewStatus{
		ResourceRules: []authz.ResourceRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"*"}, ResourceNames: []string{"a"}}, {}}, NonResourceRules: []authz.NonResourceRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}, {}}, Incomplete: true, EvaluationError: "e"}}
	user := authn.UserInfo{Username: "u", UID: "uid", Groups: []string{"g"}, Extra: map[string]authn.ExtraValue{"k": {"v"}}}
	o["selfsubjectreview-empty"] = &authn.SelfSubjectReview{}
	o["selfsubjectreview-full"] = &authn.SelfSubjectReview{ObjectMeta: m, Status: authn.SelfSubjectReviewStatus{UserInfo: user}}
	o["tokenreview-empty"] = &authn.TokenReview{}
	o["tokenreview-full"] = &authn.TokenReview{ObjectMeta: m, Spec: authn.TokenReviewSpec{Token: "t", Audiences: []string{"a"}}, Status: authn.TokenReviewStatus{Authenticated: true, User: user, Audiences: []string{"a", "b"}, Error: "e"}}
	o["tokenrequest-empty"] = &authn.TokenRequest{}
	o["tokenrequest-full"] = &authn.TokenRequest{ObjectMeta: m, Spec: authn.TokenRequestSpec{Audiences: []string{"a", ""}, ExpirationSeconds: p(int64(0)),
		BoundObjectRef: &authn.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: "n1", UID: "u"}, Attestations: map[string]authn.AttestationValue{"b": {"1", ""}, "a": {}}},
		Status: authn.TokenRequestStatus{Token: "t", ExpirationTimestamp: t0}}
	o["tokenrequest-unbound"] = &authn.TokenRequest{ObjectMeta: small, Spec: authn.TokenRequestSpec{ExpirationSeconds: p(int64(3600)), BoundObjectRef: &authn.BoundObjectReference{}}}
	o["partialobjectmetadata-full"] = &meta.PartialObjectMetadata{ObjectMeta: m}
	o["deleteoptions-empty"] = &meta.DeleteOptions{}
	o["deleteoptions-full"] = &meta.DeleteOptions{GracePeriodSeconds: p(int64(0)), Preconditions: &meta.Preconditions{UID: p(types.UID("u")), ResourceVersion: p("")}, OrphanDependents: p(false),
		PropagationPolicy: p(meta.DeletePropagationBackground), DryRun: []string{"All"}, IgnoreStoreReadErrorWithClusterBreakingPotential: p(true)}
	o["deleteoptions-no-preconditions"] = &meta.DeleteOptions{Preconditions: &meta.Preconditions{}}
	o["status-full"] = &meta.Status{ListMeta: meta.ListMeta{SelfLink: "s", ResourceVersion: "1", Continue: "c", RemainingItemCount: p(int64(5)), ShardInfo: &meta.ShardInfo{Selector: "x"}}, Status: "Failure", Message: "m", Reason: "Invalid",
		Details: &meta.StatusDetails{Name: "n", Group: "g", Kind: "k", UID: "u", Causes: []meta.StatusCause{{Type: "FieldValueInvalid", Message: "m", Field: "f"}, {}}, RetryAfterSeconds: 1}, Code: 422}
	o["status-empty-details"] = &meta.Status{Status: "Failure", Details: &meta.StatusDetails{}, Code: 404}
	return o
}

func main() {
	must(os.MkdirAll(out, 0o755))
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{authn.AddToScheme, authz.AddToScheme, certs.AddToScheme, coord.AddToScheme, core.AddToScheme, rbac.AddToScheme, storage.AddToScheme} {
		must(add(scheme))
	}
	js := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme, scheme, kjson.SerializerOptions{})
	pb := protobuf.NewSerializer(scheme, scheme)
	for name, object := range objects() {
		var gvk schema.GroupVersionKind
		switch object.(type) {
		case *meta.PartialObjectMetadata:
			gvk = schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "PartialObjectMetadata"}
		case *meta.DeleteOptions:
			gvk = schema.GroupVersionKind{Group: "meta.k8s.io", Version: "v1", Kind: "DeleteOptions"}
		case *meta.Status:
			gvk = schema.GroupVersionKind{Version: "v1", Kind: "Status"}
		default:
			kinds, _, err := scheme.ObjectKinds(object)
			must(err)
			gvk = kinds[0]
		}
		object.GetObjectKind().SetGroupVersionKind(gvk)
		var text, wire bytes.Buffer
		must(js.Encode(object, &text))
		must(pb.Encode(object, &wire))
		must(os.WriteFile(filepath.Join(out, name+".json"), text.Bytes(), 0o644))
		must(os.WriteFile(filepath.Join(out, name+".pb"), wire.Bytes(), 0o644))
	}

	// A watch frame.
	var inner bytes.Buffer
	csr := objects()["csr-pending"]
	csr.GetObjectKind().SetGroupVersionKind(certs.SchemeGroupVersion.WithKind("CertificateSigningRequest"))
	must(pb.Encode(csr, &inner))
	event := meta.WatchEvent{Type: "MODIFIED", Object: runtime.RawExtension{Raw: inner.Bytes()}}
	raw, err := event.Marshal()
	must(err)
	frame := append([]byte{byte(len(raw) >> 24), byte(len(raw) >> 16), byte(len(raw) >> 8), byte(len(raw))}, raw...)
	must(os.WriteFile(filepath.Join(out, "watch-frame.pb"), frame, 0o644))

	// A list: its items have no envelope of their own.
	list := &certs.CertificateSigningRequestList{ListMeta: meta.ListMeta{ResourceVersion: "7", Continue: "next", RemainingItemCount: p(int64(3))}}
	for _, name := range []string{"csr-pending", "csr-full", "csr-empty"} {
		item := objects()[name].(*certs.CertificateSigningRequest)
		list.Items = append(list.Items, *item)
	}
	list.SetGroupVersionKind(certs.SchemeGroupVersion.WithKind("CertificateSigningRequestList"))
	var listed bytes.Buffer
	must(pb.Encode(list, &listed))
	must(os.WriteFile(filepath.Join(out, "list.pb"), listed.Bytes(), 0o644))

	texts := map[string]any{}
	durations := [][]any{}
	seconds := []int64{-100, -2, -1, 0, 1, 59, 60, 119, 120, 121, 179, 180, 599, 600, 601, 3599, 3600, 10799, 10800, 10860, 14399, 14400, 28799, 28800, 86400, 100000, 172799, 172800, 176400, 601200, 604800, 691199, 691200, 31536000, 63071999, 63072000, 63158400, 100000000, 252287999, 252288000, 315360000, 4000000000}
	for _, s := range seconds {
		durations = append(durations, []any{s, duration.HumanDuration(time.Duration(s) * time.Second)})
	}
	texts["humanDurations"] = durations

	parsed := [][]any{}
	for _, s := range []string{"0", "5s", "-0", "1.5h", ".5s", "1h1m1s", "1h0.1m", "100ms", "1us", "1µs", "1μs", "2562047h47m16.854775807s", "0.3333333333333333333h", "0.100000000000000000000h", "0.830103483285477580700h", "9223372036854775.807us", "", "1", "h", "1x", "1h ", " 1h", "1.h", "1..h", "2562047h47m16.854775808s", "9223372036854775808ns", "+1h", "1_0h", "٣h"} {
		d, err := time.ParseDuration(s)
		if err != nil {
			parsed = append(parsed, []any{s, nil})
		} else {
			parsed = append(parsed, []any{s, int64(d)})
		}
	}
	texts["goDurations"] = parsed

	csrs := schema.GroupResource{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}
	secrets := schema.GroupResource{Resource: "secrets"}
	kind := schema.GroupKind{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}
	path := field.NewPath("spec", "usages")
	two := field.ErrorList{field.Required(path, "why"), field.Required(field.NewPath("spec", "signerName"), "")}
	many := field.ErrorList{field.Invalid(path.Index(1), "a\"b\u00a0", "bad"), field.NotSupported(path.Index(0), "fly", []string{"any", "signing"}), field.Duplicate(path.Index(2), "x"),
		field.Forbidden(field.NewPath("status"), "no"), field.TooLong(field.NewPath("spec", "signerName"), "", 571), field.TooMany(path, 3, 1), field.NotFound(path, "q"),
		field.InternalError(path, errors.New("oops")), field.Invalid(field.NewPath("spec", "expirationSeconds"), int32(5), "small"), field.TypeInvalid(path, "x", "d"), field.Invalid(path.Key("k"), "v", "")}
	same := field.ErrorList{field.Required(path, ""), field.Required(path, "")}
	statuses := map[string]*apierrors.StatusError{
		"badRequest":           apierrors.NewBadRequest("no <good>"),
		"unauthorized":         apierrors.NewUnauthorized("Unauthorized"),
		"forbiddenNamed":       apierrors.NewForbidden(csrs, "x", errors.New("text")),
		"forbiddenUnnamed":     apierrors.NewForbidden(secrets, "", errors.New("text")),
		"forbiddenPath":        apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("text")),
		"notFound":             apierrors.NewNotFound(csrs, "x"),
		"notFoundCore":         apierrors.NewNotFound(secrets, "a\"b"),
		"noSuchResource":       apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "", 0, false),
		"methodNotAllowed":     apierrors.NewGenericServerResponse(405, "put", schema.GroupResource{}, "", "", 0, false),
		"alreadyExists":        apierrors.NewAlreadyExists(csrs, "x"),
		"generateNameConflict": apierrors.NewGenerateNameConflict(csrs, "x", 1),
		"conflict":             apierrors.NewConflict(csrs, "x", errors.New("text")),
		"expired":              apierrors.NewResourceExpired("too old resource version: 5 (900)"),
		"tooLarge":             apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", 3145728)),
		"invalidTwo":           apierrors.NewInvalid(kind, "x", two),
		"invalidMany":          apierrors.NewInvalid(kind, "x", many),
		"invalidSame":          apierrors.NewInvalid(kind, "", same),
		"invalidNone":          apierrors.NewInvalid(kind, "x", nil),
		"tooManyRequests":      apierrors.NewTooManyRequests("Too many requests, please try again later.", 1),
		"internal":             apierrors.NewInternalError(errors.New("boom & <bang>")),
		"unavailable":          apierrors.NewServiceUnavailable("stopping"),
		"timeout":              apierrors.NewTimeoutError("slow", 2),
	}
	recorded := map[string]json.RawMessage{}
	for name, status := range statuses {
		s := status.Status()
		s.Kind, s.APIVersion = "Status", "v1"
		text, err := json.Marshal(&s)
		must(err)
		recorded[name] = text
	}
	texts["statuses"] = recorded

	type selection struct {
		Selector string `json:"selector"`
		OK       bool   `json:"ok"`
		Matches  []bool `json:"matches"`
	}
	sets := []labels.Set{{}, {"a": "b"}, {"a": ""}, {"a": "7", "example.com/x": "y"}, {"in": "in", "b": "c"}}
	selections := []selection{}
	for _, s := range []string{"", "a", "!a", "a=b", "a==b", "a!=b", "a=", "a in (b,c)", "a in (b, c)", "a notin (b)", "a in ()", "a in (,)", "a in (b,)", "a>6", "a<8", "a>7", "a gt 6", "in in (in)", "in=in", "notin", "example.com/x=y", "a,b", "a=b,b", "a,,b", ",a", "a,", "a in b", "a in (b", "a b", "=b", "!a=b", "a=b=c", "a>x", "-a", "a.b-c_d=e.f-g_h", "A=B", "x/y/z", "/x", "x/", "a=(b)", "a = b , ! b", "a\t=\nb", "a!b", "a=!b", "a>-1", "a>+1", "a in (b)c", "()", "a!=", "a=>b", "a><b", "in", "a=in", "a notin (in,notin)", "a=notin"} {
		selector, err := labels.Parse(s)
		sel := selection{Selector: s, OK: err == nil}
		if err == nil {
			for _, set := range sets {
				sel.Matches = append(sel.Matches, selector.Matches(set))
			}
		}
		selections = append(selections, sel)
	}
	texts["labelSets"] = sets
	texts["labelSelectors"] = selections

	table := &meta.Table{TypeMeta: meta.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: meta.ListMeta{ResourceVersion: "7"},
		ColumnDefinitions: []meta.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name", Description: "d <x>", Priority: 0}, {Name: "IP", Type: "string", Priority: 1}},
		Rows:              []meta.TableRow{{Cells: []any{"small", 3, nil, true}, Object: runtime.RawExtension{Object: &meta.PartialObjectMetadata{TypeMeta: meta.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}, ObjectMeta: meta.ObjectMeta{Name: "small", CreationTimestamp: t0}}}}, {Cells: []any{"b"}}}}
	text, err := json.Marshal(table)
	must(err)
	texts["table"] = json.RawMessage(text)
	text, err = json.Marshal(&meta.Table{TypeMeta: meta.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}})
	must(err)
	texts["tableBare"] = json.RawMessage(text)

	var pretty bytes.Buffer
	encoder := json.NewEncoder(&pretty)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	must(encoder.Encode(texts))
	must(os.WriteFile(filepath.Join(out, "texts.json"), pretty.Bytes(), 0o644))
}
