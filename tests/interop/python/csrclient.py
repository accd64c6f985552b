"""Drives the certificate API of a server through the official Python client, as an operator's own script would.

Prints a line of JSON per step and judges no server: the interop suite does, step by step. The exit code is 0 unless the script
could not run at all. Usage: csrclient.py KUBECONFIG REQUEST_PEM CERTIFICATE_PEM
"""

import asyncio
import base64
import datetime
import json
import logging
import sys
import threading
import traceback

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from kubernetes.aio import watch as aio_watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

SIGNER = "kubernetes.io/kube-apiserver-client"
OWN_SIGNER = "example.com/python"
LABEL = {"client": "python"}
SELECTOR = "client=python"
SECONDS_MAX = 20
PAGES = 5
STEPS = []


def step(function):
    """Registers a step; its name is the function's."""
    STEPS.append(function)
    return function


def main():
    # The informer logs how its connection ends when it is stopped.
    logging.disable()
    kubeconfig, request, certificate = sys.argv[1:]
    config.load_kube_config(config_file=kubeconfig)
    with open(request, "rb") as file:
        pem = file.read()
    with open(certificate, "rb") as file:
        chain = file.read()
    world = World(kubeconfig, pem, chain)
    for function in STEPS:
        outcome = {"step": "python/" + function.__name__.replace("_", "-"), "ok": True}
        try:
            function(world)
        except Exception as error:  # pylint: disable=broad-except
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome["ok"] = False
            outcome["error"] = f"{type(error).__name__} at line {place.lineno}: {error}"
        print(json.dumps(outcome), flush=True)


class World:
    """The APIs, and what the requests are made of."""

    def __init__(self, kubeconfig, pem, chain):
        self.kubeconfig = kubeconfig
        self.pem = base64.b64encode(pem).decode()
        self.chain = base64.b64encode(chain).decode()
        self.api = client.CertificatesV1Api()
        self.core = client.CoreV1Api()

    def request(self, name, signer=OWN_SIGNER, **metadata):
        """A request as models."""
        return client.V1CertificateSigningRequest(
            api_version="certificates.k8s.io/v1",
            kind="CertificateSigningRequest",
            metadata=client.V1ObjectMeta(name=name, labels=dict(LABEL), **metadata),
            spec=client.V1CertificateSigningRequestSpec(
                request=self.pem, signer_name=signer, usages=["digital signature", "client auth"]
            ),
        )

    def create(self, name, **more):
        return self.api.create_certificate_signing_request(self.request(name, **more))

    def read(self, name):
        return self.api.read_certificate_signing_request(name)


def condition(kind):
    """As scripts set it: with microseconds, and in another zone than UTC."""
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    return client.V1CertificateSigningRequestCondition(
        type=kind,
        status="True",
        reason="Python",
        message="by a script",
        last_update_time=datetime.datetime.now(zone),
    )


