//! Objects every server installs: namespaces, RBAC bootstrap policy, kubeadm bindings.
