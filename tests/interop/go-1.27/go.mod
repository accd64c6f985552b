module everleaf.dev/interop/go-1.27

go 1.27.4
