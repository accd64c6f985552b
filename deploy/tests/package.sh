#!/usr/bin/env bash
# The Debian package in two fresh Debian systems, as a person would use it: install, start, a second
# host by the printed line, a service that hangs, upgrade, purge. Outside CI, since it needs root, a
# Debian mirror, debootstrap and systemd-nspawn (package systemd-container).
#
#   deploy/tests/package.sh target/dist/everleaf_0.1.0-1_amd64.deb
set -euo pipefail
deb=$(realpath "$1")
mirror=${MIRROR:-http://deb.debian.org/debian}
port=16443
for tool in debootstrap systemd-nspawn nsenter openssl; do
  command -v "$tool" >/dev/null || { echo "package.sh: $tool is not installed" >&2; exit 2; }
done
dir=$(mktemp -d /var/tmp/everleaf-package.XXXXXX)
declare -A leader
stop() {
  for pid in "${leader[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  sleep 1
  rm -rf "$dir"
}
trap stop EXIT

# In host $1, the command $2.
on() {
  nsenter -t "${leader[$1]}" -m -u -i -p -n -C -r -w -- \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ TERM=dumb DEBIAN_FRONTEND=noninteractive timeout 120 bash -ec "$2"
}
# Says $1 when the rest holds.
see() {
  local what=$1; shift
  if "$@"; then echo "ok      $what"; else echo "FAILED  $what" >&2; exit 1; fi
}

debootstrap --variant=minbase --include=systemd,systemd-sysv,adduser bookworm "$dir/host1" "$mirror" >"$dir/log"
cp -a "$dir/host1" "$dir/host2"
for host in host1 host2; do
  echo "$host" >"$dir/$host/etc/hostname"
  cp "$deb" "$dir/$host/media/everleaf.deb"
  systemd-nspawn -D "$dir/$host" --hostname="$host" --register=no --keep-unit --boot >"$dir/log-$host" 2>&1 </dev/null &
  nspawn=$!
  for _ in $(seq 60); do
    grep -q 'Reached target.*multi-user' "$dir/log-$host" && break
    sleep 1
  done
  # The first process in it is the child of systemd-nspawn's own.
  leader[$host]=$(pgrep -P "$nspawn" | head -n1)
done

began=$SECONDS
see "it installs" on host1 'dpkg -i /media/everleaf.deb >/dev/null'
see "it starts nothing" on host1 '! systemctl is-enabled everleaf everleaf-agent everleaf-controllers | grep -v disabled'
on host1 "echo 'EVERLEAF_UP_FLAGS=\"--listen 0.0.0.0:$port --tls-san 127.0.0.1\"' >/etc/default/everleaf"
see "the service starts" on host1 'systemctl enable --now everleaf 2>/dev/null && systemctl is-active --quiet everleaf'
line=$(on host1 'everleaf token create --print-join-command --kubeconfig /var/lib/everleaf/admin.conf' 2>/dev/null)
on host2 'dpkg -i /media/everleaf.deb >/dev/null'
see "a second host joins by the printed line" on host2 "$line --no-start >/dev/null"
on host2 'systemctl enable --now everleaf-agent 2>/dev/null'
pem=$dir/host2/var/lib/everleaf-agent/pki/
for _ in $(seq 20); do [ -L "$pem/kubelet-client-current.pem" ] && break; sleep 1; done
current=$(find "$pem" -name 'kubelet-client-2*.pem' | head -n1)
see "it has a certificate" grep -q 'system:node:host2' <(openssl x509 -in "$current" -noout -subject)
echo "        after $((SECONDS - began)) s"

on host1 'kill -STOP $(systemctl show everleaf -p MainPID --value)'
for _ in $(seq 90); do
  [ "$(on host1 'systemctl show everleaf -p NRestarts --value')" = 1 ] && break
  sleep 1
done
see "a service that hangs is started again" on host1 'sleep 8; systemctl is-active --quiet everleaf'
before=$(on host1 'systemctl show everleaf -p MainPID --value')
see "an upgrade restarts what runs" on host1 "dpkg -i /media/everleaf.deb >/dev/null && systemctl is-active --quiet everleaf &&
  [ \$(systemctl show everleaf -p MainPID --value) != $before ]"
see "its flags are still there" on host1 "grep -q $port /etc/default/everleaf"
see "it goes without a trace but data" on host2 'dpkg --purge everleaf >/dev/null 2>&1
  [ "$(find / -xdev -name "*everleaf*" -not -path "/proc/*" -not -path "/media/*" -not -path "/var/lib/everleaf-agent/*")" = /var/lib/everleaf-agent ]'
