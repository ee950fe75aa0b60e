package server_test

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
)

// suite is the specification's own conformance program.
const suite = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// everything turns on each workflow of the suite, those that are off by default too.
var everything = []string{
	"OCI_VERSION=1.1", "OCI_TLS=disabled", "OCI_LOG=error",
	"OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_BLOBS_UPLOAD_CANCEL=true",
	"OCI_API_MANIFESTS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_TAG_PARAM=true",
	"OCI_DATA_SPARSE=true",
}

// TestConformance runs the specification's suite against the server. It is
// skipped only where the suite cannot be fetched.
func TestConformance(t *testing.T) {
	bin := installSuite(t)
	store, err := layers.Open(filepath.Join(t.TempDir(), "store"), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	srv := httptest.NewServer(server.New(store, server.Options{Sparse: true}))
	defer srv.Close()
	results := t.TempDir()
	cmd := exec.Command(bin)
	cmd.Dir = results
	cmd.Env = append(os.Environ(), everything...)
	cmd.Env = append(cmd.Env, "OCI_REGISTRY="+strings.TrimPrefix(srv.URL, "http://"), "OCI_RESULTS_DIR="+results)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("conformance: %v\n%s", err, tail(string(out)))
	}
	junit, err := os.ReadFile(filepath.Join(results, "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	counts := regexp.MustCompile(`<testsuites[^>]*>`).FindString(string(junit))
	t.Log(counts)
	if counts == "" || regexp.MustCompile(`(failures|errors)="[1-9]`).MatchString(counts) {
		t.Errorf("want no failures: %s", counts)
	}
}

func installSuite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "install", "-mod=mod", suite)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the conformance suite cannot be fetched: %v\n%s", err, out)
	}
	return filepath.Join(dir, "conformance")
}

func tail(s string) string {
	if len(s) > 4000 {
		return s[len(s)-4000:]
	}
	return s
}
