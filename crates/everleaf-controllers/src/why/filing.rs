//! How a request is kept, corrected, deleted and filed again, as commands.
//!
//! Rows of the catalogue name a correction and then [`DELETE`]; what has to be around these is the
//! same for all: a copy first, and the right one files it again.

use super::Fault;

/// Deletes a request.
pub(super) const DELETE: &str = "kubectl delete csr {csr}";
/// Keeps a request in a file, without what the API server sets. After a deletion it changes
/// nothing.
const KEEP: &str = "kubectl get csr {csr} -o yaml > {csr}.old.yaml && grep -v -e resourceVersion: -e ' uid:' {csr}.old.yaml > {csr}.yaml";
/// Puts another PKCS#10 request into the file. Subject, names and key stand in what is signed.
const PUT: &str = "sed -i \"s|^  request: .*|  request: $(base64 -w0 {csr}.pem)|\" {csr}.yaml";
/// Makes a PKCS#10 request with a serving certificate's names.
const SERVING: &str = "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem   # with the right names and addresses";

/// Who files the request again.
enum Filer {
    Unknown,
    Node,
    Bootstrap,
    Other,
}

impl Filer {
    /// Who has to file it: whoever did, unless that was the fault.
    fn of(fault: Fault, filer: &str) -> Self {
        match filer {
            _ if fault == Fault::ServingRequestor => Self::Node,
            _ if fault == Fault::AnonymousRequestor => Self::Bootstrap,
            "" => Self::Unknown,
            name if name.starts_with("system:node:") => Self::Node,
            name if name.starts_with("system:bootstrap:") => Self::Bootstrap,
            _ => Self::Other,
        }
    }

    /// What files a request without a person, where something does.
    fn by_itself(&self) -> Option<&'static str> {
        match self {
            Self::Node | Self::Bootstrap => Some(
                "systemctl restart kubelet   # on the machine (everleaf agent: restart that): it files another one by itself; what follows is the way by hand",
            ),
            Self::Unknown | Self::Other => None,
        }
    }

    fn by_hand(&self) -> &'static str {
        match self {
            Self::Unknown => {
                "kubectl --kubeconfig FILER.conf create -f {csr}.yaml   # by whoever filed it"
            }
            Self::Node => {
                "kubectl --kubeconfig NODE.conf create -f {csr}.yaml   # with the node's own certificate"
            }
            Self::Bootstrap => {
                "kubectl --kubeconfig BOOTSTRAP.conf create -f {csr}.yaml   # with the bootstrap token"
            }
            Self::Other => "kubectl create -f {csr}.yaml   # as {requestor} or an administrator",
        }
    }
}

/// Whether a command corrects the copy, or what goes into it.
fn corrects(command: &str) -> bool {
    let begins = [
        "vi {csr}.yaml",
        "sed -i ",
        "openssl req -new",
        "openssl ecparam",
    ];
    begins.iter().any(|begin| command.starts_with(begin))
}

/// The commands of a row, with what has to be around a deletion. Others stay as they are.
pub(super) fn completed(fault: Fault, filer: &str, commands: &[&'static str]) -> Vec<&'static str> {
    if !commands.contains(&DELETE) {
        return commands.to_vec();
    }
    let filer = Filer::of(fault, filer);
    let first = commands
        .iter()
        .position(|command| corrects(command) || *command == DELETE)
        .unwrap_or_default();
    let (looks, rest) = commands.split_at(first);
    let mut texts = looks.to_vec();
    texts.extend(filer.by_itself());
    texts.push(KEEP);
    for command in rest {
        let is_request = command.starts_with("openssl req -new");
        texts.push(command);
        if is_request {
            texts.push(PUT);
        }
    }
    texts.push(filer.by_hand());
    texts
}

/// What a request needs that was denied for this, besides being filed again.
pub(super) fn correction(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::ServingCount
        | Fault::ServingNames
        | Fault::ServingAddresses
        | Fault::ServingNodeNames
        | Fault::ServingRanges
        | Fault::ServingInventory
        | Fault::ServingDns
        | Fault::ServingRenewal => &[SERVING, DELETE],
        Fault::ServingLifetime => &["vi {csr}.yaml   # correct spec.expirationSeconds", DELETE],
        _ => &[DELETE],
    }
}
