//! The catalogue: one row per fault, by section. See [`Entry`] for what the columns mean.

use super::entry::{Entry, Section, Severity};

macro_rules! catalogue {
    ($($fault:ident $id:literal $section:ident $severity:ident
        $title:literal
        $consequence:literal
        $remedy:literal
        [$($command:literal),*];)*) => {
        /// Something that breaks certificates, or will.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Fault {
            $(#[doc = $title] $fault,)*
        }

        impl Fault {
            /// The whole catalogue, by section.
            pub const ALL: &'static [Self] = &[$(Self::$fault),*];

            /// It in words.
            pub const fn entry(self) -> Entry {
                match self {
                    $(Self::$fault => Entry {
                        fault: self,
                        id: $id,
                        section: Section::$section,
                        severity: Severity::$severity,
                        title: $title,
                        consequence: $consequence,
                        remedy: $remedy,
                        commands: &[$($command),*],
                    },)*
                }
            }
        }
    };
}

catalogue! {
    ServerUnreachable "server-unreachable" Server Error
        "The API server does not answer"
        "No node can renew, and nothing else can be looked at from here."
        "See whether it runs, and whether this machine can reach it: address, port, firewall, proxy."
        ["kubectl get --raw /livez", "curl -k https://{host}/livez"];
    CredentialRefused "credential-refused" Server Error
        "The API server does not take this kubeconfig's credential"
        "Whoever uses this kubeconfig is nobody to it; on a node, the certificate is not renewed any more."
        "See what the credential is, and until when; take a kubeconfig that is good. A node whose certificate is refused needs a bootstrap token again."
        ["everleaf certs {file}", "everleaf token create --print-join-command   # on an administrator's machine"];
    ServerNotReady "server-not-ready" Server Error
        "The API server says that it is not ready"
        "Requests fail or wait; load balancers send nobody to it."
        "See which of its checks fails."
        ["kubectl get --raw '/readyz?verbose'"];
    ServerUnverified "server-unverified" Server Warning
        "The kubeconfig lets anybody be the API server"
        "insecure-skip-tls-verify: whoever stands in between gets the credential, and all that is said."
        "Name the cluster's authority instead."
        ["kubectl config view --minify   # look", "kubectl config set-cluster NAME --certificate-authority=ca.crt --embed-certs --insecure-skip-tls-verify=false"];
    ServerCertificateUntrusted "server-certificate-untrusted" Server Error
        "The API server's certificate is not signed by an authority of the kubeconfig"
        "Clients with this kubeconfig refuse the server. Its CA was replaced, or another server answers."
        "Find out who answers. If the CA was replaced, what the old one signed for this kubeconfig is refused, too, as soon as it is dropped: a node joins again, with a new token and --replace; anybody else takes a new kubeconfig. Where only the server's own CA is another one, put it into the kubeconfig, beside the old one."
        ["openssl s_client -connect {host} -showcerts </dev/null | openssl x509 -noout -issuer -subject -enddate", "everleaf token create --print-join-command   # on an administrator's machine; on the node run what it prints, with --replace"];
    ServerCertificateName "server-certificate-name" Server Error
        "The API server's certificate does not name the host of the kubeconfig"
        "Clients that use this name or address refuse the server."
        "Give the server a certificate with that name: kubeadm's certSANs, Everleaf's --tls-san."
        ["openssl s_client -connect {host} </dev/null | openssl x509 -noout -ext subjectAltName"];
    ServerCertificateEnded "server-certificate-ended" Server Error
        "The API server's certificate is not valid now"
        "Every client refuses the server, all nodes included: none can renew."
        "Renew it (kubeadm: certs renew apiserver, then restart it). If its dates are right, a clock is wrong."
        ["openssl s_client -connect {host} </dev/null | openssl x509 -noout -dates", "kubeadm certs renew apiserver   # on the control plane"];
    ServerCertificateEnds "server-certificate-ends" Server Warning
        "The API server's certificate ends soon"
        "From then on every client refuses the server."
        "Renew it before, and restart the server if it does not load it by itself."
        ["openssl s_client -connect {host} </dev/null | openssl x509 -noout -enddate", "kubeadm certs renew apiserver   # on the control plane"];
    CredentialEnds "credential-ends" Server Warning
        "The client certificate of this kubeconfig ends soon"
        "Then its user is nobody to the API server."
        "Renew it (kubeadm: certs renew admin.conf; everleaf up renews its own), or have another one issued."
        ["everleaf certs {file}", "kubeadm certs renew admin.conf   # on the control plane"];
    CredentialEnded "credential-ended" Server Error
        "The client certificate of this kubeconfig has ended"
        "Its user is nobody to the API server, which may answer as to anybody, or with 401."
        "Have another one issued, or take a kubeconfig that is good."
        ["everleaf certs {file}", "kubeadm certs renew admin.conf   # on the control plane"];
    ClockSkew "clock-skew" Server Error
        "This machine's clock and the API server's differ by more than five minutes"
        "Certificates look too old, or not begun; they are renewed at the wrong time. If the server's clock is wrong, what is issued has wrong dates."
        "Set the clock that is wrong, and let a time service keep it."
        ["date -u", "timedatectl set-ntp true   # on the machine whose clock is wrong"];

    CaEnded "ca-ended" Ca Error
        "A certificate authority has ended"
        "Nothing that it signed is believed any more, whatever its own dates say."
        "Renew it, with the same key and name if it is the only one, and give it to everybody who trusts the old one."
        ["openssl x509 -in CA.crt -signkey CA.key -days 3650 -set_serial 0x4$(openssl rand -hex 15) -out CA.new.crt   # same key, name and identifiers"];
    CaLeftover "ca-leftover" Ca Note
        "An authority that has ended is still in a bundle, beside one that is good"
        "It does no harm, and makes bundles harder to read."
        "Take it out when nothing is left that it signed."
        [];
    CaNotBegun "ca-not-begun" Ca Error
        "A certificate authority is not valid yet"
        "Nothing that it signs is believed before it begins. The clock of whoever made it was ahead, or the server's is behind."
        "Wait, set the clock that is wrong, or make it again."
        ["date -u   # on the control plane"];
    CaEndsSoon "ca-ends-soon" Ca Error
        "A certificate authority ends within 30 days"
        "All certificates end with it; renewals become more and more frequent until then."
        "Renew it now, with the same key and name, and add the new one wherever the old one is trusted."
        ["openssl x509 -in CA.crt -signkey CA.key -days 3650 -set_serial 0x4$(openssl rand -hex 15) -out CA.new.crt   # same key, name and identifiers"];
    CaEndsWithinHalfYear "ca-ends" Ca Warning
        "A certificate authority ends within half a year"
        "Certificates of a year are cut short already, and all end in the same second."
        "Plan its renewal: with the same key and name it is one file to add wherever the old one is trusted."
        ["openssl x509 -in CA.crt -noout -subject -enddate"];
    CaWeakKey "ca-weak-key" Ca Warning
        "The key of a certificate authority is weak"
        "Whoever can compute it makes certificates for anybody. Programs begin to refuse it (OpenSSL's security level 2 wants RSA of 2048 bits)."
        "Make a new authority with another name and an ECDSA P-256 key or RSA of at least 2048 bits, and bring it in beside the old one."
        ["openssl x509 -in CA.crt -noout -text | grep -A1 'Public Key Algorithm'"];
    CaSha1 "ca-sha1" Ca Error
        "An authority below another one is signed with SHA-1"
        "No program of today believes that signature: Go, rustls and OpenSSL refuse every certificate below it."
        "Have it signed anew with SHA-256."
        ["openssl x509 -in CA.crt -noout -text | grep 'Signature Algorithm'"];
    CaSharedName "ca-shared-name" Ca Warning
        "Two authorities have the same name and different keys"
        "Programs that look an issuer up by name may take the wrong one, and refuse certificates of the other: a replaced CA needs a new name."
        "Give the next one a name of its own; until then, see that both have key identifiers."
        ["openssl x509 -in CA.crt -noout -subject -ext subjectKeyIdentifier"];
    CaNoKeyIdentifier "ca-no-key-identifier" Ca Warning
        "An authority has no subject key identifier"
        "What it signs cannot say by which key; while it is replaced, clients have to guess. RFC 5280 4.2.1.2 asks for it."
        "Make the next one with it: openssl does (subjectKeyIdentifier=hash)."
        ["openssl x509 -in CA.crt -noout -ext subjectKeyIdentifier"];
    CaNotAnAuthority "ca-not-an-authority" Ca Warning
        "A certificate among the authorities is none"
        "It vouches for itself alone (basic constraints without CA): nothing that its key signed is believed."
        "Put the authority that signed it there."
        ["openssl x509 -in CA.crt -noout -issuer -ext basicConstraints"];
    CaNoCertSign "ca-no-cert-sign" Ca Error
        "An authority may not sign certificates"
        "Its key usage lacks keyCertSign: what it signs is refused."
        "Make it again with keyUsage=critical,keyCertSign,cRLSign."
        ["openssl x509 -in CA.crt -noout -ext keyUsage"];
    CaUnreadable "ca-unreadable" Ca Error
        "A bundle of authorities holds none that can be read"
        "Whoever is given it believes nobody."
        "Write it anew: PEM blocks CERTIFICATE, one after another."
        ["kubectl -n kube-system get configmap extension-apiserver-authentication -o yaml"];
    ClientCaAbsent "client-ca-absent" Ca Error
        "The API server names no authority of clients"
        "Without --client-ca-file no client certificate is believed, whoever signed it."
        "Give the API server the CA that signs for nodes as --client-ca-file."
        ["kubectl -n kube-system get configmap extension-apiserver-authentication -o yaml"];
    RootCaAbsent "root-ca-absent" Ca Warning
        "A namespace has no ConfigMap kube-root-ca.crt"
        "Pods there cannot verify the API server, and do not start where it is mounted. A running kube-controller-manager with --root-ca-file makes it within seconds."
        "See whether the controller root-ca-cert-publisher runs, and has --root-ca-file."
        ["kubectl -n {namespace} get configmap kube-root-ca.crt"];
    RootCaOther "root-ca-other" Ca Error
        "kube-root-ca.crt does not vouch for the API server"
        "Every pod that verifies the API server refuses it."
        "Give the controllers the CA of the API server's certificate as --root-ca-file."
        ["kubectl -n kube-system get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}' | openssl x509 -noout -subject -enddate"];
    ClusterInfoOther "cluster-info-other" Ca Error
        "kube-public/cluster-info does not vouch for the API server"
        "No machine can join: it is told to trust an authority that did not sign the server's certificate."
        "Write the CA of the API server's certificate into it."
        ["kubectl -n kube-public get configmap cluster-info -o yaml"];

    IssuedOtherCa "issued-other-ca" Signers Error
        "Client certificates were issued that the API server does not believe"
        "Their nodes are refused (401): the CA that signed them is not in the API server's --client-ca-file. It was replaced since, or the signer has another one."
        "Ask of one which it is. If the CA was replaced, these nodes join again, with a new token and --replace; if the signer has another CA, give it the one that is there, and let the nodes ask again."
        ["everleaf why csr/{csr}"];
    IssuedUnreadable "issued-unreadable" Signers Error
        "Something was issued that is no certificate"
        "The node cannot use it, and asks again."
        "See which signer wrote it."
        ["everleaf why csr/{csr}"];
    IssuedOtherKey "issued-other-key" Signers Error
        "Certificates were issued for another key than the request's"
        "The node cannot use them. The signer mixes requests up, or signs what it likes."
        "Look after the signer; let the node ask again."
        ["everleaf why csr/{csr}"];
    IssuedNotBegun "issued-not-begun" Signers Error
        "Certificates were issued that have not begun"
        "The signer's clock is ahead of the API server's: nodes are refused until then."
        "Set the clock of the machine on which the signer runs."
        ["everleaf why csr/{csr}", "date -u   # where the controllers run"];
    IssuedOutlivesCa "issued-outlives-ca" Signers Warning
        "Certificates were issued that are to live longer than their authority"
        "They end when it ends, without saying so: nodes that trust the date renew too late."
        "Renew the authority before, and see why the signer does not cap its certificates."
        ["everleaf why csr/{csr}"];
    IssuedEndsWithCa "issued-ends-with-ca" Signers Warning
        "Certificates end together with their authority"
        "No certificate outlives its CA: --cluster-signing-duration has no effect any more, and all end in the same second."
        "Renew the CA in good time, with the same key and name."
        ["everleaf why csr/{csr}"];
    SeveralIssuers "several-issuers" Signers Note
        "One signer has issued by several authorities"
        "So it is while an authority is replaced; otherwise two controllers with different files sign in turn."
        "If no CA is being replaced, give all controllers the same files."
        ["kubectl get csr {csr} -o jsonpath='{.status.certificate}' | base64 -d | openssl x509 -noout -issuer -ext authorityKeyIdentifier"];
    ServingOtherCa "serving-other-ca" Signers Note
        "Serving certificates are signed by an authority that nothing here names"
        "kubectl logs and exec fail, unless it is in the API server's --kubelet-certificate-authority, which no API shows."
        "See that it is there."
        ["everleaf why node/{node}"];

    JoinRightAbsent "join-right-absent" Rights Error
        "Machines with a bootstrap token may not file requests"
        "No new node can join: its request is refused with 403."
        "Bind the role to the group of the tokens."
        ["kubectl create clusterrolebinding everleaf-node-file --clusterrole=system:node-bootstrapper --group={group}"];
    JoinApprovalAbsent "join-approval-absent" Rights Warning
        "Requests of machines that join are not approved by themselves"
        "A person has to approve each new node."
        "If tokens are to be enough, bind the role to their group."
        ["kubectl create clusterrolebinding everleaf-node-bootstrap --clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient --group={group}"];
    RenewalRightAbsent "renewal-right-absent" Rights Error
        "Nodes may not renew their own certificates"
        "Each renewal waits for a person; without one, every node lapses when its certificate ends."
        "Bind the role to the group of nodes."
        ["kubectl create clusterrolebinding everleaf-node-renewal --clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient --group=system:nodes"];
    NodeFilingAbsent "node-filing-absent" Rights Error
        "Nodes may not file requests"
        "No renewal reaches the API server: all get 403."
        "Let the Node authorizer run (--authorization-mode=Node,RBAC), or bind the role."
        ["kubectl create clusterrolebinding everleaf-node-file-own --clusterrole=system:node-bootstrapper --group=system:nodes"];
    RoleAbsent "role-absent" Rights Error
        "A ClusterRole that lets nodes have certificates is gone"
        "Bindings to it grant nothing. kube-apiserver makes it when it starts: somebody has deleted it since."
        "Restart the API server, or make it again."
        ["kubectl get clusterroles | grep certificatesigningrequests", "kubectl auth reconcile -f ROLES.yaml   # from a cluster that has them"];
    AnybodyJoins "anybody-joins" Rights Error
        "Anonymous requests may become nodes"
        "Whoever reaches the API server gets the certificate of any node by asking."
        "Take the right away from system:anonymous and system:unauthenticated."
        ["kubectl get clusterrolebindings -o wide | grep -e anonymous -e unauthenticated"];
    EverybodyJoins "everybody-joins" Rights Warning
        "Every user and every pod may become any node"
        "The right to have node certificates approved is bound to system:authenticated or system:serviceaccounts: each of them gets a node's certificate by asking."
        "Bind it to the group of bootstrap tokens only."
        ["kubectl get clusterrolebindings -o wide | grep nodeclient"];

    ControllersAbsent "controllers-absent" Controllers Error
        "No controllers run"
        "Nobody holds the Lease kube-system/kube-controller-manager, and nothing was approved or signed of late: no node can join or renew."
        "Start kube-controller-manager, or `everleaf controllers`."
        ["kubectl -n kube-system get lease", "everleaf controllers --kubeconfig CONTROLLER.conf --cluster-signing-cert-file CA.crt --cluster-signing-key-file CA.key"];
    ControllersGone "controllers-gone" Controllers Error
        "The controllers have stopped"
        "The Lease has a holder that does not renew it any more: no node can join or renew."
        "See why it stopped, and start it again."
        ["kubectl -n kube-system get lease kube-controller-manager -o yaml", "journalctl -n 50   # on {host}"];
    ControllersClock "controllers-clock" Controllers Error
        "The clock of the controllers is ahead of the API server's"
        "What they sign begins in the future and is refused until then; ages are judged wrongly."
        "Set the clock of that machine."
        ["timedatectl set-ntp true   # on {host}"];
    ApproverOff "approver-off" Controllers Error
        "The approver is switched off"
        "--controllers leaves csrapproving out: requests of nodes wait for a person, unless something else approves them."
        "Take it up again, or run `everleaf controllers --controllers=csrapproving`."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep controllers="];
    SignerOff "signer-off" Controllers Error
        "The signer is switched off"
        "--controllers leaves csrsigning out: approved requests get no certificate, unless something else signs."
        "Take it up again, or run `everleaf controllers --controllers=csrsigning`."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep controllers="];
    SignerUnconfigured "signer-unconfigured" Controllers Error
        "The signer for nodes has no CA"
        "kube-controller-manager has neither --cluster-signing-cert-file nor the flag of that signer: approved requests of nodes get no certificate."
        "Give it --cluster-signing-cert-file and --cluster-signing-key-file."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep cluster-signing"];
    CleanerOff "cleaner-off" Controllers Warning
        "Old requests are not deleted"
        "--controllers leaves csrcleaner out: requests gather without end."
        "Take it up again, or run `everleaf controllers --controllers=csrcleaner`."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep controllers="];

    RequestsWaiting "requests-waiting" Requests Error
        "Requests of nodes wait, though they are approved by themselves elsewhere"
        "Their nodes cannot join, or lapse when their certificates end."
        "Ask of one why; the others mostly have the same reason."
        ["everleaf why csr/{csr}"];
    RequestsForPeople "requests-for-people" Requests Note
        "Requests wait for a person"
        "Nobody approves these signers' requests automatically, with good reason: such a certificate can make anybody a user of the cluster."
        "Look at subject and requestor, then approve or deny."
        ["kubectl describe csr {csr}", "kubectl certificate approve {csr}"];
    ServingWaiting "serving-waiting" Requests Warning
        "Requests for serving certificates wait"
        "Kubernetes approves none by itself; kubectl logs and exec, and metrics, fail for these nodes."
        "Approve them, or let Everleaf do it by rules."
        ["everleaf why csr/{csr}"];
    RequestsNotIssued "requests-not-issued" Requests Error
        "Requests are approved, and get no certificate"
        "Nobody signs for this signer, or the signer cannot."
        "Ask of one why."
        ["everleaf why csr/{csr}"];
    RequestsDenied "requests-denied" Requests Note
        "Requests were denied"
        "Denial is final: whoever asked has to ask anew."
        "If that was not meant, ask why, correct it, and let them ask again."
        ["everleaf why csr/{csr}"];
    RequestsFailed "requests-failed" Requests Warning
        "The signer has given up on requests"
        "Failed is final; the node asks again and fails again until what it asks for is changed."
        "Read why."
        ["everleaf why csr/{csr}"];
    RequestsMisspelt "requests-misspelt" Requests Warning
        "Requests name a signer that Kubernetes does not have"
        "Names below kubernetes.io/ belong to Kubernetes: nobody will ever decide about these."
        "File them anew under the name that is meant."
        ["everleaf why csr/{csr}"];
    RequestsForeign "requests-foreign" Requests Note
        "Requests for a signer that is not Kubernetes' own wait"
        "The program that approves and signs for it does not run, or has not decided."
        "Look after that program."
        ["everleaf why csr/{csr}"];
    RequestsUnreadable "requests-unreadable" Requests Warning
        "Requests hold something that is no certificate request"
        "Nobody can decide about them."
        "Find out who files them, and delete them."
        ["everleaf why csr/{csr}"];
    RequestsFlood "requests-flood" Requests Warning
        "One requestor has filed very many requests"
        "They hide the others, and fill the store; a node that asks without end mostly has a clock that is wrong, a cert dir that is lost, or nobody who signs."
        "Look at that requestor first."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp | grep {requestor}"];
    RequestsOld "requests-old" Requests Warning
        "Requests are past their window, and were not deleted"
        "Controllers delete them an hour after they were decided, a day after they were filed: the cleaner does not run, or may not."
        "See whether the controllers run, and whether they may delete certificatesigningrequests."
        ["kubectl get csr --sort-by=.metadata.creationTimestamp", "kubectl auth can-i delete certificatesigningrequests --as=system:serviceaccount:kube-system:certificate-controller"];

    NodeLapsed "node-lapsed" Nodes Error
        "The newest client certificate of a node has ended"
        "It cannot renew by itself any more: the API server takes it for nobody."
        "Give it a bootstrap token again, and restart its kubelet or agent."
        ["everleaf why node/{node}", "everleaf token create --print-join-command"];
    NodeLapses "node-lapses" Nodes Error
        "A node's client certificate ends soon, and it has not asked for another one"
        "A healthy node asks before nine tenths of the lifetime are over: its kubelet or agent is off, cut off, or does not rotate."
        "Look after that machine now, while its certificate is still good."
        ["everleaf why node/{node}", "everleaf doctor --node   # on that node"];
    ServingLapses "serving-lapses" Nodes Warning
        "A node's serving certificate has ended or ends soon, and it has not asked for another one"
        "kubectl logs and exec, and metrics, fail for it then."
        "Look after that machine: does it rotate its serving certificate?"
        ["everleaf why node/{node}", "everleaf doctor --node   # on that node"];
    ServingOtherNames "serving-other-names" Nodes Warning
        "A node's serving certificate does not name an address of the node"
        "The API server dials that address and refuses the kubelet: its addresses changed after the certificate was issued."
        "Let it ask anew: remove the current serving certificate and restart it."
        ["kubectl get node {node} -o jsonpath='{.status.addresses}'", "rm /var/lib/kubelet/pki/kubelet-server-current.pem && systemctl restart kubelet   # on the node; or restart its everleaf agent"];
    NodeSilent "node-silent" Nodes Warning
        "A node does not report any more"
        "It is off, cut off, or refused: a certificate that has ended does that. When it comes back late, its certificate may be over."
        "Look at it."
        ["everleaf why node/{node}"];
    NodeClock "node-clock" Nodes Warning
        "A node's clock is wrong"
        "It differs from the API server's by more than five minutes: it renews at the wrong time, or again and again."
        "Set it, and let a time service keep it."
        ["timedatectl set-ntp true   # on {node}"];
    NodeLoop "node-loop" Nodes Warning
        "A node renews again and again"
        "Its clock is far from the signer's, its cert dir is lost with every restart, or its addresses come and go."
        "See what it says about each renewal."
        ["everleaf why node/{node}"];

    TokensNone "tokens-none" Tokens Note
        "There is no bootstrap token that is good"
        "No new node can join, and none that has lapsed can come back, until somebody makes one."
        "Make one when a node is to join."
        ["everleaf token create --print-join-command"];
    TokenEnded "token-ended" Tokens Warning
        "A bootstrap token has ended and is still there"
        "It lets nobody in. The controller tokencleaner deletes such tokens within minutes: it does not run."
        "Delete it, and switch the controller on (--controllers=*,tokencleaner)."
        ["everleaf token delete {token}"];
    TokenEndsSoon "token-ends-soon" Tokens Note
        "A bootstrap token ends within the hour"
        "Machines that are just being set up with it may come too late."
        "Make another one for them."
        ["everleaf token create --print-join-command"];
    TokenForEver "token-for-ever" Tokens Warning
        "A bootstrap token never ends"
        "Whoever finds it, years later, on a disk or in a script, joins a machine."
        "Delete it, and make tokens that end."
        ["everleaf token delete {token}", "everleaf token create --ttl 24h"];
    TokenNoUsage "token-no-usage" Tokens Warning
        "A bootstrap token is for nothing"
        "It is neither for authentication nor for signing: nobody can file a request with it, nor learn whom to trust."
        "Make another one."
        ["everleaf token delete {token}", "everleaf token create --usages signing,authentication"];
    TokenUsageValue "token-usage-value" Tokens Warning
        "A usage of a bootstrap token is written so that it does not count"
        "Only `true` counts, in small letters: the token is not for what it looks like."
        "Make it again."
        ["everleaf token delete {token}", "everleaf token create --usages signing,authentication"];
    TokenGroups "token-groups" Tokens Warning
        "A bootstrap token has a group that no token may have"
        "Groups of tokens begin with system:bootstrappers: ; the API server refuses the whole token."
        "Make it again with a group of that kind."
        ["everleaf token delete {token}", "everleaf token create --groups system:bootstrappers:kubeadm:default-node-token"];
    TokenMalformed "token-malformed" Tokens Warning
        "A Secret of the tokens' type is no token"
        "Its name is not bootstrap-token- and its id, or it has no secret part: nobody can use it."
        "Delete it, and make another one."
        ["kubectl -n kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token"];
    TokenUnsigned "token-unsigned" Tokens Warning
        "kube-public/cluster-info is not signed for a token"
        "A machine that joins with it waits, and gives up: the controller bootstrapsigner does not run."
        "Switch it on (--controllers=*,bootstrapsigner)."
        ["kubectl -n kube-public get configmap cluster-info -o yaml"];
    ClusterInfoAbsent "cluster-info-absent" Tokens Note
        "There is no ConfigMap kube-public/cluster-info"
        "`agent join` and `kubeadm join` cannot learn whom to trust; machines that are given a kubeconfig do not need it."
        "Make it, if machines are to join by token and hash."
        ["kubeadm init phase bootstrap-token   # on the control plane"];

    VersionsUsages "versions-usages" Versions Error
        "The control plane is older than 1.25, and kubelets are 1.27 or newer"
        "Those ask without `key encipherment`, which such a control plane neither approves nor refuses: their requests stay Pending for ever."
        "Upgrade the control plane first, or run `everleaf controllers` beside it."
        ["kubectl get nodes -o wide", "kubectl version"];
    VersionsKubeletNewer "versions-kubelet-newer" Versions Warning
        "A kubelet is newer than the API server"
        "Kubernetes does not support it: what it asks for may not be there."
        "Upgrade the API server first."
        ["kubectl get node {node} -o wide"];
    VersionsKubeletOld "versions-kubelet-old" Versions Warning
        "A kubelet is more than three minor versions older than the API server"
        "Kubernetes does not support it."
        "Upgrade it."
        ["kubectl get node {node} -o wide"];
    VersionsManager "versions-manager" Versions Warning
        "kube-controller-manager and the API server are not of neighbouring versions"
        "It may be at most one minor version older, and never newer."
        "Bring both to the same version, the API server first."
        ["kubectl -n kube-system get pod {pod} -o yaml | grep image:"];
    VersionsMlDsa "versions-ml-dsa" Versions Error
        "Requests have ML-DSA keys, which this control plane does not know"
        "Kubernetes takes them from 1.38 on, and Everleaf: until then nobody signs them."
        "Let the node ask with an ECDSA key (clientCertificateKeyAlgorithm, serverCertificateKeyAlgorithm), or upgrade the control plane."
        ["everleaf why csr/{csr}"];
    VersionsNoApi "versions-no-api" Versions Error
        "The API server has no certificates.k8s.io/v1"
        "It is older than 1.19, or the group is switched off: no certificate is issued through the API."
        "Upgrade it, or take the group out of --runtime-config's exclusions."
        ["kubectl api-versions | grep certificates"];

    RevocationsUnenforced "revocations-unenforced" Revocations Error
        "Certificates are revoked on an API server that believes them"
        "kube-apiserver looks at no revocation: what is named there is believed until it ends, except by readers of the list."
        "Take the rights of that user away by RBAC, or replace the CA; nothing else shuts a certificate out there."
        ["kubectl -n kube-system get configmap everleaf-revocations -o yaml"];
    RevocationListAbsent "revocation-list-absent" Revocations Warning
        "Certificates are revoked, and there is no revocation list"
        "Whoever judges certificates without asking the API server believes them still."
        "Run the controller revocation-list-publisher."
        ["kubectl -n kube-public get configmap everleaf-revocation-list"];
    RevocationListLate "revocation-list-late" Revocations Error
        "The revocation list has ended"
        "OpenSSL, Java, Python and Node refuse every certificate by it, good ones too."
        "Let the controller revocation-list-publisher run again; give readers the new list."
        ["kubectl -n kube-public get configmap everleaf-revocation-list -o jsonpath='{.data.nextUpdate}'"];
    RevocationListStale "revocation-list-stale" Revocations Warning
        "The revocation list has not been made anew for two days"
        "It is made every day: its controller does not run. When it ends, readers refuse every certificate."
        "See why revocation-list-publisher does not run."
        ["kubectl -n kube-public get configmap everleaf-revocation-list -o jsonpath='{.data.thisUpdate}'"];
    RevocationUnknownEntry "revocation-unknown-entry" Revocations Warning
        "An entry of the revocations means nothing"
        "Its key is none of serial.…, credential.… and node.…: nothing is refused by it, whatever was meant."
        "Write it anew with `everleaf ca revoke`."
        ["kubectl -n kube-system edit configmap everleaf-revocations"];
    RevokedWithToken "revoked-with-token" Revocations Note
        "A node is revoked, and there are bootstrap tokens that are good"
        "Whoever has the machine may have such a token on it, and joins again under its name."
        "Delete tokens that were on it."
        ["everleaf token list", "everleaf token delete {token}"];

    CertDirAbsent "cert-dir-absent" CertDir Error
        "There is no cert dir"
        "This machine has no certificate: it has never joined, or keeps them elsewhere."
        "Name it with --cert-dir, or join."
        ["everleaf token create --print-join-command   # on an administrator's machine"];
    CertDirWritable "cert-dir-writable" CertDir Error
        "Others may write to the cert dir"
        "Whoever may put a file there chooses with which key this node speaks."
        "Take the right away."
        ["chmod go-w {dir}"];
    CertDirVolatile "cert-dir-volatile" CertDir Error
        "The cert dir lies in memory"
        "A reboot empties it, and this node has to join anew each time."
        "Move it to a disk."
        ["findmnt -T {dir}"];
    CertAbsent "cert-absent" CertDir Error
        "There is no current client certificate"
        "This node is nobody to the API server until it has one; it needs a bootstrap credential for that."
        "See what its kubelet or agent says; give it a bootstrap token."
        ["journalctl -u kubelet -u everleaf-agent -n 50", "ls -l {dir}"];
    CertTorn "cert-torn" CertDir Error
        "A current certificate cannot be read"
        "The file is empty, torn, or of something else; the link may lead nowhere."
        "Point the link at the newest file that is whole; without one, remove it and let the node join again."
        ["ls -l {dir}", "everleaf certs {dir}"];
    CertOtherKey "cert-other-key" CertDir Error
        "The key does not belong to the certificate"
        "No connection with it succeeds."
        "Point the link at the newest file whose key fits."
        ["everleaf certs {dir}"];
    CertReadable "cert-readable" CertDir Error
        "Others may read the private key"
        "Every user of this machine can be this node."
        "Take the right away; if others were on it, revoke the certificate and renew."
        ["chmod 0600 {file}"];
    CertEnded "cert-ended" CertDir Error
        "A current certificate has ended"
        "A client certificate that has ended cannot renew itself; a serving certificate that has is refused."
        "For a client certificate, give this node a bootstrap token again and restart its agent or kubelet. For a serving one, see its newest request."
        ["everleaf token create --print-join-command   # on an administrator's machine", "everleaf certs {dir}"];
    CertNotBegun "cert-not-begun" CertDir Warning
        "A current certificate has not begun"
        "By this machine's clock it is not valid yet: this clock is behind, or the signer's was ahead."
        "Set the clock that is wrong."
        ["date -u", "timedatectl status"];
    CertOverdue "cert-overdue" CertDir Error
        "A current certificate should have been renewed"
        "It is past the time at which it is renewed, and nothing took its place: the agent or kubelet is off, or its requests are not answered."
        "See whether it runs, and what became of its request."
        ["systemctl status kubelet everleaf-agent", "everleaf why node/{node}"];
    CertPendingOld "cert-pending-old" CertDir Warning
        "A request of this node has been waiting for more than an hour"
        "Nobody approves or signs it; the certificate that is in use goes on ageing."
        "Ask why."
        ["everleaf why csr/{csr}"];
    CertLeftovers "cert-leftovers" CertDir Note
        "Many old certificates lie in the cert dir"
        "They are left behind by renewals. A kubelet never deletes them; so many in a short time are a renewal loop."
        "Delete those that are neither current nor the one before."
        ["ls -lt {dir}"];
    CertOtherCa "cert-other-ca" CertDir Note
        "The client certificate is not signed by an authority of the kubeconfig"
        "It may be that clients have a CA of their own; otherwise the CA was replaced, and this node is refused."
        "See whether the API server takes it: the section `server` says so."
        ["everleaf certs {dir}"];

    KubeconfigAbsent "kubeconfig-absent" Kubeconfig Error
        "There is no kubeconfig"
        "Agent and kubelet do not know where the API server is; they write it when they have joined."
        "Name it with --kubeconfig, or join."
        ["everleaf token create --print-join-command   # on an administrator's machine"];
    KubeconfigUnusable "kubeconfig-unusable" Kubeconfig Error
        "The kubeconfig cannot be used"
        "Agent and kubelet do not start, or go on with what they read before."
        "Correct what is said of it, or write it anew by joining."
        ["everleaf certs {file}"];
    KubeconfigReadable "kubeconfig-readable" Kubeconfig Error
        "Others may read the kubeconfig, and it holds a secret"
        "Every user of this machine can be its user."
        "Take the right away."
        ["chmod 0600 {file}"];
    KubeconfigOtherFile "kubeconfig-other-file" Kubeconfig Warning
        "The kubeconfig does not name the current certificate"
        "It names another file, or holds a certificate itself: it does not follow renewals, and ends with what it holds."
        "Let client-certificate and client-key name the -current file of the cert dir."
        ["grep -n client- {file}"];
    KubeconfigNoCa "kubeconfig-no-ca" Kubeconfig Warning
        "The kubeconfig names no authority"
        "Whoever this machine trusts anyway may be the API server; the cluster's own CA is not among them."
        "Put the cluster's CA into certificate-authority-data."
        ["kubectl config --kubeconfig {file} set-cluster NAME --certificate-authority=ca.crt --embed-certs"];

    NotSeen "not-seen" Server Note
        "Something was not looked at"
        "What is wrong there is not told: this user may not read it, or the server does not have it."
        "Ask as somebody who may read it."
        ["kubectl auth can-i --list"];
}
