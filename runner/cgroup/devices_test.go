//go:build linux

package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func num(n int64) *int64 { return &n }

// someDevices allow reading zero, all of null, and making any node.
var someDevices = []specs.LinuxDeviceCgroup{
	{Allow: false, Access: "rwm"},
	{Allow: true, Type: "c", Access: "m"},
	{Allow: true, Type: "c", Major: num(1), Minor: num(3), Access: "rwm"},
	{Allow: true, Type: "c", Major: num(1), Access: "r"},
	{Allow: false, Type: "c", Major: num(1), Minor: num(8), Access: "r"},
}

// inGroup runs a line in a shell that entered a group.
func inGroup(t *testing.T, dir, line string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read x; "+line)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Error(err)
	}
	stdin.Write([]byte("\n"))
	stdin.Close()
	cmd.Wait()
	return out.String()
}

func checkDevices(t *testing.T, dir, random string) {
	t.Helper()
	node := filepath.Join(t.TempDir(), "node")
	for line, want := range map[string]string{
		"head -c1 /dev/zero | wc -c":           "1",
		"echo x >/dev/null && echo ok":         "ok",
		"(echo x >/dev/zero) 2>&1":             "not permitted",
		"head -c1 /dev/random 2>&1":            random,
		"head -c1 /dev/urandom | wc -c":        "1",
		"head -c0 /dev/tty 2>&1":               "not permitted",
		"mknod " + node + " c 4 64 && echo ok": "ok",
		"mknod " + node + "b b 8 0 2>&1":       "not permitted",
	} {
		if got := inGroup(t, dir, line); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestDeviceRulesOnV1(t *testing.T) {
	mounts, err := hierarchies()
	if err != nil || mounts["devices"] == "" || !granted.Root() {
		t.Skip("needs root and the devices controller of cgroup v1")
	}
	dir := filepath.Join(mounts["devices"], "hod-test-devices")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	g := Group{paths: map[string]string{"devices": dir}}
	if err := g.limitDevices(someDevices[:4]); err != nil {
		t.Fatal(err)
	}
	checkDevices(t, dir, "")
	if err := g.limitDevices(someDevices); err == nil {
		t.Error("a refusal that cannot be is accepted")
	}
}

func TestDeviceRulesOnV2(t *testing.T) {
	mounts, err := hierarchies()
	if err != nil || mounts[Unified] == "" || !granted.Root() {
		t.Skip("needs root and cgroup v2")
	}
	dir := filepath.Join(mounts[Unified], "hod-test-devices")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	if err := attachDevices(dir, someDevices); err != nil {
		t.Fatal(err)
	}
	checkDevices(t, dir, "not permitted") // the last rule
	if err := attachDevices(dir, []specs.LinuxDeviceCgroup{{Access: "x"}}); err == nil {
		t.Error("an unknown access is accepted")
	}
}
