//go:build linux

package runner

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/granted"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/runner/sandbox"
)

// boxRoot makes a small tree with a shell.
func boxRoot(t *testing.T) string {
	t.Helper()
	granted.NeedRoot(t, "mounts a tree without a user namespace")
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox")
	}
	root := t.TempDir()
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		os.Mkdir(filepath.Join(root, d), 0o755)
	}
	data, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"bin/busybox": string(data), "etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:7:8::/home/ann:/bin/sh\n", "etc/group": "root:x:0:\nann:x:8:\nmore:x:9:ann\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"sh", "cat", "id", "ls", "sleep", "env", "grep", "head"} {
		os.Symlink("busybox", filepath.Join(root, "bin", n))
	}
	os.Chmod(root, 0o755)
	return root
}

func execIn(t *testing.T, c Command) (Exit, string, error) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	exit, err := New(Options{}).Exec(context.Background(), c)
	return exit, out.String(), err
}

func TestExec(t *testing.T) {
	root := boxRoot(t)
	maps := []layers.IDRange{{Inside: 0, Outside: 600000, Count: 65536}}
	for name, ranges := range map[string][]layers.IDRange{"host ids": nil, "user namespace": maps} {
		t.Run(name, func(t *testing.T) {
			base := Command{Root: rootfs.Mount{Source: root}, UIDs: ranges, GIDs: ranges, Dir: "/work/here"}
			run := func(line string, change func(*Command)) (Exit, string) {
				c := base
				c.Args = []string{"sh", "-c", line}
				if change != nil {
					change(&c)
				}
				exit, out, err := execIn(t, c)
				if err != nil {
					t.Errorf("%s: %v", line, err)
				}
				return exit, out
			}
			if exit, out := run("pwd; echo err >&2; exit 3", nil); exit.Code != 3 || out != "/work/here\nerr\n" {
				t.Errorf("exit %+v, output %q", exit, out)
			}
			if _, out := run("id; echo $HOME", func(c *Command) { c.User = "ann" }); out != "uid=7(ann) gid=8(ann) groups=8(ann),9(more)\n/home/ann\n" {
				t.Errorf("user: %q", out)
			}
			if exit, _ := run("kill -9 $$", nil); exit.Code != 137 && exit.Signal != "SIGKILL" {
				t.Logf("pid 1 ignores its own signals: %+v", exit)
			}
			if _, out := run("cat", func(c *Command) { c.Stdin = strings.NewReader("through\n") }); out != "through\n" {
				t.Errorf("stdin: %q", out)
			}
			if _, out := run("grep Seccomp: /proc/self/status; ls -l /bin/sh >/dev/null && cat /etc/hosts | head -1", nil); out != "Seccomp:\t2\n127.0.0.1\tlocalhost\n" {
				t.Errorf("filter: %q", out)
			}
		})
	}
}

func TestExecReportsMountPointsItMade(t *testing.T) {
	root := boxRoot(t)
	exit, _, err := execIn(t, Command{Root: rootfs.Mount{Source: root}, Args: []string{"sh", "-c", ":"}, Mounts: []Mount{{Target: "/a/b", Type: "tmpfs"}}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/a", "/a/b", "/etc/hosts"}; !slices.Equal(exit.Made, want) {
		t.Errorf("made %v, want %v", exit.Made, want)
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	root := boxRoot(t)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := New(Options{}).Exec(ctx, Command{Root: rootfs.Mount{Source: root}, Args: []string{"sh", "-c", "sleep 1000 & sleep 1000"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestExecOutOfMemory(t *testing.T) {
	root := boxRoot(t)
	exit, out, err := execIn(t, Command{Root: rootfs.Mount{Source: root}, Args: []string{"sh", "-c", "x=1234567890; while :; do x=$x$x; done"}, Limits: Resources{Memory: 16 << 20}})
	if err != nil || !exit.OOMKilled || exit.Code != 137 {
		t.Errorf("exit %+v, %q, %v", exit, out, err)
	}
}

func TestExecNamesWhatIsMissing(t *testing.T) {
	root := boxRoot(t)
	_, _, err := execIn(t, Command{Root: rootfs.Mount{Source: root}, Args: []string{"nothing"}})
	if !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	_, _, err = execIn(t, Command{Root: rootfs.Mount{Source: root}, Args: []string{"sh"}, User: "nobody-here"})
	if err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("got %v", err)
	}
}

func TestExecOnLayers(t *testing.T) {
	root := boxRoot(t)
	dir := t.TempDir()
	over := filepath.Join(dir, "over")
	for _, d := range []string{"over", "over/etc", "upper", "work"} {
		os.Mkdir(filepath.Join(dir, d), 0o755)
	}
	os.WriteFile(filepath.Join(over, "etc/new"), []byte("top\n"), 0o644)
	mount := rootfs.Mount{
		Type: "overlay", Lower: []string{over, root}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
		Options: []string{"redirect_dir=off", "metacopy=off", "index=off", "volatile"},
	}
	readers := map[string]func(string) ([]byte, error){
		"mounted by the child":  func(p string) ([]byte, error) { return os.ReadFile(filepath.Join(root, p)) },
		"mounted by the parent": nil,
	}
	for name, read := range readers {
		t.Run(name, func(t *testing.T) {
			os.RemoveAll(mount.Work)
			os.Mkdir(mount.Work, 0o755)
			exit, out, err := execIn(t, Command{Root: mount, ReadFile: read, Args: []string{"sh", "-c", "cat /etc/new; echo made >>/made; id -un"}, User: "root"})
			if err != nil || exit.Code != 0 || out != "top\nroot\n" {
				t.Fatalf("exit %+v, %q, %v", exit, out, err)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(dir, "upper/made")); err != nil || string(b) != "made\nmade\n" {
		t.Errorf("upper holds %q, %v", b, err)
	}
}
