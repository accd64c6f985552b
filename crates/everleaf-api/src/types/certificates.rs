//! `certificates.k8s.io`.

use super::meta;
use super::table::*;

const V1: Package = Package("io.k8s.api.certificates.v1");
const V1_BETA: Package = Package("io.k8s.api.certificates.v1beta1");
const V1_ALPHA: Package = Package("io.k8s.api.certificates.v1alpha1");

/// CertificateSigningRequest.
pub static CERTIFICATE_SIGNING_REQUEST: Type = Type {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "CertificateSigningRequest",
    message: &V1.message(
        "CertificateSigningRequest",
        "Asks a signer for a certificate; approved or denied, then issued or failed.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "The requested certificate and who requested it; immutable.").required(),
            f("status", 3, Nested(&STATUS), Always, "Decision and issued certificate."),
        ],
    ),
};

/// What a certificate may be used for (RFC 5280 section 4.2.1.3 and 4.2.1.12, under the names of
/// `k8s.io/api/certificates/v1`).
pub const USAGES: &[&str] = &[
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign",
    "data encipherment", "decipher only", "digital signature", "email protection", "encipher only",
    "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment",
    "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing",
    "timestamping",
];

static SPEC: Message = V1.message(
    "CertificateSigningRequestSpec",
    "The requested certificate and who requested it.",
    &[
        f("request", 1, Bytes, Always, "PKCS#10 request in a PEM block CERTIFICATE REQUEST.").required(),
        f("signerName", 7, String, Always, "Name of the requested signer, such as kubernetes.io/kubelet-serving.").required(),
        f("expirationSeconds", 8, Int32, Pointer, "Requested lifetime in seconds, at least 600; the signer may issue a shorter one."),
        f("usages", 5, List(&String, Atomic), OmitEmpty, "Requested key usages, such as client auth.").one_of(USAGES),
        f("username", 2, String, OmitEmpty, "Requestor; set by the server."),
        f("uid", 3, String, OmitEmpty, "Requestor's UID; set by the server."),
        f("groups", 4, List(&String, Atomic), OmitEmpty, "Requestor's groups; set by the server."),
        f("extra", 6, Map(&ExtraValue), OmitEmpty, "Requestor's further attributes; set by the server."),
    ],
);

static STATUS: Message = V1.message(
    "CertificateSigningRequestStatus",
    "Decision and issued certificate.",
    &[
        f("conditions", 1, List(&Nested(&CONDITION), Keyed(&["type"])), OmitEmpty, "Approved, Denied, Failed and others."),
        f("certificate", 2, Bytes, OmitEmpty, "Issued chain as PEM, leaf first; set once by the signer."),
    ],
);

static CONDITION: Message = V1.message(
    "CertificateSigningRequestCondition",
    "An observation about the request, such as its approval.",
    &[
        f("type", 1, String, Always, "Approved, Denied, Failed or another name.").required(),
        f("status", 6, String, Always, "True, False or Unknown; the known types are always True.").required(),
        f("reason", 2, String, OmitEmpty, "Machine-readable reason, in CamelCase."),
        f("message", 3, String, OmitEmpty, "For people."),
        f("lastUpdateTime", 4, Time, Always, "When the condition was last written."),
        f("lastTransitionTime", 5, Time, Always, "When its status last changed."),
    ],
);

/// ClusterTrustBundle.
pub static CLUSTER_TRUST_BUNDLE: Type = Type {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "ClusterTrustBundle",
    message: &V1.message("ClusterTrustBundle", BUNDLE_DOC, &[METADATA, bundle_spec(&BUNDLE_SPEC)]),
};

/// ClusterTrustBundle (v1beta1).
pub static BETA_CLUSTER_TRUST_BUNDLE: Type = Type {
    group: "certificates.k8s.io",
    version: "v1beta1",
    kind: "ClusterTrustBundle",
    message: &V1_BETA.message("ClusterTrustBundle", BUNDLE_DOC, &[METADATA, bundle_spec(&BETA_BUNDLE_SPEC)]),
};

/// ClusterTrustBundle (v1alpha1).
pub static ALPHA_CLUSTER_TRUST_BUNDLE: Type = Type {
    group: "certificates.k8s.io",
    version: "v1alpha1",
    kind: "ClusterTrustBundle",
    message: &V1_ALPHA.message("ClusterTrustBundle", BUNDLE_DOC, &[METADATA, bundle_spec(&ALPHA_BUNDLE_SPEC)]),
};

const BUNDLE_DOC: &str = "Certificates of authorities that pods may mount; every authenticated user of a cluster may read them.";

const fn bundle_spec(spec: &'static Message) -> Field {
    f("spec", 2, Nested(spec), Always, "The authorities, and the signer they belong to.").required()
}

static BUNDLE_SPEC: Message = V1.message("ClusterTrustBundleSpec", BUNDLE_SPEC_DOC, BUNDLE_SPEC_FIELDS);
static BETA_BUNDLE_SPEC: Message = V1_BETA.message("ClusterTrustBundleSpec", BUNDLE_SPEC_DOC, BUNDLE_SPEC_FIELDS);
static ALPHA_BUNDLE_SPEC: Message = V1_ALPHA.message("ClusterTrustBundleSpec", BUNDLE_SPEC_DOC, BUNDLE_SPEC_FIELDS);

const BUNDLE_SPEC_DOC: &str = "Authorities, and the signer they belong to.";
const BUNDLE_SPEC_FIELDS: &[Field] = &[
    f("signerName", 1, String, OmitEmpty, "Signer that the authorities belong to; who writes it needs the verb attest on that signer, and the name of the object begins with it (example.com:one: for example.com/one). Immutable."),
    f("trustBundle", 2, String, Always, "Certificates of authorities, as PEM, in no order: at least one, none twice, no block headers, at most 1 MiB.").required(),
];

