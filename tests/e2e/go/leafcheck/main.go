// Command leafcheck is Go's opinion on certificates, and zlint's: crypto/x509 verifies a chain, the
// lints that apply to a private PKI judge each certificate of a file.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

const usage = `usage: leafcheck --version
       leafcheck verify CA-FILE client|server CHAIN-FILE [HOST]
       leafcheck lint FILE...`

// sources are those whose rules a private PKI has to keep: those of the CA/Browser Forum, of root
// programs and of ETSI are about publicly trusted certificates.
var sources = lint.SourceList{
	lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813,
	lint.Community,
}

// excluded lints are of those sources, and do not apply all the same. docs/tls-stacks.md has the
// reasons; a lint that never speaks does not belong here.
var excluded = []string{
	"w_ext_subject_key_identifier_missing_sub_cert",
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "--version":
		fmt.Printf("%s, zlint %s\n", runtime.Version(), version("github.com/zmap/zlint/v3"))
		return nil
	case len(args) >= 4 && args[0] == "verify":
		return verify(args[1], args[2], args[3], args[4:])
	case len(args) >= 2 && args[0] == "lint":
		return lintAll(args[1:])
	}
	return fmt.Errorf("%s", usage)
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "of an unknown version"
}

func verify(roots, purpose, chain string, hosts []string) error {
	text, err := os.ReadFile(roots)
	if err != nil {
		return err
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	if !options.Roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s holds no certificate", roots)
	}
	switch purpose {
	case "client":
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case "server":
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	default:
		return fmt.Errorf("%s", usage)
	}
	blocks, err := certificates(chain)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(blocks[0])
	if err != nil {
		return err
	}
	for _, block := range blocks[1:] {
		certificate, err := x509.ParseCertificate(block)
		if err != nil {
			return err
		}
		options.Intermediates.AddCert(certificate)
	}
	for _, host := range hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			return err
		}
	}
	_, err = leaf.Verify(options)
	return err
}

func lintAll(files []string) error {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: sources,
		ExcludeNames:   excluded,
	})
	if err != nil {
		return err
	}
	var complaints []string
	for _, file := range files {
		blocks, err := certificates(file)
		if err != nil {
			return err
		}
		for _, block := range blocks {
			certificate, err := zx509.ParseCertificate(block)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			for name, result := range zlint.LintCertificateEx(certificate, registry).Results {
				if result.Status >= lint.Warn {
					complaints = append(complaints, fmt.Sprintf(
						"%s (%s): %s: %s %s", file, certificate.Subject, result.Status, name, result.Details))
				}
			}
		}
	}
	if len(complaints) > 0 {
		return fmt.Errorf("%s", strings.Join(complaints, "\n"))
	}
	fmt.Printf("%d lints\n", len(registry.Names()))
	return nil
}

func certificates(file string) ([][]byte, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found [][]byte
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			found = append(found, block.Bytes)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return found, nil
}
