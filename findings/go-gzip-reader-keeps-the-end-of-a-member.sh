#!/usr/bin/env bash
# Go 1.26.8, compress/gzip: a Reader of several members (the default, and what net/http uses for
# Content-Encoding: gzip) gives out the last block of a member only when it has read what follows
# the member: the header of the next one, or the end. On a stream that stays open, a watch say,
# whoever ends a member with each batch, and does not flush it first, sends batches that nobody
# sees until the next one comes. A flush before the close puts the data into a block before the
# last.
# Seen: closed without a flush: nothing within 2 s; flushed, then closed: the data at once.
set -euo pipefail
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT; cd "$dir"
export GOTOOLCHAIN=go1.26.8
cat > main.go <<'GO'
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"time"
)

func main() {
	for _, flushes := range []bool{false, true} {
		pipe, to := io.Pipe()
		go func() {
			member := gzip.NewWriter(to)
			member.Write([]byte("event"))
			if flushes {
				member.Flush()
			}
			member.Close()
			// The stream stays open.
		}()
		got := make(chan string, 1)
		go func() {
			reader, _ := gzip.NewReader(pipe)
			data := make([]byte, 64)
			n, _ := reader.Read(data)
			got <- string(data[:n])
		}()
		select {
		case text := <-got:
			fmt.Printf("flushed %v: %q\n", flushes, text)
		case <-time.After(2 * time.Second):
			fmt.Printf("flushed %v: nothing\n", flushes)
		}
	}
}
GO
go mod init finding >/dev/null 2>&1
go run . | tee seen
diff seen - <<'SEEN'
flushed false: nothing
flushed true: "event"
SEEN
