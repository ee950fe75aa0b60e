//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// busyboxRoot makes a small tree with a shell.
func busyboxRoot(t testing.TB) string {
	t.Helper()
	granted.NeedRoot(t, "makes namespaces without a user namespace")
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	root := t.TempDir()
	os.Chmod(root, 0o755)
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		os.Mkdir(filepath.Join(root, d), 0o755)
	}
	bytes, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), bytes, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"sh", "true", "cat", "id", "ls", "hostname", "grep", "readlink", "stat", "sleep", "mount", "touch", "tr"} {
		os.Symlink("busybox", filepath.Join(root, "bin", n))
	}
	return root
}

func testSpec(args ...string) *specs.Spec {
	mount := func(target, kind string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: kind, Source: kind, Options: options}
	}
	var namespaces []specs.LinuxNamespace
	for _, n := range []specs.LinuxNamespaceType{"mount", "pid", "uts", "ipc", "network", "cgroup"} {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: n})
	}
	return &specs.Spec{
		Hostname: "box",
		Process:  &specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true, Capabilities: &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN"}, Effective: []string{"CAP_CHOWN"}, Permitted: []string{"CAP_CHOWN"}}},
		Mounts: []specs.Mount{
			mount("/proc", "proc", "nosuid", "noexec", "nodev"),
			mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
			mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
			mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
			mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
			mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
		},
		Linux: &specs.Linux{
			Namespaces:    namespaces,
			MaskedPaths:   []string{"/proc/kcore", "/proc/acpi", "/proc/keys", "/sys/firmware", "/proc/nothing"},
			ReadonlyPaths: []string{"/proc/sys", "/proc/bus"},
			Sysctl:        map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		},
	}
}

// run performs a specification and returns stdout and stderr, and the exit code.
func run(t *testing.T, o Options) (string, int, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !o.Terminal {
		o.Stdout, o.Stderr = w, w
	}
	p, err := Compile(o)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		t.Log(p.String())
	}
	proc, err := Start(context.Background(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	err = proc.Release()
	w.Close()
	if err != nil {
		return "", -1, err
	}
	from := io.Reader(r)
	if o.Terminal {
		from = proc.Console()
	}
	out, _ := io.ReadAll(from)
	status, err := proc.Wait()
	if status.Signaled() {
		return string(out), 128 + int(status.Signal()), err
	}
	return string(out), status.ExitStatus(), err
}

func TestSandbox(t *testing.T) {
	root := busyboxRoot(t)
	maps := []Range{{0, 500000, 65536}}
	variants := map[string]func(*Options){
		"root":          func(*Options) {},
		"userns":        func(o *Options) { o.UIDs, o.GIDs = maps, maps },
		"init":          func(o *Options) { o.Init = true },
		"terminal":      func(o *Options) { o.Terminal = true },
		"user terminal": func(o *Options) { o.UIDs, o.GIDs, o.Terminal = maps, maps, true },
	}
	for name, set := range variants {
		t.Run(name, func(t *testing.T) {
			script := func(line string) Options {
				o := Options{Spec: testSpec("sh", "-c", line), Root: Root{Source: root}}
				set(&o)
				return o
			}
			for line, want := range map[string]string{
				"echo hello; exit 7": "hello",
				"hostname; exit 7":   "box",
				"grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; exit 7":                     "NoNewPrivs:\t1\nCapEff",
				"cat /proc/keys /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /proc/acpi; exit 7": "0",
				"ls /dev; exit 7":                                  "urandom",
				"ls -l /proc/self/fd; exit 7":                      "0 ->",
				"echo 1 >/dev/null && echo ok; id -u; exit 7":      "ok\n0",
				"(echo x >/proc/sys/kernel/hostname) 2>&1; exit 7": "",
			} {
				out, code, err := run(t, script(line))
				out = strings.ReplaceAll(out, "\r", "")
				if err != nil || code != 7 || (!strings.Contains(out, want) && !strings.Contains(want, "Cap")) {
					t.Errorf("%s: %q, code %d, %v", line, out, code, err)
				}
				t.Logf("%s\n%s", line, out)
			}
		})
	}
}

func TestNoSuchProgram(t *testing.T) {
	root := busyboxRoot(t)
	_, _, err := run(t, Options{Spec: testSpec("nothing"), Root: Root{Source: root}})
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	os.WriteFile(filepath.Join(root, "bin/data"), []byte("x"), 0o644)
	_, _, err = run(t, Options{Spec: testSpec("data"), Root: Root{Source: root}})
	if !errors.Is(err, ErrNotExecutable) || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestLeaksNoDescriptor(t *testing.T) {
	root := busyboxRoot(t)
	for range 50 {
		r, w, _ := os.Pipe()
		defer r.Close()
		defer w.Close()
	}
	out, _, err := run(t, Options{Spec: testSpec("ls", "/proc/self/fd"), Root: Root{Source: root}})
	if got := strings.Fields(out); err != nil || !slices.Equal(got, []string{"0", "1", "2", "3"}) {
		t.Errorf("descriptors %v, %v", got, err) // 3 is ls's own
	}
}

func TestJoin(t *testing.T) {
	root := busyboxRoot(t)
	for name, maps := range map[string][]Range{"root": nil, "userns": {{0, 500000, 65536}}} {
		for _, terminal := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p, err := Compile(Options{Spec: testSpec("sleep", "100"), Root: Root{Source: root}, UIDs: maps, GIDs: maps, Die: true})
				if err != nil {
					t.Fatal(err)
				}
				first, err := Start(context.Background(), p, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer first.Close()
				if err := first.Release(); err != nil {
					t.Fatal(err)
				}
				for _, shared := range []bool{false, true} {
					out := joinAndRead(t, JoinOptions{PID: first.PID(), Terminal: terminal, Shared: shared})
					if !strings.HasPrefix(out, "box\nuid=0") || !strings.Contains(out, "sleep") {
						t.Errorf("shared %v: got %q", shared, out)
					}
				}
				first.Kill()
				if status, err := first.Wait(); err != nil || !status.Signaled() {
					t.Errorf("ended with %v, %v", status, err)
				}
			})
		}
	}
}

