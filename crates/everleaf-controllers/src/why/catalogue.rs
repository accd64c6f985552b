//! The catalogue: one row per fault, by place. See [`Entry`] for what the columns mean.

use super::fault::{Entry, Place};
use std::fmt;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().id)
    }
}

macro_rules! catalogue {
    ($($fault:ident $id:literal $place:ident
        $title:literal
        $cause:literal
        $remedy:literal
        [$($command:literal),*];)*) => {
        /// A reason why a node has no certificate, or will not keep it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = $title] $fault,)*
        }

        impl Fault {
            /// The whole catalogue, by place.
            pub const ALL: &'static [Self] = &[$(Self::$fault),*];

            /// It in words.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$fault => Entry {
                        fault: self,
                        id: $id,
                        place: Place::$place,
                        title: $title,
                        cause: $cause,
                        remedy: $remedy,
                        commands: &[$($command),*],
                    },)*
                }
            }
        }
    };
}

catalogue! {
    RequestGone "request-gone" Missing
        "There is no request of this name"
        "Controllers delete requests: an hour after they were decided, a day after they were filed, at once when their certificate has ended. A node that still needs one files another."
        "Look for a newer request of the same node, or make the node file one."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp", "everleaf why node/{node}"];

    RequestUnreadable "request-unreadable" Pending
        "What the request holds is no certificate request"
        "spec.request must be one PEM block CERTIFICATE REQUEST with a PKCS#10 request in it, base64-encoded once more by whoever writes the object."
        "File it anew; encode the PEM file once."
        ["openssl req -in {csr}.pem -noout -verify   # look: the request, as one PEM file", "sed -i \"s|^  request: .*|  request: $(base64 -w0 {csr}.pem)|\" {csr}.yaml   # encoded once", "kubectl delete csr {csr}"];
    RequestSignature "request-signature" Pending
        "The request is not signed with its own key"
        "The signature shows that the requestor has the private key. It does not fit: the file was damaged, or key and request were mixed up."
        "Make a new request with the key that the node has."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    SignerMisspelt "signer-misspelt" Pending
        "No signer of Kubernetes has this name"
        "Names below kubernetes.io/ belong to Kubernetes, which has four: kube-apiserver-client, kube-apiserver-client-kubelet, kubelet-serving, legacy-unknown. Nobody will ever decide about another one."
        "File it anew under the name that is meant."
        ["vi {csr}.yaml   # correct spec.signerName", "kubectl delete csr {csr}"];
    SignerForeign "signer-foreign" Pending
        "The signer is none of Kubernetes' own"
        "Kubernetes' controllers leave it alone. Whoever installed that signer runs the program that approves and signs for it."
        "Look whether that program runs, and what it logs."
        ["kubectl get pods -A | grep -i -e signer -e issuer -e cert", "kubectl get clusterroles -o yaml | grep -B12 {signer}"];
    SignerLegacy "signer-legacy" Pending
        "Requests for kubernetes.io/legacy-unknown wait for a person"
        "Nobody approves them automatically, and API servers trust what this signer issues for nothing in particular. Only the old API certificates.k8s.io/v1beta1 makes them."
        "Name the signer that is meant; approve by hand only what you know."
        ["kubectl describe csr {csr}", "kubectl certificate approve {csr}"];
    ManualApproval "manual-approval" Pending
        "Requests for kubernetes.io/kube-apiserver-client wait for a person"
        "A certificate of this signer can make anybody a user of the cluster, so none is approved automatically."
        "Look at subject and requestor, then approve or deny."
        ["kubectl get csr {csr} -o jsonpath='{.spec.request}' | base64 -d | openssl req -noout -text", "kubectl certificate approve {csr}"];
    BeingDeleted "being-deleted" Pending
        "The request is being deleted"
        "It has a deletion time, and a finalizer that holds it. No controller works on it any more."
        "Let the program that set the finalizer finish, or remove it."
        ["kubectl patch csr {csr} --type=merge -p '{\"metadata\":{\"finalizers\":null}}'"];
    ApproverAbsent "approver-absent" Pending
        "No controller that approves is running"
        "Nobody holds the Lease kube-system/kube-controller-manager, so neither a kube-controller-manager nor everleaf controllers is at work."
        "Look first whether a kube-controller-manager is there and fails. If none is, start one, or Everleaf's: CONTROLLERS.conf is a kubeconfig of the user system:kube-controller-manager (kubeadm: /etc/kubernetes/controller-manager.conf), CA.crt and CA.key are the cluster's CA (kubeadm: /etc/kubernetes/pki), without which it approves and does not sign."
        ["kubectl -n kube-system get pods -l component=kube-controller-manager   # look", "kubectl -n kube-system get lease kube-controller-manager   # look", "everleaf controllers --kubeconfig CONTROLLERS.conf --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key   # mend: start"];
    ControllersUnseen "controllers-unseen" Pending
        "Whether controllers run cannot be seen from here"
        "The API server is Everleaf's. Under `everleaf up` it has controllers that hold no Lease; `everleaf apiserver` alone has none. The requests that are stored do not tell which it is."
        "Look which it is: the process that serves this port. `everleaf up`: wait, or read what it logs. `everleaf apiserver` alone: start controllers; never beside up, where two sets would decide the same requests. DATA-DIR is the server's --data-dir."
        ["pgrep -a everleaf   # look, on the server's host", "everleaf why csr/{csr}   # up: once more, a minute later", "everleaf controllers --kubeconfig DATA-DIR/admin.conf --cluster-signing-cert-file DATA-DIR/pki/ca.crt --cluster-signing-key-file DATA-DIR/pki/ca.key   # apiserver alone: start; it runs until it is stopped"];
    LeaderGone "leader-gone" Pending
        "The controllers that lead have stopped renewing their Lease"
        "The holder is dead, cut off, or cannot write; the next one takes over only if another one runs."
        "Look at the holder, on the host with which its name begins, and start that program again. If the host is gone, start one elsewhere: it takes over some 15 seconds later, when the Lease has run out. CONTROLLERS.conf is a kubeconfig of the user system:kube-controller-manager (Everleaf's server: DATA-DIR/admin.conf will do), CA.crt and CA.key are the cluster's CA (DATA-DIR/pki/ca.crt and ca.key)."
        ["kubectl -n kube-system get lease {lease} -o yaml   # look", "kubectl -n kube-system logs -l component=kube-controller-manager --tail=50   # look: a pod", "journalctl --since=-1d | grep -i -e everleaf -e controller-manager | tail -n 50   # look: a process, on {host}", "everleaf controllers --kubeconfig CONTROLLERS.conf --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key   # mend, if it was Everleaf's, there or elsewhere"];
    LeaderDead "leader-dead" Pending
        "The controllers that lead are dead, and their Lease keeps others out"
        "A leader renews its Lease every two seconds; this one has not for more than a minute. Whoever else runs waits until leaseDurationSeconds are over, and these are many."
        "Make sure on its host that the holder does not run. Then delete the Lease: a controller that waits takes over within seconds. If none waits, start the one that was there."
        ["kubectl -n kube-system get lease {lease} -o yaml   # look", "pgrep -a -f 'everleaf|kube-controller-manager'   # look, on {host}", "kubectl -n kube-system delete lease {lease}   # mend"];
    ApproverSwitchedOff "approver-switched-off" Pending
        "The running kube-controller-manager does not approve"
        "Its --controllers leaves csrapproving out, and nobody else took that over."
        "Put the controller back, or run Everleaf's beside it."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep -e --controllers", "everleaf controllers --kubeconfig CONTROLLERS.conf --controllers=csrapproving --leader-elect-resource-name=everleaf-controllers"];
    ApproverNotPermitted "approver-not-permitted" Pending
        "The controllers may not approve for this signer"
        "Approving takes the verb approve on the signer, besides writing certificatesigningrequests/approval. None of the accounts under which controllers run has it."
        "Give the right back; kube-apiserver restores its own roles when it starts."
        ["kubectl auth can-i approve signers.certificates.k8s.io/{signer} --as={account}", "kubectl auth reconcile -f ROLES.yaml"];
    ApproverSilent "approver-silent" Pending
        "Nothing in its rules is against it, and the running controllers have not approved it yet"
        "The controllers run, have the rights and know the request. If they refused it before and that was mended, they try again by themselves, after a while that doubles, at most 17 minutes. What else stops them stands in their log: calls that fail, a queue that is long, a webhook that refuses."
        "Wait for the next try. If that passes, read the log of the leader around this request."
        ["kubectl -n kube-system logs -l component=kube-controller-manager --tail=-1 | grep -w -F {csr}   # a pod", "journalctl | grep -F -e 'csr=\"{csr}\"' -e 'csr={csr}'   # a process: on {host}; without a journal, its stderr", "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"];

    ClientOrganization "client-organization" PendingClient
        "The subject's organization is not system:nodes"
        "A node's certificate has exactly one organization (O), system:nodes: the API server makes it the group."
        "File it anew with the right subject."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    ClientCommonName "client-common-name" PendingClient
        "The subject's common name is no node's"
        "A node is called system:node:NAME; the API server makes the common name (CN) the user."
        "File it anew with the right subject."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    ClientAltNames "client-alt-names" PendingClient
        "A node's client certificate may not have subject alternative names"
        "Names and addresses belong into the serving certificate, which is asked of kubernetes.io/kubelet-serving."
        "File it anew without them, or for the other signer."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    ClientUsages "client-usages" PendingClient
        "The usages are not those of a kubelet as a client"
        "They must be digital signature and client auth, with key encipherment or without it, and nothing else."
        "File it anew with these usages."
        ["vi {csr}.yaml   # spec.usages: [digital signature, client auth]", "kubectl delete csr {csr}"];
    ClientNodeName "client-node-name" PendingClient
        "No Node can have the name that the subject tells"
        "What follows system:node: must be a DNS-1123 subdomain: small letters, digits, dashes and dots. Kubernetes would approve it all the same; a certificate of such a name is of no use to a node."
        "Give the node a name that fits (--hostname-override), and let it file another request."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:NAME-THAT-FITS' -out {csr}.pem", "kubectl delete csr {csr}"];
    ClientSubject "client-subject" PendingClient
        "The subject holds more than organization and common name"
        "More than one value leaves open who is meant: programs differ in which one they read."
        "File it anew with one O and one CN."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    ClientKey "client-key" PendingClient
        "The key is too weak, or of a kind that is not signed"
        "RSA needs 2048 bits or more; of elliptic curves, P-256, P-384 and P-521 are signed; and Ed25519 and ML-DSA."
        "Make a new key, and file a request with it."
        ["openssl ecparam -genkey -name prime256v1 -noout -out KEY.pem", "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    BootstrapPermission "bootstrap-permission" PendingClient
        "The requestor may not have a node's certificate"
        "The approver asks whether the requestor may create certificatesigningrequests/nodeclient, and nothing grants it. Groups of bootstrap tokens get it by a ClusterRoleBinding that somebody has to make."
        "For a bootstrap token, bind the role to its group; the request is then approved by itself within minutes. For anybody else, ask first why he wants to be a node; if nobody knows, deny it."
        ["kubectl create clusterrolebinding everleaf-node-bootstrap --clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient --group={group}"];
    BootstrapGroup "bootstrap-group" PendingClient
        "The right to bootstrap nodes is bound to others than the requestor"
        "A ClusterRoleBinding for the role exists, and the requestor is none of its subjects. The groups of a bootstrap token stand in its Secret (auth-extra-groups)."
        "For a bootstrap token, bind the role to its group, too, or make tokens in the group that has it. For anybody else, ask first why he wants to be a node; if nobody knows, deny it."
        ["kubectl create clusterrolebinding everleaf-node-bootstrap --clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient --group={group}"];
    RoleMissing "role-missing" PendingClient
        "The ClusterRole that lets nodes have certificates is gone"
        "kube-apiserver makes it when it starts; somebody has deleted it since, or RBAC is not on."
        "Make it again."
        ["kubectl create clusterrole system:certificates.k8s.io:certificatesigningrequests:{permission} --verb=create --resource=certificatesigningrequests.certificates.k8s.io/{permission}"];
    RenewalPermission "renewal-permission" PendingClient
        "Nodes may not renew their own certificates"
        "The approver asks whether the node may create certificatesigningrequests/selfnodeclient, and nothing grants it. Without it every node lapses when its first certificate ends."
        "Bind the role to the group of nodes."
        ["kubectl create clusterrolebinding everleaf-node-renewal --clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient --group=system:nodes"];
    OtherNode "other-node" PendingClient
        "A node asks for another node's certificate"
        "Nodes may renew their own certificate only. An image that was cloned with its credentials does this, or a machine that was renamed; so does an intruder."
        "Deny it. On the machine, remove the credential and let it bootstrap."
        ["kubectl certificate deny {csr}", "rm /var/lib/kubelet/pki/kubelet-client-* /etc/kubernetes/kubelet.conf   # on that machine, then restart the kubelet"];
    AnonymousRequestor "anonymous-requestor" PendingClient
        "The request was filed anonymously"
        "The API server did not take the requestor's credential for anything (an ended token, a certificate of another CA, none at all) and counts it as system:anonymous."
        "Give the node a valid bootstrap token; never grant the right to system:anonymous."
        ["kubeadm token create --print-join-command", "kubectl delete csr {csr}"];
    TokenEnded "token-ended" PendingClient
        "The bootstrap token of the requestor is gone or has ended"
        "It was good when the request was filed. Now the node cannot come back for its certificate, even if somebody approves the request."
        "Make a new token, and put it into the node's bootstrap kubeconfig."
        ["kubectl -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token", "kubeadm token create --print-join-command"];
    RotationLoop "rotation-loop" PendingClient
        "The node renews again and again, and has to wait"
        "Its certificates were replaced long before their time, many times within minutes: mostly its clock is far from the signer's, so that each new certificate looks old. The controllers let it wait longer and longer."
        "Set the node's clock; the wait ends by itself. Approval by hand is possible at any time."
        ["timedatectl status   # on the node", "everleaf why node/{node}", "kubectl certificate approve {csr}"];
    OldUsages "old-usages" PendingClient
        "This kube-controller-manager is too old for the usages of the kubelet"
        "From 1.27 on kubelets leave key encipherment out when their key is not RSA; controllers before 1.27 know only the longer set, leave client requests Pending and fail serving requests."
        "Upgrade the control plane first, or let everleaf controllers stand in; approval by hand does not help a serving request."
        ["kubectl version", "everleaf controllers --kubeconfig CONTROLLERS.conf --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key"];

    ServingNobody "serving-nobody" Serving
        "Nobody approves serving certificates in this cluster"
        "Kubernetes approves none by itself: names and addresses are the node's own word. Each waits for a person, and is deleted after a day, unless an approver with a policy runs."
        "Let Everleaf judge them, beside the controllers that are there (docs/deploy.md installs it into the cluster); or approve each by hand after looking at its names."
        ["everleaf controllers --kubeconfig APPROVER.conf --controllers=kubelet-serving-approver", "kubectl certificate approve {csr}"];
    PolicyDryRun "policy-dry-run" Serving
        "The policy for this node only tells what it would do"
        "Its mode is dry-run."
        "When its findings are right, set the mode to enforce."
        ["kubectl -n everleaf-system edit configmap everleaf-policy"];
    PolicyNone "policy-none" Serving
        "No policy is for this node"
        "Every policy of the file names nodes or labels, and none fits."
        "Add a policy for it, or one without conditions at the end."
        ["everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingPem "serving-pem" Serving
        "The request is more than one clean PEM block (rule S3)"
        "Another reader might take something else out of it than the one who approves."
        "File it anew: one block, no headers, no text that looks like another block."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    ServingKey "serving-key" Serving
        "The key, or what the request is signed with, is not allowed (rule S4)"
        "Weak keys, kinds of keys that the policy does not list, and SHA-1 are refused."
        "Make a new key on the node (remove its kubelet-server-current.pem and restart it), or list the kind under key_algorithms."
        ["openssl ecparam -genkey -name prime256v1 -noout -out KEY.pem", "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    ServingRequestor "serving-requestor" Serving
        "It was not filed by a node (rule S5)"
        "Only a node that speaks with its own client certificate may ask for its serving certificate; a person, a token or a service account may not ask in its name."
        "Let the node file one, with its own client certificate; nobody else can for this signer, an administrator neither. This request may be filed again only if its key was made on that node and is there; else the node makes another one."
        ["kubectl get csr {csr} -o jsonpath='{.spec.username}'   # look: who filed it"];
    ServingGroups "serving-groups" Serving
        "The requestor is called like a node and is not in the groups of nodes (rule S6)"
        "A credential with the common name system:node:… and without the organization system:nodes was made by somebody else than the node signer."
        "Find out who made that credential; deny the request."
        ["kubectl certificate deny {csr}"];
    ServingSubject "serving-subject" Serving
        "The subject is not the node that asks (rule S7)"
        "A node may ask for itself alone: CN its own user name, O system:nodes, nothing else."
        "On a machine that was renamed, remove its old credential; else deny the request."
        ["kubectl certificate deny {csr}"];
    ServingUsages "serving-usages" Serving
        "The usages are not those of a kubelet as a server (rule S8)"
        "They must be digital signature and server auth, with key encipherment or without it, and nothing else."
        "File it anew with these usages."
        ["vi {csr}.yaml   # spec.usages: [digital signature, server auth]", "kubectl delete csr {csr}"];
    ServingExtensions "serving-extensions" Serving
        "It asks for more than DNS names and addresses (rule S9)"
        "URIs, e-mail addresses, other names and further extensions have no place in a kubelet's certificate."
        "File it anew without them."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    ServingCount "serving-count" Serving
        "It asks for no name at all, or for too many (rule S10)"
        "A kubelet that knows none of its addresses yet files such a request; a cloud provider that is not there yet is the usual reason."
        "See that the Node has addresses, or raise max_dns and max_ip."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'"];
    ServingNames "serving-names" Serving
        "A name is one that no node may have (rule S11)"
        "Names of Services, of the API server, of the whole cluster, single labels that mean something else, and names that are no DNS names are refused whatever the Node says."
        "Take the name off the node (--hostname-override, the cloud's host name); what must be allowed all the same goes into unsafe_allow."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'"];
    ServingAddresses "serving-addresses" Serving
        "An address is one that no node may have (rule S12)"
        "Addresses of Services and of the API server, loopback, link-local and multicast ones are refused whatever the Node says."
        "See which address the kubelet takes for its own (--node-ip); on control-plane nodes list it under control_plane_addresses."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'", "kubectl get services -A -o wide"];
    ServingNodeMissing "serving-node-missing" Serving
        "There is no Node of that name (rule S13)"
        "The kubelet makes its Node once it has its client certificate. It never does if it has none, may not, or calls itself otherwise. After ten minutes, by default, the request is denied. It is denied, too, when the Node appears after it, for it may then be an earlier machine's."
        "See why the Node is not there, and whether it has its client certificate. Once the Node is there, file the request again."
        ["everleaf why node/{node}   # look", "journalctl -u kubelet -u everleaf | grep -i 'register node'   # look, on the machine", "kubectl get node {node}   # go on when it is there", "kubectl delete csr {csr}"];
    ServingNodeNewer "serving-node-newer" Serving
        "The Node is newer than the request (rule S13)"
        "The request may be an earlier machine's of the same name."
        "Remove this one, and let the node file another one. By hand, file it again only if its key is on the machine that is the Node now."
        ["kubectl delete csr {csr}"];
    ServingNodeNames "serving-node-names" Serving
        "A name is not the Node's (rule S14)"
        "status.addresses of the Node does not have this name; or, with comparison: exact, has one that the request leaves out."
        "Let the cloud provider or the kubelet report it, or allow it by dns_regex of the policy."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'", "everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingNodeAddresses "serving-node-addresses" Serving
        "An address is not the Node's (rule S15)"
        "status.addresses of the Node does not have this address; or, with comparison: exact, has one that the request leaves out. Right after a change of address the kubelet is ahead of its Node: as long as the request is Pending, that settles by itself, and the request is looked at again within 30 s."
        "See which of the two is right. If the request is, correct the Node (--node-ip, cloud provider), and a Pending request is approved. If the Node is, a new request has to be made with the Node's addresses: they stand in what is signed."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'   # look", "kubectl get csr {csr} -o jsonpath='{.spec.request}' | base64 -d | openssl req -noout -text | grep -A1 Alternative   # look", "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    ServingNodeUnreported "serving-node-unreported" Serving
        "The Node has not reported any address (rule S15)"
        "status.addresses of the Node names no address: its kubelet has not written its status yet, may not, or waits for the cloud provider. As long as the request is Pending it is looked at again within 30 s of the Node's report."
        "See that the kubelet runs and reports (cloud provider, --node-ip). Where no kubelet is, whoever made the Node has to write its addresses."
        ["kubectl get node {node} -o jsonpath='{.status}'", "everleaf why node/{node}", "journalctl -u kubelet | grep -i -e 'node status' -e 'cloud'   # on the node"];
    ServingUnique "serving-unique" Serving
        "Another node has this name, address or key (rule S16)"
        "Two Nodes report it, or another node's certificate with it is still valid: one could listen in the other's place."
        "Find out whose it is; delete the Node that is gone, and its address is free at once."
        ["kubectl get nodes -o wide", "kubectl delete node NAME-OF-THE-ONE-THAT-IS-GONE"];
    ServingRanges "serving-ranges" Serving
        "An address lies outside the allowed ranges (rule S17)"
        "allowed_cidrs and deny_cidrs of the policy decide."
        "Correct the ranges, or the node's address."
        ["everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingInventory "serving-inventory" Serving
        "The inventory does not know this of the node (rule S18)"
        "The operator's list decides what is whose."
        "Add the node, or its name or address, to the inventory; a file is read again within seconds, a ConfigMap within half a minute."
        ["everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingDns "serving-dns" Serving
        "DNS says otherwise (rule S19)"
        "The policy wants DNS to lead from the names to the addresses (dns_resolution). Names are asked for as they stand: without search domains, and not in /etc/hosts."
        "Enter name and address in the zone, or start the kubelet with the name that DNS has (--hostname-override)."
        ["kubectl get csr {csr} -o jsonpath='{.spec.request}' | base64 -d | openssl req -noout -text", "everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingDnsSilent "serving-dns-silent" Serving
        "DNS does not answer the controllers (rule S19)"
        "The policy wants DNS to agree (dns_resolution), and its servers fail or stay silent. The request waits and is tried again every 30 s."
        "See that the controllers reach the servers of dns_resolution, or those of their own resolv.conf, over UDP and TCP port 53."
        ["kubectl -n everleaf-system get configmap everleaf-policy -o yaml", "everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingRenewal "serving-renewal" Serving
        "The inventory does not know this of the node, and its kubelet does not prove it (rules S18 and S20)"
        "With renewal, a certificate that the kubelet shows now and that says the same would do. It could not be dialled at its Node's InternalIP and port, or shows another one."
        "Add the node, or its name or address, to the inventory; or let the controllers reach the kubelet, and name in ca_file the CA that made its certificate."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}{.status.daemonEndpoints}'", "everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingLifetime "serving-lifetime" Serving
        "It asks for a longer life than the policy allows (rule S21)"
        "spec.expirationSeconds is above max_expiration_seconds, or below 600."
        "Ask for less, or raise the limit."
        ["kubectl get csr {csr} -o jsonpath='{.spec.expirationSeconds}'"];
    ServingExpressions "serving-expressions" Serving
        "An expression of the policy says no (rule S22)"
        "The operator's own CEL rules are all to be true."
        "See which one it is, and whether the node or the rule is wrong."
        ["everleaf policy test -f POLICY.yaml --csr CSR.yaml --node NODE.yaml"];
    ServingPermission "serving-permission" Serving
        "Nodes may not create certificatesigningrequests/selfnodeserver (rule S23)"
        "The policy asks for this permission (require_permission), and nothing grants it."
        "Bind the role, or drop require_permission."
        ["kubectl create clusterrolebinding everleaf-node-serving --clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeserver --group=system:nodes"];
    ServingLimits "serving-limits" Serving
        "The node asks too often (rule S24)"
        "It has had as many serving certificates within an hour as the policy allows; the request is looked at again when the hour is over."
        "See why the kubelet asks so often: addresses that come and go, a clock that is wrong, a cert dir that is lost with every restart."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp | grep {node}", "journalctl -u kubelet | grep -i 'rotat'   # on the node"];
    ServingSuperseded "serving-superseded" Serving
        "The node has filed a newer request (rule S25)"
        "Only a node's newest requests are looked at; kubelets give up on the older ones."
        "Look at the newest one."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp | grep {node}"];

    DeniedByHand "denied-by-hand" Denied
        "Somebody denied it"
        "A denial is final: the signer will never sign it. The API keeps no name of who denied, and nothing of the denial once the request is deleted. A kubelet or an agent files another request by itself after a while; a person has to."
        "Ask whoever decides about certificates here. Only if it was a mistake, file it again as it is; everleaf why then says what it waits for."
        ["kubectl get events -A --field-selector involvedObject.name={csr}   # look: who, if that was told", "kubectl delete csr {csr}"];
    DeniedAndApproved "denied-and-approved" Denied
        "It is approved and denied"
        "Both conditions were written, by two deciders. The denial outweighs."
        "Agree on one decider; let the node file another request."
        ["kubectl get csr {csr} -o jsonpath='{.status.conditions}'   # look", "kubectl delete csr {csr}"];

    SignerAbsent "signer-absent" Approved
        "No controller that signs is running"
        "Nobody holds the Lease kube-system/kube-controller-manager, so neither a kube-controller-manager nor everleaf controllers is at work."
        "Look first whether a kube-controller-manager is there and fails. If none is, start one with the CA, or Everleaf's: CONTROLLERS.conf is a kubeconfig of the user system:kube-controller-manager (kubeadm: /etc/kubernetes/controller-manager.conf), CA.crt and CA.key are the cluster's CA (kubeadm: /etc/kubernetes/pki)."
        ["kubectl -n kube-system get pods -l component=kube-controller-manager   # look", "kubectl -n kube-system get lease kube-controller-manager   # look", "everleaf controllers --kubeconfig CONTROLLERS.conf --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key   # mend: start"];
    SignerUnconfigured "signer-unconfigured" Approved
        "The running kube-controller-manager has no CA to sign with"
        "It was started without --cluster-signing-cert-file and --cluster-signing-key-file. It says so once in its log and goes on without a signer."
        "Add both flags to its manifest."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep -e --cluster-signing", "sudo vi /etc/kubernetes/manifests/kube-controller-manager.yaml   # on that control-plane node"];
    SignerPartly "signer-partly" Approved
        "The running kube-controller-manager has CAs for other signers only"
        "As soon as one pair of --cluster-signing-…-cert-file and -key-file is given, the signers without a pair of their own do not run."
        "Give this signer its pair, too, or use the general pair instead."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep -e --cluster-signing"];
    SignerSwitchedOff "signer-switched-off" Approved
        "The running kube-controller-manager does not sign"
        "Its --controllers leaves csrsigning out, and nobody else took that over."
        "Put the controller back, or run Everleaf's beside it."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep -e --controllers", "everleaf controllers --kubeconfig CONTROLLERS.conf --controllers=csrsigning --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key --leader-elect-resource-name=everleaf-controllers"];
    SignerNotPermitted "signer-not-permitted" Approved
        "The controllers may not sign for this signer"
        "Writing a certificate takes the verb sign on the signer, besides writing certificatesigningrequests/status. None of the accounts under which controllers run has it."
        "Give the right back; kube-apiserver restores its own roles when it starts."
        ["kubectl auth can-i sign signers.certificates.k8s.io/{signer} --as={account}", "kubectl auth reconcile -f ROLES.yaml"];
    CaEnded "ca-ended" Approved
        "The CA has ended"
        "A signer does not sign with a CA that is no longer valid, and what it signed before is believed by nobody any more. No node gets or keeps a certificate until the CA is renewed."
        "Renew the CA certificate with the same key and name. CA.crt and CA.key are the files of --cluster-signing-cert-file and --cluster-signing-key-file, CLIENT-CA.crt that of the API server's --client-ca-file (kubeadm: all are /etc/kubernetes/pki/ca.crt and ca.key). The CA of `everleaf up` is renewed by `up` itself: do not change its files. Both are read again within a minute, and what waits is signed by itself, 17 minutes later at most; until then this is told as before."
        ["openssl x509 -in CA.crt -noout -subject -enddate   # look: the file of --cluster-signing-cert-file", "openssl x509 -in CA.crt -signkey CA.key -days 3650 -set_serial 0x4$(openssl rand -hex 15) -out CA.new.crt   # same key, name and identifiers", "openssl x509 -in CA.new.crt -noout -subject -dates -ext basicConstraints,subjectKeyIdentifier   # look: as before, but for the dates", "cat CA.new.crt >> CLIENT-CA.crt   # mend: whom the API server believes, beside what is there", "cp CA.crt CA.old.crt && cp CA.new.crt CA.crt   # mend: the signer's own"];
    CaNotBegun "ca-not-begun" Approved
        "The CA is not valid yet"
        "It begins in the future by the server's clock: it was made on a machine whose clock was ahead, or a clock has been set back since."
        "Set the clocks, or wait until it begins."
        ["date -u   # on the control-plane nodes", "openssl x509 -in CA.crt -noout -startdate"];
    CaUnusable "ca-unusable" Approved
        "The signer cannot use its CA"
        "Certificate and key do not belong together, a file is empty or holds more than one certificate, or the key cannot be reached."
        "Put the right pair in place; it is read again within a minute."
        ["openssl x509 -in CA.crt -noout -pubkey | sha256sum; openssl pkey -in CA.key -pubout | sha256sum   # equal", "grep -c BEGIN CA.crt   # 1"];
    LogUnwritable "log-unwritable" Approved
        "The issuance log of the controllers cannot be written"
        "Nothing is signed that could not be logged first: the disk is full, the directory is gone or was replaced, or a file of it is damaged. Requests wait, and go on by themselves."
        "Mend what the controllers' log names: free some space, or put the directory back as it was."
        ["kubectl get events -A --field-selector reason=IssuanceLogUnavailable", "everleaf ca log --dir LOG-DIR --verify   # where the controllers run"];
    UsagesNobodyKnows "usages-nobody-knows" Approved
        "It asks for a usage that no certificate can express"
        "kube-controller-manager tries such a request for ever and never says so in the object; Everleaf fails it."
        "File it anew with usages of the API."
        ["kubectl get csr {csr} -o jsonpath='{.spec.usages}'", "kubectl explain csr.spec.usages"];
    SignerSilent "signer-silent" Approved
        "The running controller has not signed it"
        "It leads, and has the right. Started without CA files it approves and never signs: its log says once, at its start, that it skips the signer. What else stops it stands there, too: a CA that has ended or does not fit its key, a usage that it does not know, calls that fail."
        "Read the log of the leader. If it skips the signer, start it again with --cluster-signing-cert-file and --cluster-signing-key-file."
        ["kubectl -n kube-system logs -l component=kube-controller-manager --tail=-1 | grep -i -e 'skipping csr signer' -e 'error auto signing' -e 'signer has expired' -e '\"{csr}\"'   # a pod", "journalctl | grep -i -e 'skipping csr signer' -e 'signer has expired' -e 'csr=\"{csr}\"'   # a process: on {host}; without a journal, its stderr", "pgrep -a -f 'everleaf|kube-controller-manager'   # on {host}: has it --cluster-signing-cert-file?"];

    FailedOrganization "failed-organization" Failed
        "It was approved, and its organization is not system:nodes"
        "The signer checks once more, and Failed is final."
        "File it anew with O=system:nodes."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedCommonName "failed-common-name" Failed
        "It was approved, and its common name is no node's"
        "The signer checks once more, and Failed is final."
        "File it anew with CN=system:node:NAME."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedAltNames "failed-alt-names" Failed
        "It was approved, and asks for names that this signer does not issue"
        "Client certificates of nodes have no alternative names; serving certificates have DNS names and addresses alone. Failed is final."
        "File it anew without them."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedNoAltName "failed-no-alt-name" Failed
        "It was approved, and asks for no DNS name and no address"
        "A serving certificate without a name is of no use. Failed is final."
        "See that the Node has addresses, and let the kubelet file another one."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'   # look", "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedUsages "failed-usages" Failed
        "It was approved, and its usages are not those of a kubelet"
        "The signer checks once more, and Failed is final."
        "File it anew with digital signature, and client auth or server auth."
        ["vi {csr}.yaml   # spec.usages: digital signature, and client auth or server auth", "kubectl delete csr {csr}"];
    FailedClientUsages "failed-client-usages" Failed
        "It was approved, and its usages are not those of a client"
        "kubernetes.io/kube-apiserver-client takes client auth, which must be there, digital signature and key encipherment. Failed is final."
        "File it anew with these usages."
        ["vi {csr}.yaml   # correct spec.usages", "kubectl delete csr {csr}"];
    FailedKey "failed-key" Failed
        "It was approved, and its key is too weak or of an unknown kind"
        "Failed is final."
        "Make a new key, and file a request with it."
        ["openssl ecparam -genkey -name prime256v1 -noout -out KEY.pem", "openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedUnknownUsages "failed-unknown-usages" Failed
        "It was approved, and asks for a usage that no certificate can express"
        "Failed is final."
        "File it anew with usages of the API."
        ["kubectl explain csr.spec.usages   # look", "vi {csr}.yaml   # correct spec.usages", "kubectl delete csr {csr}"];
    FailedUnreadable "failed-unreadable" Failed
        "It was approved, and holds no readable certificate request"
        "Failed is final."
        "File it anew; encode the PEM file once."
        ["openssl req -in {csr}.pem -noout -verify   # look: the request, as one PEM file", "sed -i \"s|^  request: .*|  request: $(base64 -w0 {csr}.pem)|\" {csr}.yaml   # encoded once", "kubectl delete csr {csr}"];
    FailedLint "failed-lint" Failed
        "It was approved, and the certificate would be a bad one"
        "What would be issued is checked before it is signed: names that no program reads the same way, more than any program takes."
        "File it anew without what the message names."
        ["openssl req -new -key KEY.pem -subj '/O=system:nodes/CN=system:node:{node}' -addext 'subjectAltName=DNS:{node},IP:ADDRESS' -out {csr}.pem", "kubectl delete csr {csr}"];
    FailedByOther "failed-by-other" Failed
        "Its signer gave up on it"
        "Failed is final; only the signer knows why."
        "Read the condition's message, and the signer's log."
        ["kubectl get csr {csr} -o yaml"];

    CertificateUnreadable "certificate-unreadable" Issued
        "What was issued is no certificate that can be read"
        "status.certificate must hold PEM blocks CERTIFICATE, the node's first."
        "See which signer wrote it; let the node file another request."
        ["kubectl get csr {csr} -o jsonpath='{.status.certificate}' | base64 -d | openssl x509 -noout -text   # look", "kubectl delete csr {csr}"];
    CertificateOtherKey "certificate-other-key" Issued
        "The certificate is not for the key of the request"
        "The signer has mixed up two requests, or signs what it likes. The node cannot use it."
        "Look after the signer; let the node file another request."
        ["kubectl delete csr {csr}"];
    CertificateEnded "certificate-ended" Issued
        "The certificate has ended"
        "The node has not renewed it in time: it was off, its renewal was not approved, or its clock was wrong. A client certificate that has ended cannot renew itself."
        "Give the node a bootstrap token again, and restart its kubelet or agent."
        ["kubeadm token create --print-join-command", "everleaf why node/{node}"];
    CertificateNotBegun "certificate-not-begun" Issued
        "The certificate is not valid yet"
        "It begins in the future by the server's clock: the signer's clock is ahead. The API server refuses whoever shows it until then."
        "Set the clock of the machine on which the controllers run; let the node file another request."
        ["date -u   # look, where the controllers run", "kubectl delete csr {csr}"];
    CertificateOtherCa "certificate-other-ca" Issued
        "The API server does not believe the certificate"
        "It was signed by a CA that is not in the API server's --client-ca-file: that CA was replaced since, and the node was left behind; or the signer has another CA than the server."
        "First see which of the two it is. Issuer and authority differ, and what the same signer issues now is believed: the CA was replaced. Then let the node join again (`everleaf agent join ... --replace`, with a new token); who was dropped on purpose should not be trusted again. If what is issued now is not believed either, the signer has another CA: give the controllers (--cluster-signing-cert-file, --cluster-signing-key-file) the CA that the server believes, and let the node file another request."
        ["kubectl get csr {csr} -o jsonpath='{.status.certificate}' | base64 -d | openssl x509 -noout -issuer   # look: who signed it", "kubectl -n kube-system get cm extension-apiserver-authentication -o jsonpath='{.data.client-ca-file}' | openssl crl2pkcs7 -nocrl -certfile /dev/stdin | openssl pkcs7 -print_certs -noout   # look: whom the API server believes", "everleaf token create --print-join-command   # mend, if the CA was replaced: what it prints is run on the node, with --replace", "openssl x509 -in CA.crt -noout -subject -ext subjectKeyIdentifier   # look, if the signer has another CA: CA.crt is its --cluster-signing-cert-file"];
    CertificateTruncated "certificate-truncated" Issued
        "The certificate ends with its CA"
        "No certificate outlives the CA that signed it: --cluster-signing-duration has no effect beyond that. All certificates will end in the same second."
        "Renew the CA in good time, with the same key and name."
        ["openssl x509 -in CA.crt -noout -enddate"];
    CertificateShort "certificate-short" Issued
        "The certificate lives shorter than was asked for"
        "The signer's --cluster-signing-duration is the most that it gives, whatever spec.expirationSeconds says."
        "Raise --cluster-signing-duration, or renew more often."
        ["kubectl get csr {csr} -o jsonpath='{.spec.expirationSeconds}'"];
    CaEndsSoon "ca-ends-soon" Issued
        "The CA ends within 30 days"
        "Every certificate ends with it, and renewals become more frequent until then."
        "Renew it now, with the same key and name, and add the new one wherever the old one is trusted. CA.crt and CA.key are the files of --cluster-signing-cert-file and --cluster-signing-key-file, CLIENT-CA.crt that of the API server's --client-ca-file."
        ["openssl x509 -in CA.crt -noout -subject -enddate   # look: the file of --cluster-signing-cert-file", "openssl x509 -in CA.crt -signkey CA.key -days 3650 -set_serial 0x4$(openssl rand -hex 15) -out CA.new.crt   # same key, name and identifiers", "cat CA.new.crt >> CLIENT-CA.crt   # mend: whom the API server believes, beside what is there", "cp CA.crt CA.old.crt && cp CA.new.crt CA.crt   # mend: the signer's own"];

    NodeUnknown "node-unknown" Node
        "There is no Node of this name, and no request of it"
        "The machine has never reached the API server under this name, or its requests were deleted since."
        "See whether its agent or kubelet runs, which name it uses, and whether its token is valid."
        ["kubectl get nodes", "journalctl -u kubelet -n 50   # or the log of its everleaf agent, on the machine", "kubectl -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token"];
    NodeNoClient "node-no-client" Node
        "The node has no client certificate, as far as the API tells"
        "A machine makes its Node with its client certificate. There is no Node, and no request for such a certificate is stored; they are deleted an hour after they were decided. A request that the node itself has filed shows that it has one, or had."
        "See what it says when it registers its Node, and whether it has a client certificate. Only if it has none, give it a bootstrap token, and restart it."
        ["journalctl -u kubelet -u everleaf | grep -i 'register node'   # look, on the machine", "everleaf certs /var/lib/kubelet/pki   # look, on the machine", "kubeadm token create --print-join-command   # or a Secret of type bootstrap.kubernetes.io/token"];
    NodeJoinTokenEnded "node-join-token-ended" Node
        "No bootstrap token is valid any more"
        "All of them have ended (kubeadm's after a day), so no new node can join."
        "Make a new token, and put it into the node's bootstrap kubeconfig."
        ["kubeadm token create --print-join-command"];
    NodeNotReady "node-not-ready" Node
        "The node does not report any more"
        "Its kubelet is off, cut off, or refused: a client certificate that has ended does that."
        "Look at the kubelet's log, and at its certificate."
        ["journalctl -u kubelet -n 50   # or the log of its everleaf agent, on the node", "everleaf certs /var/lib/kubelet/pki   # on the node", "kubectl describe node {node}"];
    NodeClock "node-clock" Node
        "The node's clock is wrong"
        "It differs from the API server's by more than five minutes. Certificates look too old or not begun to it, and renew at the wrong time."
        "Set the clock, and let a time service keep it."
        ["timedatectl set-ntp true   # on the node", "chronyc tracking   # on the node"];
    NodeLoop "node-loop" Node
        "The node renews again and again"
        "It has had many certificates within an hour. Its clock is far from the signer's, its cert dir is lost with every restart, or its addresses come and go."
        "See what its kubelet or agent says about each renewal."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp | grep {node}", "journalctl -u kubelet | grep -i rotat   # on the node"];
    NodeFull "node-full" Node
        "The node has as many open requests as it may have"
        "The API server refuses further ones until some are signed or deleted: whoever speaks as this node asks without end, or nobody decides."
        "Decide about them or delete them, and see why there are so many."
        ["kubectl get csr --field-selector spec.signerName={signer} | grep {node}"];
    NodeEnded "node-ended" Node
        "The node's last client certificate has ended"
        "The newest certificate that the API knows of it is over, and no newer request is there. The node can come back only with a bootstrap credential, or by late re-issue if that was arranged (docs/late-reissue.md)."
        "Give it a bootstrap token again, and restart its kubelet or agent."
        ["kubeadm token create --print-join-command", "everleaf certs /var/lib/kubelet/pki   # on the node"];
    NodeRevoked "node-revoked" Node
        "The node's certificate is revoked"
        "An entry of the ConfigMap kube-system/everleaf-revocations names it: the API server refuses it with 401, however long it is valid, so that the node cannot renew it either. What a node is issued after its entry is not refused."
        "Is the machine to come back, give it a bootstrap token; was it a mistake, take the revocation back."
        ["everleaf ca revocations", "everleaf token create --print-join-command", "everleaf ca unrevoke node/{node}"];
    ServingAbsent "serving-absent" Node
        "The kubelet has no serving certificate"
        "It answers with a TLS internal error: it waits for a certificate (serverTLSBootstrap, rotate-server-certificates) and its request is not issued. kubectl logs, exec and the metrics server fail for it."
        "Look at its request for kubernetes.io/kubelet-serving."
        ["kubectl get csr --field-selector spec.signerName=kubernetes.io/kubelet-serving | grep {node}"];
    ServingUntrusted "serving-untrusted" Node
        "The API server does not believe the kubelet's serving certificate"
        "It was signed by a CA that is not in the API server's --kubelet-certificate-authority; a kubelet that signs its own is the usual one."
        "Let the kubelet ask for a serving certificate (serverTLSBootstrap: true), and give the API server the CA of that signer."
        ["grep -n serverTLSBootstrap /var/lib/kubelet/config.yaml   # on the node", "kubectl get csr --field-selector spec.signerName=kubernetes.io/kubelet-serving | grep {node}"];
    ServingOtherName "serving-other-name" Node
        "The kubelet's serving certificate does not name where it is reached"
        "The API server dials an address of the Node (--kubelet-preferred-address-types) that is not in the certificate."
        "Let the kubelet renew it now that its addresses have changed: remove kubelet-server-current.pem and restart it, or the everleaf agent that keeps it."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'", "rm /var/lib/kubelet/pki/kubelet-server-current.pem && systemctl restart kubelet   # on the node; or restart its everleaf agent"];
    ServingEnded "serving-ended" Node
        "The kubelet's serving certificate is not valid now"
        "It has ended, or not begun, by the API server's clock: its renewal was not approved, or a clock is wrong."
        "Look at its newest request, and at both clocks."
        ["kubectl get csr --field-selector spec.signerName=kubernetes.io/kubelet-serving | grep {node}", "date -u   # on the node"];
    NodeUnreachable "node-unreachable" Node
        "The API server cannot reach the kubelet"
        "The connection to its port 10250 fails or is not answered. The certificate may be in order."
        "See to the network between them: firewall, routes, the address in the Node."
        ["kubectl get node {node} -o wide", "nc -vz ADDRESS 10250   # from a control-plane node"];
    ClockHere "clock-here" Node
        "The clock of this machine differs from the API server's"
        "By more than five minutes: dates that are shown here and dates that count there are not the same. If it is the server's that is wrong, certificates are issued with wrong dates."
        "Set the clock that is wrong."
        ["date -u; kubectl get --raw /healthz -v=8 2>&1 | grep -i '^.*date:'"];
}
