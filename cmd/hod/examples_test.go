//go:build linux

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
)

// TestExamples types what each example's README says, and looks for what it is
// to print. All share one store; those on Debian share one debootstrap.
func TestExamples(t *testing.T) {
	if !granted.Root() {
		t.Skip("containers with a private network want root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("there is no busybox to make a base of")
	}
	dir := t.TempDir()
	importBusybox(t, dir)
	store := filepath.Join(dir, "store")
	command(t, store, "hod tag base busybox")
	for _, row := range []struct {
		name string
		want []string
	}{
		{"greet", []string{`(?m)^Hello, Ada\.$`, `(?m)^2 greetings$`}},
		{"tools", []string{`(?m)^usage: tool`, `(?m)^good day, Ada$`, `(?m)^hello, world$`, `(?m)^ *3$`}},
		{"static", []string{`(?m)^service is ready$`, `you asked for "/hello"`}},
		{"compile", []string{`(?m)^29$`}},
		{"debian", []string{`'be': 2`, `"be": 2`}},
		{"website", []string{`This page was built`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "debian" || row.name == "website" {
				importDebian(t, store)
			}
			out := follow(t, store, row.name)
			for _, want := range row.want {
				if !regexp.MustCompile(want).MatchString(out) {
					t.Errorf("no %s in\n%s", want, out)
				}
			}
			containers := command(t, store, "hod ps -aq")
			if strings.TrimSpace(containers) != "" {
				t.Errorf("a container is left: %s", containers)
			}
		})
	}
}

// TestReadme types what the README says from nothing to a pushed image, but for
// the build of hod itself.
func TestReadme(t *testing.T) {
	if !granted.Root() {
		t.Skip("containers with a private network want root")
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("## From nothing to a pushed image"))
	text, _, _ = bytes.Cut(text, []byte("Everything that hod keeps"))
	dir := t.TempDir()
	script := strings.ReplaceAll(typed(string(text)), "make build && export PATH=$PWD/bin:$PATH\n", "")
	script = strings.ReplaceAll(strings.ReplaceAll(script, "/tmp/", dir+"/"), "127.0.0.1:5000", freeAddress(t))
	if out := command(t, filepath.Join(dir, "store"), script); !strings.Contains(out, "Hello, Ada.") || !strings.Contains(out, "v1: digest: sha256:") {
		t.Errorf("%s", out)
	}
}

// typed is what the indented lines of a page say.
func typed(page string) string {
	var script strings.Builder
	for line := range strings.Lines(page) {
		if text, ok := strings.CutPrefix(line, "    "); ok && !strings.Contains(text, "bookworm") {
			script.WriteString(text)
		}
	}
	return script.String()
}

// follow types the indented lines of an example's README, but for those that
// make a Debian, with free ports.
func follow(t *testing.T, store, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples", name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(typed(string(text)), freeAddress(t))
	return command(t, store, script)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// command runs a script at the top of the project and gives all that it prints.
func command(t *testing.T, store, script string) string {
	t.Helper()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "HOD_ROOT="+store, "PATH="+filepath.Dir(hod)+":"+os.Getenv("PATH")+":/usr/sbin", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

// importDebian puts a Debian into the store. It is made once and kept in the
// temporary folder.
func importDebian(t *testing.T, store string) {
	t.Helper()
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("there is no debootstrap to make a base with")
	}
	kept := filepath.Join(os.TempDir(), "hod-test-debian")
	if err := os.Mkdir(kept, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	tar := filepath.Join(kept, "bookworm.tar")
	if _, err := os.Stat(tar); err != nil {
		if os.Getenv("HOD_TEST_DEBIAN") == "" && os.Getenv("HOD_TEST_FULL") == "" {
			t.Skip("a Debian is made only with HOD_TEST_DEBIAN=1 or HOD_TEST_FULL=1, as .ci/run does: it takes a minute")
		}
		dir := t.TempDir()
		script := fmt.Sprintf(`debootstrap --variant=minbase --cache-dir=%[1]s bookworm %[2]s/root
rm -rf %[2]s/root/var/cache/apt/archives/*.deb %[2]s/root/var/lib/apt/lists/*
tar -C %[2]s/root -cf %[2]s/tar . && mv %[2]s/tar %[3]s`, kept, dir, tar)
		if out, err := exec.Command("sh", "-euc", script).CombinedOutput(); err != nil {
			t.Skipf("debootstrap cannot make a Debian here: %v: %s", err, out[max(0, len(out)-300):])
		}
	}
	command(t, store, "hod images -q debian:bookworm-slim | grep -q . || hod import "+tar+" debian:bookworm-slim")
}