/// PodCertificateRequest.
pub static POD_CERTIFICATE_REQUEST: Type = Type {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "PodCertificateRequest",
    message: &V1.message("PodCertificateRequest", POD_DOC, &[METADATA, pod_spec(&POD_SPEC), pod_status(&POD_STATUS)]),
};

/// PodCertificateRequest (v1beta1).
pub static BETA_POD_CERTIFICATE_REQUEST: Type = Type {
    group: "certificates.k8s.io",
    version: "v1beta1",
    kind: "PodCertificateRequest",
    message: &V1_BETA.message("PodCertificateRequest", POD_DOC, &[METADATA, pod_spec(&BETA_POD_SPEC), pod_status(&BETA_POD_STATUS)]),
};

const POD_DOC: &str = "Asks a signer for the certificate of a pod, which its kubelet mounts as a projected volume; issued, denied or failed.";

const fn pod_spec(spec: &'static Message) -> Field {
    f("spec", 2, Nested(spec), Always, "The pod, the signer and the key; immutable.").required()
}

const fn pod_status(status: &'static Message) -> Field {
    f("status", 3, Nested(status), Always, "What the signer made of it.")
}

static POD_SPEC: Message = V1.message(
    "PodCertificateRequestSpec",
    POD_SPEC_DOC,
    &[
        SIGNER_NAME, POD_NAME, POD_UID, SERVICE_ACCOUNT_NAME, SERVICE_ACCOUNT_UID, NODE_NAME, NODE_UID, MAX_EXPIRATION_SECONDS,
        STUB_REQUEST, USER_ANNOTATIONS,
    ],
);

static BETA_POD_SPEC: Message = V1_BETA.message(
    "PodCertificateRequestSpec",
    POD_SPEC_DOC,
    &[
        SIGNER_NAME, POD_NAME, POD_UID, SERVICE_ACCOUNT_NAME, SERVICE_ACCOUNT_UID, NODE_NAME, NODE_UID, MAX_EXPIRATION_SECONDS,
        f("pkixPublicKey", 9, Bytes, Always, "The pod's public key, SubjectPublicKeyInfo DER, of the kinds that stubPKCS10Request takes. Deprecated: use stubPKCS10Request, beside which it must be empty."),
        f("proofOfPossession", 10, Bytes, Always, "Signature over the pod's UID with that key: RSASSA-PSS with SHA-256, ECDSA with SHA-256 (ASN.1), or Ed25519. Deprecated: use stubPKCS10Request, beside which it must be empty."),
        STUB_REQUEST, USER_ANNOTATIONS,
    ],
);

const POD_SPEC_DOC: &str = "The pod, the signer and the key.";
const SIGNER_NAME: Field = f("signerName", 1, String, Always, "Name of the requested signer, such as example.com/pods.").required();
const POD_NAME: Field = f("podName", 2, String, Always, "Name of the pod.").required();
const POD_UID: Field = f("podUID", 3, String, Always, "UID of the pod.").required();
const SERVICE_ACCOUNT_NAME: Field = f("serviceAccountName", 4, String, Always, "Name of the service account that the pod runs as.").required();
const SERVICE_ACCOUNT_UID: Field = f("serviceAccountUID", 5, String, Always, "UID of that service account.").required();
const NODE_NAME: Field = f("nodeName", 6, String, Always, "Name of the node that the pod runs on.").required();
const NODE_UID: Field = f("nodeUID", 7, String, Always, "UID of that node.").required();
const MAX_EXPIRATION_SECONDS: Field = f("maxExpirationSeconds", 8, Int32, Pointer, "Longest lifetime in seconds, from 3600 to 7862400 (91 days; signers of kubernetes.io: to 86400); the signer may issue a shorter one, of at least 3600. Without it, 86400.").default_number(86_400);
const STUB_REQUEST: Field = f("stubPKCS10Request", 12, Bytes, Always, "PKCS#10 request, DER, signed with the pod's key: RSA of 3072 or 4096 bits, ECDSA on P-256, P-384 or P-521, or Ed25519. Signers look at its key alone; kubelets ask for nothing else in it.").required();
const USER_ANNOTATIONS: Field = f("unverifiedUserAnnotations", 11, Map(&String), OmitEmpty, "What the pod's author tells the signer, by keys with a domain; nobody has verified it. A signer denies keys that it does not know.");

static POD_STATUS: Message = V1.message("PodCertificateRequestStatus", POD_STATUS_DOC, POD_STATUS_FIELDS);
static BETA_POD_STATUS: Message = V1_BETA.message("PodCertificateRequestStatus", POD_STATUS_DOC, POD_STATUS_FIELDS);

const POD_STATUS_DOC: &str = "What the signer made of a request.";
static POD_STATUS_FIELDS: &[Field] = &[
    f("conditions", 1, List(&Nested(&meta::CONDITION), Keyed(&["type"])), OmitEmpty, "At most one of Issued, Denied and Failed, with status True. Nothing changes after it.").merged_by("type"),
    f("certificateChain", 2, String, OmitEmpty, "Issued chain as PEM, leaf first; set once by the signer."),
    f("notBefore", 4, Time, Pointer, "Beginning of the leaf; set with the chain."),
    f("beginRefreshAt", 5, Time, Pointer, "When the kubelet should begin to renew: at least 10 minutes after notBefore and before notAfter; set with the chain."),
    f("notAfter", 6, Time, Pointer, "End of the leaf; set with the chain."),
];
