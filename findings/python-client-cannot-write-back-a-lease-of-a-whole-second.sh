#!/usr/bin/env bash
# kubernetes 37.0.2 (Python's official client) and k8s.io/api v0.37.2: a Lease whose time is a whole
# second, as any Go client writes it ("…05.000000Z"), is read by the Python client, given back
# unchanged, and refused: it is written without the fraction, and MicroTime wants six digits. Times
# of other microseconds pass, so leader election in Python fails about once in a million renewals,
# and each time with a holder that keeps its times to whole seconds.
# Seen: 05.000000Z goes out as "05+00:00" and is refused, 05.000001Z goes out with six digits.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip -q install kubernetes==37.0.2
cat > back.py <<'PY'
import json
from kubernetes import client

api = client.ApiClient()

for time in "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05.000001Z":
    text = json.dumps({"spec": {"renewTime": time}})
    lease = api.deserialize(text, "V1Lease", "application/json")
    print(json.dumps(api.sanitize_for_serialization(lease)))
PY
venv/bin/python back.py > written
export GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	coordination "k8s.io/api/coordination/v1"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var lease coordination.Lease
		err := json.Unmarshal(lines.Bytes(), &lease)
		fmt.Printf("%s %v\n", lines.Text(), err)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get k8s.io/api@v0.37.2 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run . < written | tee seen
diff seen - <<'END'
{"spec": {"renewTime": "2026-01-02T03:04:05+00:00"}} parsing time "2026-01-02T03:04:05+00:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "+00:00" as ".000000"
{"spec": {"renewTime": "2026-01-02T03:04:05.000001+00:00"}} <nil>
END
