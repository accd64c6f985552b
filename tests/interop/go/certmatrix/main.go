// Keys below 1024 bits have to be made before a server can refuse them.

//go:debug rsa1024min=0

// Certmatrix makes client certificates of every kind, good, odd and broken, and shows them to an
// API server.
//
//	certmatrix make DIR
//	certmatrix show --server https://127.0.0.1:6443 --ca FILE --matrix DIR/matrix.json --bundle NAME
//	certmatrix resume --server https://127.0.0.1:6443 --ca FILE --signer-cert FILE --signer-key FILE
//
// `make` writes DIR/matrix.json, with the chains and the private keys of this run, and each bundle
// of authorities as DIR/NAME.pem, for --client-ca-file. `show` presents the chains of one bundle,
// byte for byte as they were made, and prints who the server says that was, a line of JSON per
// case. It judges no server: who runs it compares. `resume` renews a certificate while it keeps TLS
// sessions, and fails when the server goes on seeing the old one.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/pkg/version"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "certmatrix: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("make, show, resume or --version")
	}
	switch args[0] {
	case "--version":
		// The suite asks every program which Kubernetes it belongs to.
		fmt.Println(version.Get().GitVersion)
		return nil
	case "make":
		if len(args) != 2 {
			return fmt.Errorf("make DIR")
		}
		return newMatrix(time.Now()).write(args[1])
	case "show":
		flags := flag.NewFlagSet("show", flag.ContinueOnError)
		server := flags.String("server", "", "URL of the API server")
		ca := flags.String("ca", "", "file with the authority of its serving certificate")
		file := flags.String("matrix", "", "the matrix.json that make wrote")
		bundle := flags.String("bundle", mainBundle, "show the cases of this bundle")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return show(*server, *ca, *file, *bundle)
	case "resume":
		flags := flag.NewFlagSet("resume", flag.ContinueOnError)
		server := flags.String("server", "", "URL of the API server")
		ca := flags.String("ca", "", "file with the authority of its serving certificate")
		signer := flags.String("signer-cert", "", "file with an authority of client certificates")
		key := flags.String("signer-key", "", "file with its key")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return resume(*server, *ca, *signer, *key)
	default:
		return fmt.Errorf("no such command: %s", args[0])
	}
}
