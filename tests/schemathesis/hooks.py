"""What schemathesis has to know of a Kubernetes API besides its OpenAPI document."""

import json
import random

import schemathesis
from schemathesis.core.failures import Failure

# Below the patience of a request; without it a watch lasts for half an hour.
WATCH_SECONDS = "1"
# What most objects are called.
NAMES = ["a", "b", "example.com:a", "default"]
# Values of parameters; None: leave it out.
WORDS = {
    "dryRun": [None, None, "All"],
    "fieldManager": [None, "m"],
    "fieldValidation": [None, "Ignore", "Warn", "Strict"],
    "force": [None, None, "true"],
    "propagationPolicy": [None, "Background", "Foreground", "Orphan"],
    "orphanDependents": [None, None, "true"],
    "gracePeriodSeconds": [None, "0", "5"],
    "ignoreStoreReadErrorWithClusterBreakingPotential": [None],
    "labelSelector": [None, "a", "a=b", "a in (b,c)", "!a"],
    "fieldSelector": [None, "metadata.name=a", "metadata.name!=b"],
    "resourceVersion": [None, None, "0", "1"],
    "resourceVersionMatch": [None, None, None, "Exact", "NotOlderThan"],
    "sendInitialEvents": [None, None, None, "true"],
    "continue": [None, None, None, "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYlx1MDAwMCJ9"],
    "limit": [None, None, "1"],
}
# What Go prints as null when it is not there: definitions, or members of them.
NULLS = [
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", None),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", None),
    ("io.k8s.api.rbac.v1.ClusterRole", "rules"),
    ("io.k8s.api.rbac.v1.Role", "rules"),
    ("io.k8s.api.storage.v1.CSINodeSpec", "drivers"),
    ("io.k8s.api.authentication.v1.TokenRequestSpec", "boundObjectRef"),
]
# Answers of Kubernetes' API conventions that no OpenAPI document of it names one by one: `default`.
# 504 is for a resource version that is still to come, and for nothing else.
REFUSALS = {400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 504}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """`*/*` is what a body may be; these are the forms that there are. And what nobody set is null
    in some places, of which Kubernetes' own documents tell nothing."""
    definitions = raw_schema["definitions"]
    for name, member in NULLS:
        schema = definitions[name]["properties"] if member else definitions
        member = member or name
        if "$ref" in schema[member]:
            # Nothing beside a reference counts.
            schema[member] = {"allOf": [schema[member]]}
        schema[member]["x-nullable"] = True
    for path in raw_schema["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and operation.get("consumes") == ["*/*"]:
                operation["consumes"] = ["application/json", "application/yaml"]


def is_watch(case):
    wanted = (case.query or {}).get("watch")
    return "/watch/" in case.path or wanted in (True, "true", "True", "1", "t", "", ["true"])


@schemathesis.hook
def before_call(context, case, kwargs):
    """Most requests are about a namespace that there is and about few names, so that one finds what
    another one left, and have parameters that mean something: what is refused at once tries nothing
    else. Watches end soon."""
    if random.random() < 0.7:
        settle_path(case.path_parameters or {})
        settle_query(case.query or {})
        if isinstance(case.body, dict):
            settle_body(case.body)
    if is_watch(case) or "watch" in (case.query or {}):
        case.query = {**(case.query or {}), "timeoutSeconds": WATCH_SECONDS}


def settle_path(parameters):
    if "namespace" in parameters:
        parameters["namespace"] = "default"
    if "name" in parameters:
        parameters["name"] = random.choice(NAMES)


def settle_query(query):
    for name, words in WORDS.items():
        if name in query:
            word = random.choice(words)
            query.pop(name)
            if word is not None:
                query[name] = word


def settle_body(body):
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        metadata = body["metadata"] = {}
    for unlikely in ("namespace", "uid", "resourceVersion", "deletionTimestamp"):
        metadata.pop(unlikely, None)
    metadata["name"] = random.choice(NAMES)
    if random.random() < 0.7:
        for unlikely in ("finalizers", "ownerReferences", "managedFields", "labels", "annotations"):
            metadata.pop(unlikely, None)
    if random.random() < 0.7:
        body.pop("apiVersion", None)
        body.pop("kind", None)


@schemathesis.hook
def after_call(context, case, response):
    """An event of a watch is what the document of a watch describes; nothing describes that of a
    list which was asked to watch."""
    if response.status_code != 200 or not is_watch(case):
        return
    if "json" not in response.headers.get("content-type", [""])[0]:
        return
    frames, text = [], response.content.decode().strip()
    while text:
        frame, end = json.JSONDecoder().raw_decode(text)
        assert set(frame) == {"type", "object"}, frame
        frames.append(frame)
        text = text[end:].strip()
    if "/watch/" in case.path:
        shown = frames[0] if frames else {"type": "BOOKMARK", "object": {}}
    else:
        shown = {"items": []}
    response.content = json.dumps(shown).encode()


@schemathesis.check
def refusals_are_kubernetes_refusals(ctx, response, case):
    """A refusal has a code of the API conventions, and a Status that says why."""
    code = response.status_code
    if code < 400:
        return
    if code not in REFUSALS:
        raise Failure(operation=case.operation.label, title="An unknown refusal", message=str(code))
    content_type = response.headers.get("content-type", [""])[0]
    if "json" not in content_type:
        return
    status = json.loads(response.content)
    is_status = status.get("kind") == "Status" and status.get("code") == code
    is_future = "ResourceVersionTooLarge" in response.text or "Too large resource version" in response.text
    if not is_status or not status.get("message") or (code == 504 and not is_future):
        raise Failure(
            operation=case.operation.label, title="A refusal without its Status", message=response.text[:500]
        )
