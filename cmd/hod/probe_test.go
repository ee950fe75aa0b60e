//go:build linux && amd64

package main_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
)

// probeImage imports an image of nothing but the probe into a store.
func probeImage(t *testing.T, dir string, several bool, as func(*exec.Cmd)) {
	t.Helper()
	probe := filepath.Join(dir, "probe")
	if err := compile("testdata/probe", probe); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(probe)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "probe", Mode: 0o755, Size: int64(len(program))})
	w.Write(program)
	if several { // owners: who has subordinate ids takes them
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "other", Mode: 0o644, Uid: 33, Gid: 33})
	}
	w.Close()
	archive := filepath.Join(dir, "probe.tar")
	if err := os.WriteFile(archive, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(hod, "import", archive, "probe")
	as(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
}

// changing are parts of the probe's answer that differ from run to run.
var changing = regexp.MustCompile(`HOSTNAME=[0-9a-f]{12}|uid_map 0 1\d{9} `)

// TestProbe compares what a static program sees inside with goldens, one for
// each rung: capabilities, maps, mounts, descriptors, environment, the answer of
// every system call number, sockets, terminal injection, writes to the kernel
// (R1, R6, R10, R11, R14, R15, R16, R17, R19).
func TestProbe(t *testing.T) {
	granted.NeedNamespaces(t, "runs containers")
	rungs := map[string]func(string) func(*exec.Cmd){"single": func(dir string) func(*exec.Cmd) {
		return func(c *exec.Cmd) { asNobody(t, c, dir) }
	}}
	if granted.Root() {
		rungs["root"] = func(dir string) func(*exec.Cmd) {
			return func(c *exec.Cmd) { c.Env = append(os.Environ(), "HOD_ROOT="+filepath.Join(dir, "root")) }
		}
	}
	if maySimulate() {
		rungs["mapped"] = func(dir string) func(*exec.Cmd) {
			return func(c *exec.Cmd) { withSubordinates(t, c, dir) }
		}
	}
	for rung, user := range rungs {
		t.Run(rung, func(t *testing.T) {
			dir, err := os.MkdirTemp("/tmp", "hod-probe-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			os.Chmod(dir, 0o755)
			as := user(dir)
			probeImage(t, dir, rung == "mapped", as)
			for i := 20; i < 60; i++ { // descriptors that must not reach the program
				f, err := os.Open("/")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
			}
			for _, flags := range [][]string{{"run"}, {"lifted", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"}} {
				cmd := exec.Command(hod, append(append([]string{"run", "--rm", "--network", "none"}, flags[1:]...), "probe", "/probe")...)
				as(cmd)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v\n%s%s", err, out, stderr.String())
				}
				if len(flags) > 1 {
					canAttack(t, string(out))
					continue
				}
				compareGolden(t, filepath.Join("testdata/probe", rung+".golden"), changing.ReplaceAllString(asWritten(string(out)), "*"))
			}
		})
	}
}

// canAttack looks at the probe's answer where the strictness was lifted: that there it reaches what the goldens say is
// refused, so that they prove something.
func canAttack(t *testing.T, out string) {
	t.Helper()
	for _, reached := range []string{"status Seccomp: 0", "NOT MASKED /proc/kallsyms", "NOT MASKED /proc/interrupts", " netlink:15"} {
		if !strings.Contains(out, reached) {
			t.Errorf("lifted, yet no %q in\n%s", reached, out)
		}
	}
	refused := regexp.MustCompile(`ioctl 0x5412 operation not permitted|ioctl 0x100005412 operation not permitted|EPERM \[.*\b(134|443)\b`)
	if found := refused.FindString(out); found != "" {
		t.Errorf("lifted, yet refused: %s", found)
	}
}

// hostDevice is a device that comes from the machine's /dev, with what that is mounted with.
var hostDevice = regexp.MustCompile(`(?m)^(mount /dev/(?:full|null|random|tty|urandom|zero) rw)(,nosuid)?(,noexec)?$`)

// asWritten writes what is of this machine's as the golden files have it: its /dev has no flags, an ordinary user is
// nobody and in no group.
func asWritten(out string) string {
	out = hostDevice.ReplaceAllString(out, "$1")
	if os.Getuid() == 0 {
		return out
	}
	out = strings.Replace(out, fmt.Sprintf("uid_map 0 %d 1\n", os.Getuid()), "uid_map 0 65534 1\n", 1)
	return strings.Replace(out, "status Groups: 0\n", "status Groups:\n", 1)
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("HOD_UPDATE_GOLDEN") != "" {
		os.WriteFile(file, []byte(got), 0o644)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have := strings.Split(got, "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(have) || have[i] != line {
			t.Errorf("%s, line %d: want %q, got %q", file, i+1, line, at(have, i))
		}
	}
	if len(have) > len(strings.Split(string(want), "\n")) {
		t.Errorf("%s: more lines than expected:\n%s", file, got)
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// withSubordinates makes a command run as an ordinary user with subordinate ids, which an image of several owners takes.
func withSubordinates(t *testing.T, c *exec.Cmd, dir string) {
	t.Helper()
	asNobody(t, c, dir)
	grant := filepath.Join(dir, "subids")
	if err := os.WriteFile(grant, []byte("nobody:1800000000:65536\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.SysProcAttr = nil
	c.Args = slices.Concat([]string{"unshare", "-m", "sh", "-c", becomeMapped, "sh", grant}, c.Args)
	c.Path, c.Err = exec.LookPath("unshare")
}

// asNobody makes a command run as an ordinary user without subordinate ids.
func asNobody(t *testing.T, c *exec.Cmd, dir string) {
	t.Helper()
	home := filepath.Join(dir, "user")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "HOD_ROOT="+filepath.Join(home, ".hod"))
	if os.Getuid() == 0 {
		os.Chown(home, 65534, 65534)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
}
