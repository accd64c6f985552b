#!/usr/bin/env bash
# Everleaf with ML-DSA keys beside kube-apiserver, kube-controller-manager and kubectl
# 1.38.0-beta.0, outside CI: the build alone takes ten minutes and more of two cores. Everything is
# of this release but three modules that the module proxy does not have:
# - structured-merge-diff/v7 is 7.0.0 instead of 7.0.1;
# - apiextensions-api, the types and clients of CustomResourceDefinitions, is made of the same
#   packages of apiextensions-apiserver 0.38.0-alpha.2, from which they were moved;
# - ktesting is empty: only tests use it.
# Nothing of these has to do with certificates. kubelet needs a fourth one, iptables-wrappers 1.0.0.
#
# Usage, after `cargo build`, with OPENSSL_35 and ETCD as `cargo xtask peers` prints them:
# EVERLEAF=target/debug/everleaf tests/interop/kubernetes-1.38.sh
# It needs Go, and uses ports 27100 to 27129.
set -euo pipefail
: "${EVERLEAF:?the program under test}" "${OPENSSL_35:?see cargo xtask peers}" "${ETCD:?see cargo xtask peers}"
EVERLEAF=$(realpath "$EVERLEAF")
release=v1.38.0-beta.0 staging=v0.38.0-beta.0 before=v0.38.0-alpha.2
export GOTOOLCHAIN=go1.27.4 CGO_ENABLED=0
home=${XDG_CACHE_HOME:-$HOME/.cache}/everleaf/kubernetes-1.38

