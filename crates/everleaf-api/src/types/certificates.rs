//! `certificates.k8s.io`.

use super::table::*;

/// CertificateSigningRequest.
pub static CERTIFICATE_SIGNING_REQUEST: Type = Type {
    group: "certificates.k8s.io",
    version: "v1",
    kind: "CertificateSigningRequest",
    message: &Message::new(
        "CertificateSigningRequest",
        "Asks a signer for a certificate; approved or denied, then issued or failed.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "The requested certificate and who requested it; immutable."),
            f("status", 3, Nested(&STATUS), Always, "Decision and issued certificate."),
        ],
    ),
};

static SPEC: Message = Message::new(
    "CertificateSigningRequestSpec",
    "The requested certificate and who requested it.",
    &[
        f("request", 1, Bytes, Always, "PKCS#10 request in a PEM block CERTIFICATE REQUEST."),
        f("signerName", 7, String, Always, "Name of the requested signer, such as kubernetes.io/kubelet-serving."),
        f("expirationSeconds", 8, Int32, Pointer, "Requested lifetime in seconds, at least 600; the signer may issue a shorter one."),
        f("usages", 5, List(&String, Atomic), OmitEmpty, "Requested key usages, such as client auth."),
        f("username", 2, String, OmitEmpty, "Requestor; set by the server."),
        f("uid", 3, String, OmitEmpty, "Requestor's UID; set by the server."),
        f("groups", 4, List(&String, Atomic), OmitEmpty, "Requestor's groups; set by the server."),
        f("extra", 6, Map(&ExtraValue), OmitEmpty, "Requestor's further attributes; set by the server."),
    ],
);

static STATUS: Message = Message::new(
    "CertificateSigningRequestStatus",
    "Decision and issued certificate.",
    &[
        f("conditions", 1, List(&Nested(&CONDITION), Keyed(&["type"])), OmitEmpty, "Approved, Denied, Failed and others."),
        f("certificate", 2, Bytes, OmitEmpty, "Issued chain as PEM, leaf first; set once by the signer."),
    ],
);

static CONDITION: Message = Message::new(
    "CertificateSigningRequestCondition",
    "An observation about the request, such as its approval.",
    &[
        f("type", 1, String, Always, "Approved, Denied, Failed or another name."),
        f("status", 6, String, Always, "True, False or Unknown; the known types are always True."),
        f("reason", 2, String, OmitEmpty, "Machine-readable reason, in CamelCase."),
        f("message", 3, String, OmitEmpty, "For people."),
        f("lastUpdateTime", 4, Time, Always, "When the condition was last written."),
        f("lastTransitionTime", 5, Time, Always, "When its status last changed."),
    ],
);
