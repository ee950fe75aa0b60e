package main_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
)

// TestBuildInterrupt presses ctrl-C while a RUN sleeps, while a large file is read
// and while a registry keeps silent: hod ends with 130, and leaves no process, no
// mount and nothing half made.
func TestBuildInterrupt(t *testing.T) {
	if !granted.Root() {
		t.Skip("RUN needs root here")
	}
	asked := make(chan bool, 8)
	done := make(chan bool)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(done)
	for _, c := range []struct {
		name, recipe string
		reached      func(pid int, out *bytes.Buffer) bool
	}{
		{"run", "FROM scratch\nCOPY busybox /bin/sh\nRUN [\"/bin/sh\", \"-c\", \"sleep 98765\"]\n", func(int, *bytes.Buffer) bool { return running("sleep\x0098765") }},
		{"copy", "FROM scratch\nCOPY large /\n", func(pid int, _ *bytes.Buffer) bool { return opened(pid, "/large") }},
		{"pull", "FROM " + strings.TrimPrefix(silent.URL, "http://") + "/none\nRUN true\n", func(int, *bytes.Buffer) bool { return len(asked) > 0 }},
	} {
		t.Run(c.name, func(t *testing.T) { interrupted(t, c.recipe, c.reached) })
	}
}

func interrupted(t *testing.T, recipe string, reached func(int, *bytes.Buffer) bool) {
	dir, root := t.TempDir(), t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"Dockerfile": []byte(recipe), "busybox": busybox, "large": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "large"), 1<<40); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(hod, "--root", root, "build", "--network", "none", "-t", "half", dir)
	cmd.Stderr, cmd.Env = &out, append(os.Environ(), "HOME="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer deadline.Stop()
	for i := 0; !reached(cmd.Process.Pid, &out); i++ {
		if i > 600 {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("it never got there:\n%s", out.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	cmd.Process.Signal(os.Interrupt)
	began := time.Now()
	cmd.Wait()
	t.Logf("it ended after %v", time.Since(began))
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(out.String(), "hod: interrupted\n") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	leavesNothing(t, root)
}

// leavesNothing looks for what an interrupted build may leave.
func leavesNothing(t *testing.T, root string) {
	if running("sleep\x0098765") {
		t.Error("the command still runs")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(root)) {
		t.Errorf("still mounted (%v):\n%s", err, mounts)
	}
	left, err := filepath.Glob(filepath.Join(root, "tmp", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if text, err := exec.Command(hod, "--root", root, "images", "-q").CombinedOutput(); err != nil || len(text) > 0 {
		t.Errorf("images: %v: %s", err, text)
	}
}

// running says whether a process has these words in its command line.
func running(words string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		if text, err := os.ReadFile(name); err == nil && strings.HasSuffix(strings.TrimRight(string(text), "\x00"), words) {
			return true
		}
	}
	return false
}

// opened says whether a process has a file open.
func opened(pid int, name string) bool {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil && strings.HasSuffix(to, name) {
			return true
		}
	}
	return false
}

// TestBuildSideBySide builds one recipe in several processes at once: each gets the
// same image, and what the step did is there once.
func TestBuildSideBySide(t *testing.T) {
	if !granted.Root() {
		t.Skip("RUN needs root here")
	}
	dir, root := t.TempDir(), t.TempDir()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	recipe := "FROM scratch\nCOPY busybox /bin/sh\nCOPY Dockerfile /d/\nRUN [\"/bin/sh\", \"-c\", \"echo made > /d/made; sleep 0.2\"]\nCOPY --chmod=600 Dockerfile /e\n"
	for name, data := range map[string][]byte{"Dockerfile": []byte(recipe), "busybox": busybox} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const processes = 4
	outs := make([]bytes.Buffer, processes)
	cmds := make([]*exec.Cmd, processes)
	for i := range cmds {
		cmds[i] = exec.Command(hod, "--root", root, "build", "-q", "--network", "none", "-t", "same", dir)
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], os.Stderr
		cmds[i].SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil || outs[i].String() != outs[0].String() || outs[i].Len() == 0 {
			t.Errorf("process %d: %v, image %q, the first has %q", i, err, outs[i].String(), outs[0].String())
		}
	}
	if text, err := exec.Command(hod, "--root", root, "fsck").CombinedOutput(); err != nil {
		t.Errorf("fsck: %v: %s", err, text)
	}
}
