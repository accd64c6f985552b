#!/usr/bin/env bash
# k8s.io/apimachinery v0.37.2 on Go 1.26.8: metav1.Time and metav1.MicroTime should be RFC 3339,
# and read more than that: an hour of one digit, a comma before the fraction, and an offset of up to
# 24 hours and 60 minutes. What was read so is written properly afterwards. Other digits have to be
# in their places, so that a reader that is lenient everywhere is no more like it than a strict one.
# Seen: "T3:04:05Z" and "05,5Z" are read, "+24:60" is read as 25 hours; "T3:4:05Z", "+24:61" and
# "+25:00" are refused. MicroTime wants six digits of fraction, and takes the same three liberties.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func show(text string, into any) {
	quoted, _ := json.Marshal(text)
	if json.Unmarshal(quoted, into) != nil {
		fmt.Printf("%s refused\n", text)
		return
	}
	written, _ := json.Marshal(into)
	fmt.Printf("%s %s\n", text, written)
}

func main() {
	for _, text := range []string{
		"2026-01-02T3:04:05Z", "2026-01-02T03:04:05,5Z", "2026-01-02T03:04:05+24:60",
		"2026-01-02T3:4:05Z", "2026-01-02T03:04:05+24:61", "2026-01-02T03:04:05+25:00",
	} {
		show(text, &metav1.Time{})
	}
	show("2026-01-02T3:04:05,123456+24:60", &metav1.MicroTime{})
}
GO
go mod init finding >/dev/null 2>&1
go get k8s.io/apimachinery@v0.37.2 >/dev/null 2>&1
go run . | tee seen
diff seen - <<'END'
2026-01-02T3:04:05Z "2026-01-02T03:04:05Z"
2026-01-02T03:04:05,5Z "2026-01-02T03:04:05Z"
2026-01-02T03:04:05+24:60 "2026-01-01T02:04:05Z"
2026-01-02T3:4:05Z refused
2026-01-02T03:04:05+24:61 refused
2026-01-02T03:04:05+25:00 refused
2026-01-02T3:04:05,123456+24:60 "2026-01-01T02:04:05.123456Z"
END