def refused(code, reason, call, *args, **kwargs):
    """The call must be refused with this code and reason."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        status = json.loads(error.body)
        seen = (error.status, status["kind"], status["reason"])
        assert seen == (code, "Status", reason), seen
        return status
    raise AssertionError(f"accepted, not {code} {reason}")


@step
def version(_world):
    answer = client.VersionApi().get_code()
    assert answer.major == "1" and answer.git_version.startswith("v1."), answer


@step
def groups_and_resources(_world):
    groups = [group.name for group in client.ApisApi().get_api_versions().groups]
    assert "certificates.k8s.io" in groups, groups
    assert client.CoreApi().get_api_versions().versions == ["v1"]
    resources = {one.name: one for one in client.CertificatesV1Api().get_api_resources().resources}
    for name in ["", "/approval", "/status"]:
        assert "certificatesigningrequests" + name in resources, list(resources)
    assert resources["certificatesigningrequests"].short_names == ["csr"]


@step
def create(world):
    created = world.create("issued", signer=SIGNER)
    assert created.metadata.uid and created.metadata.resource_version
    assert created.metadata.creation_timestamp.tzinfo is not None
    assert created.spec.username == "admin" and "system:masters" in created.spec.groups


@step
def create_generated_name(world):
    request = world.request(None, generate_name="python-")
    name = world.api.create_certificate_signing_request(request).metadata.name
    assert name.startswith("python-") and len(name) == len("python-") + 5, name


@step
def create_from_dict(world):
    request = client.ApiClient().sanitize_for_serialization(world.request("from-dict"))
    utils.create_from_dict(client.ApiClient(), request)
    assert world.read("from-dict").spec.signer_name == OWN_SIGNER


@step
def create_refusals(world):
    refused(409, "AlreadyExists", world.create, "issued")
    request = world.request("invalid")
    request.spec.usages = []
    status = refused(422, "Invalid", world.api.create_certificate_signing_request, request)
    causes = [(cause["field"], cause["reason"]) for cause in status["details"]["causes"]]
    assert causes == [("spec.usages", "FieldValueRequired")], causes


@step
def create_dry_run(world):
    world.api.create_certificate_signing_request(world.request("dry"), dry_run="All")
    refused(404, "NotFound", world.read, "dry")


@step
def field_validation(world):
    """The models take no unknown field, so as a custom object."""
    body = client.ApiClient().sanitize_for_serialization(world.request("strict"))
    body["spec"]["usage"] = []
    plural = ("certificates.k8s.io", "v1", "certificatesigningrequests", body)
    objects = client.CustomObjectsApi()
    status = refused(400, "BadRequest", objects.create_cluster_custom_object, *plural, field_validation="Strict")
    assert 'unknown field "spec.usage"' in status["message"], status
    assert objects.create_cluster_custom_object(*plural, field_validation="Warn")["metadata"]["uid"]


@step
def approve_and_wait(world):
    """The story of every tutorial: replace the approval, watch for the certificate."""
    request = world.read("issued")
    request.status.conditions = [condition("Approved")]
    answer = world.api.replace_certificate_signing_request_approval("issued", request)
    given, kept = request.status.conditions[0], answer.status.conditions[0]
    assert kept.last_update_time == given.last_update_time.replace(microsecond=0), kept
    assert kept.last_transition_time is not None, kept
    stream = watch.Watch().stream(
        world.api.list_certificate_signing_request,
        field_selector="metadata.name=issued",
        timeout_seconds=SECONDS_MAX,
    )
    for event in stream:
        certificate = event["object"].status.certificate
        if certificate:
            # The model has it as text in Base64 in some releases and as bytes in others.
            assert b"CERTIFICATE" in base64.b64decode(certificate), certificate
            return
    raise AssertionError("no certificate")


@step
def deny(world):
    request = world.create("denied")
    request.status = client.V1CertificateSigningRequestStatus(conditions=[condition("Denied")])
    world.api.replace_certificate_signing_request_approval("denied", request)
    request = world.read("denied")
    request.status.conditions.append(condition("Approved"))
    refused(422, "Invalid", world.api.replace_certificate_signing_request_approval, "denied", request)
    assert world.api.read_certificate_signing_request_approval("denied").status.conditions[0].type == "Denied"


@step
def replace(world):
    world.create("replaced")
    request, stale = world.read("replaced"), world.read("replaced")
    request.metadata.annotations = {"note": "new"}
    answer = world.api.replace_certificate_signing_request("replaced", request)
    assert answer.metadata.annotations == {"note": "new"}
    stale.metadata.annotations = {"note": "late"}
    refused(409, "Conflict", world.api.replace_certificate_signing_request, "replaced", stale)


@step
def replace_status(world):
    request = world.create("signed")
    request.status = client.V1CertificateSigningRequestStatus(conditions=[condition("Approved")])
    request = world.api.replace_certificate_signing_request_approval("signed", request)
    request.status.certificate = world.chain
    world.api.replace_certificate_signing_request_status("signed", request)
    raw = world.api.read_certificate_signing_request_status("signed", _preload_content=False)
    assert json.loads(raw.data)["status"]["certificate"] == world.chain


@step
def patch_dict(world):
    world.create("patched")
    body = {"metadata": {"labels": {"dict": "yes"}}}
    assert world.api.patch_certificate_signing_request("patched", body).metadata.labels["dict"] == "yes"


@step
def patch_list(world):
    body = [{"op": "add", "path": "/metadata/labels/list", "value": "yes"}]
    labels = world.api.patch_certificate_signing_request("patched", body).metadata.labels
    assert labels["list"] == "yes" and labels["dict"] == "yes", labels
    body = [{"op": "test", "path": "/metadata/labels/list", "value": "no"}]
    refused(422, "Invalid", world.api.patch_certificate_signing_request, "patched", body)


@step
def patch_each_type(world):
    for kind in ["merge-patch", "strategic-merge-patch"]:
        body = {"metadata": {"labels": {kind: "yes"}}}
        patch = world.api.patch_certificate_signing_request
        labels = patch("patched", body, _content_type=f"application/{kind}+json").metadata.labels
        assert labels[kind] == "yes", labels


@step
def patch_subresources(world):
    noted = {"type": "Noted", "status": "True"}
    body = {"status": {"conditions": [noted]}}
    answer = world.api.patch_certificate_signing_request_status("patched", body)
    assert [one.type for one in answer.status.conditions] == ["Noted"]
    body = [{"op": "add", "path": "/status/conditions/-", "value": {"type": "Approved", "status": "True"}}]
    answer = world.api.patch_certificate_signing_request_approval("patched", body)
    assert [one.type for one in answer.status.conditions] == ["Noted", "Approved"]


@step
def apply_typed(world):
    body = client.ApiClient().sanitize_for_serialization(world.request("applied"))
    patch = world.api.patch_certificate_signing_request
    answer = patch("applied", body, field_manager="python", _content_type="application/apply-patch+yaml")
    assert answer.metadata.managed_fields[0].manager == "python", answer.metadata


@step
def list_selected(world):
    list_requests = world.api.list_certificate_signing_request
    names = [one.metadata.name for one in list_requests(label_selector="dict=yes,client in (python)").items]
    assert names == ["patched"], names
    names = [one.metadata.name for one in list_requests(field_selector=f"spec.signerName={SIGNER}").items]
    assert names == ["issued"], names
    refused(400, "BadRequest", list_requests, field_selector="spec.username=admin")


@step
def list_pages(world):
    for index in range(PAGES):
        world.api.create_certificate_signing_request(world.request(f"page-{index}"))
    names, token = [], None
    while True:
        page = world.api.list_certificate_signing_request(label_selector=SELECTOR, limit=2, _continue=token)
        assert 1 <= len(page.items) <= 2, len(page.items)
        names += [one.metadata.name for one in page.items]
        token = page.metadata._continue  # pylint: disable=protected-access
        if not token:
            break
    whole = world.api.list_certificate_signing_request(label_selector=SELECTOR, resource_version="0")
    assert sorted(names) == sorted(one.metadata.name for one in whole.items), names
    assert len(names) == len(set(names)) >= PAGES, names


@step
def watch_changes(world):
    version_now = world.api.list_certificate_signing_request(limit=1).metadata.resource_version

    def change():
        world.create("watched")
        world.api.patch_certificate_signing_request("watched", {"metadata": {"labels": {"seen": "yes"}}})
        world.api.delete_certificate_signing_request("watched")

    threading.Timer(0.3, change).start()
    seen = []
    watcher = watch.Watch()
    stream = watcher.stream(
        world.api.list_certificate_signing_request,
        label_selector=SELECTOR,
        resource_version=version_now,
        allow_watch_bookmarks=True,
        timeout_seconds=SECONDS_MAX,
    )
    for event in stream:
        if event["type"] != "BOOKMARK":
            assert event["object"].metadata.name == "watched", event
            seen.append(event["type"])
        if event["type"] == "DELETED":
            watcher.stop()
    assert seen == ["ADDED", "MODIFIED", "DELETED"], seen


@step
def informer(world):
    informed = SharedInformer(world.api.list_certificate_signing_request, label_selector=SELECTOR)
    added, deleted = threading.Event(), threading.Event()

    def sets(event):
        return lambda one: event.set() if one.metadata.name == "informed" else None

    informed.add_event_handler("ADDED", sets(added))
    informed.add_event_handler("DELETED", sets(deleted))
    informed.start()
    try:
        world.create("informed")
        assert added.wait(SECONDS_MAX), "the informer does not see a new request"
        world.api.delete_certificate_signing_request("informed")
        assert deleted.wait(SECONDS_MAX), "the informer does not see that it went"
    finally:
        informed.stop()


def of_dynamic_client():
    found = dynamic.DynamicClient(client.ApiClient())
    return found.resources.get(api_version="certificates.k8s.io/v1", kind="CertificateSigningRequest")


@step
def dynamic_client(world):
    requests = of_dynamic_client()
    body = client.ApiClient().sanitize_for_serialization(world.request("dynamic"))
    assert requests.create(body=body).metadata.uid
    merge = "application/merge-patch+json"
    body = {"metadata": {"annotations": {"note": "merged"}}}
    assert requests.patch(name="dynamic", body=body, content_type=merge).metadata.annotations.note == "merged"
    body = {"metadata": {"annotations": {"note": "strategic"}}}
    assert requests.patch(name="dynamic", body=body).metadata.annotations.note == "strategic"
    for event in requests.watch(name="dynamic", timeout=SECONDS_MAX):
        assert event["object"].metadata.name == "dynamic"
        break
    requests.delete(name="dynamic")
    assert "dynamic" not in [one.metadata.name for one in requests.get(label_selector=SELECTOR).items]


@step
def apply_dynamic(world):
    requests = of_dynamic_client()
    body = client.ApiClient().sanitize_for_serialization(world.request("applied-dynamic"))
    answer = requests.server_side_apply(body=body, field_manager="python")
    assert answer.metadata.managedFields[0].manager == "python"


@step
def asyncio_client(world):
    async def play():
        await aio_config.load_kube_config(config_file=world.kubeconfig)
        async with aio_client.ApiClient() as api_client:
            api = aio_client.CertificatesV1Api(api_client)
            body = client.ApiClient().sanitize_for_serialization(world.request("async"))
            await api.create_certificate_signing_request(body)
            async with aio_watch.Watch() as watcher:
                stream = watcher.stream(
                    api.list_certificate_signing_request,
                    field_selector="metadata.name=async",
                    timeout_seconds=SECONDS_MAX,
                )
                async for event in stream:
                    assert event["object"].metadata.name == "async", event
                    break
            await api.delete_certificate_signing_request("async")

    asyncio.run(play())


@step
def access_reviews(_world):
    attributes = client.V1ResourceAttributes(group="certificates.k8s.io", resource="certificatesigningrequests", verb="create")
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
    who = client.AuthenticationV1Api().create_self_subject_review(client.V1SelfSubjectReview())
    assert who.status.user_info.username == "admin", who


@step
def secrets_and_configmaps(world):
    namespace = client.V1Namespace(metadata=client.V1ObjectMeta(name="python"))
    world.core.create_namespace(namespace)
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="key"), string_data={"a": "b"})
    world.core.create_namespaced_secret("python", secret)
    assert world.core.read_namespaced_secret("key", "python").data == {"a": "Yg=="}
    settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"soup": "1"})
    world.core.create_namespaced_config_map("python", settings)
    world.core.patch_namespaced_config_map("settings", "python", {"data": {"tea": "2"}})
    assert world.core.read_namespaced_config_map("settings", "python").data == {"soup": "1", "tea": "2"}
    names = [one.metadata.name for one in world.core.list_config_map_for_all_namespaces().items]
    assert "settings" in names, names
    world.core.delete_namespace("python")


@step
def events_nodes_pods(world):
    now = datetime.datetime.now(datetime.timezone.utc)
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name="python.1", namespace="default"),
        involved_object=client.V1ObjectReference(kind="CertificateSigningRequest", name="issued"),
        reason="Seen", message="by a script", type="Normal", first_timestamp=now, last_timestamp=now, count=1,
        event_time=None, source=client.V1EventSource(component="python"),
    )
    world.core.create_namespaced_event("default", event)
    found = world.core.list_namespaced_event("default", field_selector="involvedObject.name=issued,reason=Seen")
    assert [one.message for one in found.items] == ["by a script"], found.items
    world.core.create_node(client.V1Node(metadata=client.V1ObjectMeta(name="python-node")))
    body = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert world.core.patch_node_status("python-node", body).status.conditions[0].type == "Ready"
    world.core.delete_node("python-node")
    assert isinstance(world.core.list_pod_for_all_namespaces().items, list)


@step
def leader_election(_world):
    """A holder of a Lease, whose times have microseconds."""
    led = threading.Event()
    lock = LeaseLock("python-leader", "default", "one")
    election = electionconfig.Config(
        lock, lease_duration=9, renew_deadline=7, retry_period=2, onstarted_leading=led.set, onstopped_leading=lambda: None
    )
    threading.Thread(target=leaderelection.LeaderElection(election).run, daemon=True).start()
    assert led.wait(SECONDS_MAX), "nobody leads"
    lease = client.CoordinationV1Api().read_namespaced_lease("python-leader", "default")
    assert lease.spec.holder_identity == "one" and lease.spec.renew_time is not None, lease.spec


@step
def delete(world):
    options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    refused(409, "Conflict", world.api.delete_certificate_signing_request, "denied", body=options)
    answer = world.api.delete_certificate_signing_request("denied", propagation_policy="Background")
    assert answer["status"] == "Success", answer
    refused(404, "NotFound", world.read, "denied")
    refused(404, "NotFound", world.api.delete_certificate_signing_request, "denied")


@step
def delete_collection(world):
    world.api.delete_collection_certificate_signing_request(label_selector=SELECTOR)
    assert world.api.list_certificate_signing_request(label_selector=SELECTOR).items == []


if __name__ == "__main__":
    main()
