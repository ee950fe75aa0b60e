package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/granted"
)

// TestGuardWork holds what hod asks of the machine for four everyday commands.
// The bounds are what was counted when they were written, and about a third more; a
// change that needs more has to say so here.
func TestGuardWork(t *testing.T) {
	if !granted.Root() {
		t.Skip("the bounds are those of root: others need more calls for their namespaces")
	}
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "hod")
	registry := guardInputs(t, dir, root)
	build := []string{"build", "-q", "--network=none", "-t", "small", "."}
	for _, b := range []struct {
		name string
		args []string
		root string
		most effort
	}{
		{"small build", build, root, effort{2300, 3, 14_000, 17_000, 3_900_000}},
		{"cached build", build, root, effort{700, 1, 1_200, 9_500, 1_250_000}},
		{"start", []string{"run", "--rm", "--network=none", "base", "true"}, root, effort{1400, 4, 4_500, 13_600, 1_850_000}},
		{"exec", []string{"exec", "running", "true"}, root, effort{510, 2, 200, 7_400, 1_250_000}},
		{"pull", []string{"pull", "-q", registry + "/base:1"}, filepath.Join(t.TempDir(), "other"), effort{1200, 1, 5_400_000, 8_500, 4_500_000}},
	} {
		e := count(t, dir, b.root, b.args...)
		t.Logf("%s: %v", b.name, e)
		if e.exceeds(b.most) {
			t.Errorf("%s: %v\nis more than %v", b.name, e, b.most)
		}
		if e.calls < 100 || e.processes == 0 || e.written == 0 || e.allocs == 0 {
			t.Errorf("%s: %v: something was not seen", b.name, e)
		}
	}
}

// TestGuardPushAmongImages pushes an image again in a store that has others, too: it
// reads nothing of them, and under another name, where blobs may be linked from what
// they are known to be, a record of each and no more.
func TestGuardPushAmongImages(t *testing.T) {
	if !granted.Root() {
		t.Skip("the inputs are made by a step that wants root")
	}
	const others = 15
	dir, root := t.TempDir(), filepath.Join(t.TempDir(), "hod")
	registry := guardInputs(t, dir, root)
	again := []string{"push", "-q", registry + "/base:1"}
	elsewhere := []string{"copy", "-q", "store:base", registry + "/base:1"}
	againAlone, alone := count(t, dir, root, again...), count(t, dir, root, elsewhere...)
	script := fmt.Sprintf(`set -e; tar -cf file.tar file; for i in $(seq %d); do "$HOD" import -c "ENV I=$i" file.tar other:$i; done`, others)
	prepare := exec.Command("sh", "-c", script)
	prepare.Dir, prepare.Env = dir, append(os.Environ(), "HOD="+hod, "HOD_ROOT="+root)
	if out, err := prepare.CombinedOutput(); err != nil {
		t.Fatalf("make images: %v\n%s", err, out)
	}
	againAmong, among := count(t, dir, root, again...), count(t, dir, root, elsewhere...)
	t.Logf("again alone: %v\namong %d: %v\nalone: %v\namong %d: %v", againAlone, others, againAmong, alone, others, among)
	if more := againAmong.calls - againAlone.calls; more >= others {
		t.Errorf("a push again: %d calls more for %d images", more, others)
	}
	if more := among.calls - alone.calls; more > 20*others || more < others {
		t.Errorf("%d calls more for %d images", more, others)
	}
}

func (e effort) exceeds(most effort) bool {
	return e.calls > most.calls || e.processes > most.processes || e.written > most.written || e.allocs > most.allocs || e.memory > most.memory
}

// guardInputs imports a base image, writes a recipe and serves the base.
func guardInputs(t *testing.T, dir, root string) (registry string) {
	t.Helper()
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("no busybox-static here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registry = l.Addr().String()
	l.Close()
	script := `
set -e
mkdir -p base/bin base/tmp && cp /bin/busybox base/bin/ && ln -s busybox base/bin/sh && ln -s busybox base/bin/true
tar --owner=0 --group=0 -C base -cf base.tar .
"$HOD" import base.tar base
"$HOD" run -d --name running --network none base busybox sleep 1000
"$HOD" tag base ` + registry + `/base:1
printf 'FROM base\nCOPY file /file\nRUN echo one > /one\n' > Dockerfile
echo text > file
echo base > .dockerignore`
	env := append(os.Environ(), "HOD="+hod, "HOD_ROOT="+root)
	prepare := exec.Command("sh", "-c", script)
	prepare.Dir, prepare.Env = dir, env
	if out, err := prepare.CombinedOutput(); err != nil {
		t.Fatalf("prepare: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(hod, "--root", root, "rm", "-f", "running").Run() })
	serve := exec.Command(hod, "--root", filepath.Join(dir, "served"), "serve", "-q", "--addr", registry)
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { serve.Process.Kill(); serve.Wait() })
	push := func() error {
		cmd := exec.Command(hod, "push", "-q", registry+"/base:1")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}
	for range 100 {
		if err = push(); err == nil {
			return registry
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("push: %v", err)
	return ""
}
