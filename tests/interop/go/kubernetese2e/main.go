// kubernetese2e runs Kubernetes' own end-to-end tests of some of its API groups, as they are in the
// module that go.mod pins, against the server of a kubeconfig:
//
//	kubernetese2e KUBECONFIG NAME...
//
// Each NAME is a part of a test's full name. A line per test that ran goes to standard output: "ok"
// or "failed", a tab, its full name and, in the next lines, indented, why it failed. A NAME that
// fits no test, or several, is an error. What the tests log goes to standard error.
//
// Kubernetes' own main waits for nodes and pods of a whole cluster first; this one does not, so
// that a server that has only some resources can be asked about these.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/formatter"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"k8s.io/client-go/pkg/version"
	"k8s.io/kubernetes/test/e2e/framework"

	// Each registers its tests.
	_ "k8s.io/kubernetes/test/e2e/apimachinery"
	_ "k8s.io/kubernetes/test/e2e/auth"
	_ "k8s.io/kubernetes/test/e2e/common/node"
	_ "k8s.io/kubernetes/test/e2e/instrumentation"
)

// outcome is where ginkgo says that a test failed.
type outcome struct{ failed bool }

func (o *outcome) Fail() { o.failed = true }

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("Kubernetes", version.Get().GitVersion)
		return
	}
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: kubernetese2e KUBECONFIG NAME...")
		os.Exit(2)
	}
	names := os.Args[2:]
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flags := []string{"--kubeconfig", os.Args[1], "--provider", "skeleton"}
	if err := flag.CommandLine.Parse(flags); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	framework.TestContext.VerifyServiceAccount = false
	framework.TestContext.DumpLogsOnFailure = false
	framework.AfterReadingAllFlags(&framework.TestContext)
	gomega.RegisterFailHandler(framework.Fail)

	suite, reporter := ginkgo.GinkgoConfiguration()
	for _, name := range names {
		suite.FocusStrings = append(suite.FocusStrings, regexp.QuoteMeta(name))
	}
	reporter.NoColor = true
	formatter.ColorableStdOut = os.Stderr
	times := map[string]int{}
	ginkgo.ReportAfterEach(func(report ginkgo.SpecReport) {
		if report.State.Is(types.SpecStatePassed | types.SpecStateFailureStates) {
			print(report, names, times)
		}
	})
	var result outcome
	ginkgo.RunSpecs(&result, "Kubernetes", suite, reporter)
	for _, name := range names {
		if times[name] != 1 {
			fmt.Fprintf(os.Stderr, "%q fits %d tests, not one\n", name, times[name])
			result.failed = true
		}
	}
	if result.failed {
		os.Exit(1)
	}
}

// print writes the line of a test that ran, and counts the names that fit it.
func print(report ginkgo.SpecReport, names []string, times map[string]int) {
	full := report.FullText()
	for _, name := range names {
		if strings.Contains(full, name) {
			times[name]++
		}
	}
	word := "ok"
	if report.State.Is(types.SpecStateFailureStates) {
		word = "failed"
	}
	fmt.Printf("%s\t%s\n", word, full)
	for _, line := range strings.Split(report.Failure.Message, "\n") {
		if line != "" {
			fmt.Printf("\t%s\n", line)
		}
	}
}
