#!/usr/bin/env bash
# k8s.io/apimachinery v0.37.2, pkg/api/validation: metadata.generateName is judged by the rule of
# names, with its end masked, since a beginning may end with a dash where a name may not. The mask
# takes away the dash and the letter before it and puts "a" there: so "A-" and "x_-" pass as
# beginnings of DNS subdomains, though every name that they can become ("A-x7k2m") is refused.
# Without the dash the same letters are refused. Whoever checks a generateName by trying the rule on
# generateName plus a suffix judges otherwise than kube-apiserver.
# Seen: "A-" []; "x_-" []; "A" and "x_" and "A-x7k2m" one error each; "a--" [].
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOTOOLCHAIN=go1.26.8 GOFLAGS=-mod=mod
cat > main.go <<'GO'
package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/validation"
)

func main() {
	for _, text := range []string{"A-", "x_-", "a--", "A", "x_"} {
		fmt.Printf("beginning %s: %d\n", text, len(validation.NameIsDNSSubdomain(text, true)))
	}
	fmt.Printf("name A-x7k2m: %d\n", len(validation.NameIsDNSSubdomain("A-x7k2m", false)))
}
GO
go mod init finding >/dev/null 2>&1
go get k8s.io/apimachinery@v0.37.2 >/dev/null 2>&1
go run . | tee seen
diff seen - <<'SEEN'
beginning A-: 0
beginning x_-: 0
beginning a--: 0
beginning A: 1
beginning x_: 1
name A-x7k2m: 1
SEEN