build() {
  local module=$home/module from flags="-s -w" package
  rm -rf "$module" && mkdir -p "$module/apiextensions-api/pkg/apis/apiextensions" "$module/ktesting" "$home/bin"
  cd "$module"
  # The list of staging modules is in Kubernetes' own go.mod.
  local manifest
  manifest=$(go mod download -json "k8s.io/kubernetes@$release" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    printf 'module everleaf.dev/interop/kubernetes-1.38\n\ngo 1.27.0\n\nrequire k8s.io/kubernetes %s\n\nreplace (\n' "$release"
    sed -n "s#^\t\(k8s.io/[a-z-]*\) v0.0.0\$#\t\1 => \1 $staging#p" "$manifest" |
      sed 's#=> k8s.io/\(apiextensions-api\|ktesting\) .*#=> ./\1#'
    printf '\tsigs.k8s.io/structured-merge-diff/v7 => sigs.k8s.io/structured-merge-diff/v7 v7.0.0\n)\n'
  } > go.mod
  from=$(cd / && go mod download -json "k8s.io/apiextensions-apiserver@$before" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  cp -r "$from/pkg/apis/apiextensions/v1" "$from/pkg/apis/apiextensions/v1beta1" apiextensions-api/pkg/apis/apiextensions/
  cp -r "$from/pkg/client" apiextensions-api/pkg/
  chmod -R u+w .
  rm -rf apiextensions-api/pkg/apis/apiextensions/*/{conversion,zz_generated.conversion}.go apiextensions-api/pkg/client/clientset_test
  find apiextensions-api -name '*_test.go' -delete
  find apiextensions-api -name '*.go' -exec sed -i \
    's#k8s.io/apiextensions-apiserver/pkg/#k8s.io/apiextensions-api/pkg/#; s#structured-merge-diff/v6#structured-merge-diff/v7#' {} +
  for package in v1 v1beta1; do
    # It stood in a file of conversions.
    printf 'package %s\n\nvar nullLiteral = []byte(`null`)\n' "$package" > "apiextensions-api/pkg/apis/apiextensions/$package/null.go"
  done
  for package in apiextensions-api ktesting; do
    printf 'module k8s.io/%s\n\ngo 1.27.0\n' "$package" > "$package/go.mod"
  done
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$release -X $package.gitMajor=1 -X $package.gitMinor=38 -X $package.gitTreeState=clean"
  done
  go build -mod=mod -trimpath -ldflags "$flags" -o "$home/bin/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kubectl}
}
[ -x "$home/bin/kubectl" ] || (build)

directory=$(mktemp -d)
end() {
  # Not gently: a kube-apiserver that ends waits for an etcd that has.
  xargs -r kill -KILL < "$directory/pids" 2>/dev/null || true
  { wait; } 2>/dev/null # without a word on each
  rm -rf "$directory"
}
trap end EXIT
# In a file, since some are started in subshells.
start() { "${@:2}" > "$1.log" 2>&1 & echo $! >> "$directory/pids"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
eventually() { # WHAT COMMAND…
  for _ in $(seq 120); do "${@:2}" >/dev/null 2>&1 && return; sleep 0.5; done
  fail "$1"
}

# Seeds alone: Go reads no other form.
key() {
  case $1 in
    EC) "$OPENSSL_35" genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
    *) "$OPENSSL_35" genpkey -quiet -algorithm "$1" -provparam ml-dsa.output_formats=seed-only -out "$2" ;;
  esac
}
leaf() { # KIND NAME SUBJECT EXTENSIONS
  key "$1" "$2.key"
  printf "%b" "keyUsage=digitalSignature\n$4\n" > "$2.ext"
  "$OPENSSL_35" req -new -key "$2.key" -subj "$3" -out "$2.csr"
  "$OPENSSL_35" x509 -req -days 300 -in "$2.csr" -CA ca.crt -CAkey ca.key -extfile "$2.ext" -out "$2.crt" 2>/dev/null
}
kubeconfig() { # NAME PORT USER
  printf '{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: "https://127.0.0.1:%s", certificate-authority: %s/ca.crt}}], users: [{name: u, user: %s}]}\n' \
    "$2" "$PWD" "$3" > "$1.conf"
}
authority() { # KIND PORT
  key "$1" ca.key
  "$OPENSSL_35" req -x509 -new -key ca.key -days 365 -subj /CN=kubernetes -addext keyUsage=critical,keyCertSign,cRLSign -out ca.crt
  leaf "$1" apiserver /CN=127.0.0.1 "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"
  local user
  for user in admin:/O=system:masters/CN=admin kcm:/CN=system:kube-controller-manager; do
    leaf "$1" "${user%%:*}" "${user#*:}" extendedKeyUsage=clientAuth
    kubeconfig "${user%%:*}" "$2" "{client-certificate: $PWD/${user%%:*}.crt, client-key: $PWD/${user%%:*}.key}"
  done
  kubeconfig bootstrap "$2" '{token: intero.0123456789abcdef}'
  "$OPENSSL_35" genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key
  "$OPENSSL_35" pkey -in sa.key -pubout -out sa.pub
}
kubectl() { "$home/bin/kubectl" --kubeconfig "$PWD/admin.conf" "$@"; }
ready() { [ "$(kubectl get --raw /readyz --request-timeout=5s)" = ok ]; }
# What kubeadm creates for joining nodes.
joining() {
  local group=system:bootstrappers:kubeadm:default-node-token csr=system:certificates.k8s.io:certificatesigningrequests
  kubectl -n kube-system create secret generic bootstrap-token-intero --type=bootstrap.kubernetes.io/token \
    --from-literal=token-id=intero --from-literal=token-secret=0123456789abcdef \
    --from-literal=usage-bootstrap-authentication=true --from-literal=auth-extra-groups=$group >/dev/null
  kubectl create clusterrolebinding a --clusterrole=system:node-bootstrapper --group=$group >/dev/null
  kubectl create clusterrolebinding b --clusterrole=$csr:nodeclient --group=$group >/dev/null
  kubectl create clusterrolebinding c --clusterrole=$csr:selfnodeclient --group=system:nodes >/dev/null
}
control_plane() { # KIND PORT FLAG…
  authority "$1" "$2"
  start etcd "$ETCD" --data-dir etcd --log-level warn --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$(($2 + 1))" \
    --advertise-client-urls "http://127.0.0.1:$(($2 + 1))" --listen-peer-urls "http://127.0.0.1:$(($2 + 2))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$(($2 + 2))" --initial-cluster "default=http://127.0.0.1:$(($2 + 2))"
  start kube-apiserver "$home/bin/kube-apiserver" --etcd-servers="http://127.0.0.1:$(($2 + 1))" --secure-port="$2" --bind-address=127.0.0.1 \
    --client-ca-file=ca.crt --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --cert-dir=generated \
    --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key --service-account-issuer=https://kubernetes.default.svc \
    --service-cluster-ip-range=10.96.0.0/16 --endpoint-reconciler-type=none --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction --enable-bootstrap-token-auth "${@:3}"
  eventually "kube-apiserver is ready" ready
  joining
}
kube_controller_manager() { # PORT
  start kube-controller-manager "$home/bin/kube-controller-manager" --kubeconfig=kcm.conf --authentication-kubeconfig=kcm.conf \
    --authorization-kubeconfig=kcm.conf --controllers=csrapproving,csrsigning --use-service-account-credentials=true --cluster-signing-cert-file=ca.crt \
    --cluster-signing-key-file=ca.key --secure-port="$1" --bind-address=127.0.0.1
}
approve() { kubectl get csr -o name | xargs -r -n1 "$home/bin/kubectl" --kubeconfig "$PWD/admin.conf" certificate approve >/dev/null; }
# Nodes that want keys of those kinds get certificates, and are let in with them; it prints of
# which kind these are.
joins() { # PREFIX KIND…
  local kind node use
  for kind in "${@:2}"; do
    node=$1-${kind,,}
    start "$node" "$EVERLEAF" agent --hostname-override "$node" --kubeconfig "$node/kubelet.conf" --cert-dir "$node/pki" \
      --bootstrap-kubeconfig bootstrap.conf --rotate-certificates --rotate-server-certificates --node-ip 127.0.0.1 \
      --client-certificate-key-algorithm "$kind" --server-certificate-key-algorithm "$kind"
  done
  for kind in "${@:2}"; do
    node=$1-${kind,,}
    eventually "$node has its client certificate" test -f "$node/pki/kubelet-client-current.pem"
    served() { approve; test -f "$node/pki/kubelet-server-current.pem"; }
    eventually "$node has its serving certificate" served
    [ "$("$home/bin/kubectl" --kubeconfig "$node/kubelet.conf" auth whoami -o 'jsonpath={.status.userInfo.username}')" = "system:node:$node" ] ||
      fail "$node is somebody else"
    for use in client server; do
      "$OPENSSL_35" verify -x509_strict -purpose "ssl$use" -CAfile ca.crt "$node/pki/kubelet-$use-current.pem" >/dev/null || fail "$node: $use"
      "$OPENSSL_35" x509 -noout -text -in "$node/pki/kubelet-$use-current.pem" | sed -n "s/ *Public Key Algorithm: /$kind $use /p"
    done
  done
}
same() { # WHAT SEEN WANTED
  [ "$2" = "$3" ] || fail "$1:" $'\n'"$2"
  echo "ok: $1"
}
sets=(ML-DSA-44 ML-DSA-65 ML-DSA-87)
wanted=$(for set in "${sets[@]}"; do echo "$set client $set"; echo "$set server $set"; done)
gate=--feature-gates=CertificateSigningRequestMLDSA=true

mkdir "$directory/off" && cd "$directory/off"
control_plane ML-DSA-65 27100
kube_controller_manager 27103
seen=$(joins n ML-DSA-65)
same "with the gate off, as by default in 1.38, the node has P-256 keys below the CA of ML-DSA-65" "$seen" \
  $'ML-DSA-65 client id-ecPublicKey\nML-DSA-65 server id-ecPublicKey'
grep -q 'takes no ML-DSA-65 key (ML-DSA keys cannot be used for requests)' n-ml-dsa-65.log || fail "the agent does not say why"

mkdir "$directory/on" && cd "$directory/on"
control_plane ML-DSA-65 27110 "$gate"
kube_controller_manager 27113
signer=$(tail -n 1 "$directory/pids")
same "with the gate on, kube-controller-manager signs all three sets below it, for clients and servers" "$(joins kcm "${sets[@]}")" "$wanted"
kill "$signer"
start controllers "$EVERLEAF" controllers --kubeconfig admin.conf --leader-elect=false --cluster-signing-cert-file ca.crt \
  --cluster-signing-key-file ca.key --issuance-log log
same "and so does everleaf controllers on this kube-apiserver" "$(joins ours "${sets[@]}")" "$wanted"

mkdir "$directory/mixed" && cd "$directory/mixed"
authority EC 27120
start everleaf "$EVERLEAF" apiserver --data-dir data --bind-address 127.0.0.1 --secure-port 27120 --client-ca-file ca.crt \
  --tls-cert-file apiserver.crt --tls-private-key-file apiserver.key --service-account-signing-key-file sa.key --enable-bootstrap-token-auth
eventually "everleaf apiserver is ready" ready
kubectl -n kube-system create secret generic bootstrap-token-intero --type=bootstrap.kubernetes.io/token \
  --from-literal=token-id=intero --from-literal=token-secret=0123456789abcdef --from-literal=usage-bootstrap-authentication=true \
  --from-literal=auth-extra-groups=system:bootstrappers:kubeadm:default-node-token >/dev/null
kube_controller_manager 27123
same "kube-controller-manager signs them on everleaf apiserver below a CA of P-256" "$(joins mixed "${sets[@]}")" "$wanted"