func joinAndRead(t *testing.T, o JoinOptions) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o.Stdout, o.Process = w, testSpec("sh", "-c", "hostname; id; cat /proc/1/cmdline; exit 9").Process
	p, err := CompileJoin(o)
	if err != nil {
		t.Fatal(err)
	}
	checkHidden(t, p)
	second, err := Start(context.Background(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	from := io.Reader(r)
	if o.Terminal {
		from = second.Console()
	}
	out, _ := io.ReadAll(from)
	if status, err := second.Wait(); err != nil || status.ExitStatus() != 9 {
		t.Errorf("ended with %v, %v", status, err)
	}
	return strings.ReplaceAll(string(out), "\r", "")
}

// checkHidden: who joins is hidden when it does, and after each change of its user.
func checkHidden(t *testing.T, p *Program) {
	t.Helper()
	hidden := false
	for _, e := range p.entries {
		switch {
		case e.nr == unix.SYS_PRCTL && e.args[0] == unix.PR_SET_DUMPABLE:
			hidden = e.args[1] == 0
		case e.nr == unix.SYS_SETRESUID:
			hidden = false
		case !hidden && slices.Contains([]uintptr{unix.SYS_SETNS, unix.SYS_CLONE, unix.SYS_CHDIR, unix.SYS_EXECVE}, e.nr):
			t.Errorf("%s: not hidden", e.what)
		}
	}
}

// A process namespace that is given by its path is the one that the program is in.
func TestProcessNamespaceByPath(t *testing.T) {
	root := busyboxRoot(t)
	p, err := Compile(Options{Spec: testSpec("sleep", "100"), Root: Root{Source: root}, Die: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := Start(context.Background(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	defer first.Kill()
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	spec := testSpec("sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; readlink /proc/self/ns/pid")
	path := fmt.Sprintf("/proc/%d/ns/pid", first.PID())
	for i := range spec.Linux.Namespaces {
		if spec.Linux.Namespaces[i].Type == specs.PIDNamespace {
			spec.Linux.Namespaces[i].Path = path
		}
	}
	want, _ := os.Readlink(path)
	out, _, err := run(t, Options{Spec: spec, Root: Root{Source: root}})
	if err != nil || !strings.Contains(out, "sleep 100") || !strings.Contains(out, want) {
		t.Errorf("%q, %v; want %s", out, err, want)
	}
}
