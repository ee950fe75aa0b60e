package main_test

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
)

// TestMemoryOfABigImage has every verb that moves a layer move one of 5 GiB (64 MiB in the short form) in less than
// 100 MB of memory.
func TestMemoryOfABigImage(t *testing.T) {
	granted.NeedNamespaces(t, "a step makes its inputs")
	dir := t.TempDir()
	root := filepath.Join(dir, "here")
	registry := guardInputs(t, dir, root)
	size := int64(64 << 20)
	if os.Getenv("HOD_TEST_FULL") != "" {
		size = 5 << 30
	}
	writeBig(t, filepath.Join(dir, "big"), size)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM base\nCOPY big /big\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image, other := registry+"/big:1", filepath.Join(dir, "other")
	for _, step := range []struct {
		root string
		args []string
		drop string // what is not needed any more
	}{
		{root, []string{"build", "-q", "-t", image, "."}, "big"},
		{root, []string{"push", "-q", image}, ""},
		{root, []string{"save", "-o", "big.tar", image}, "here"},
		{other, []string{"pull", "-q", image}, "served"},
		{other, []string{"export", "-o", "files.tar", image}, "other"},
		{filepath.Join(dir, "third"), []string{"load", "-q", "-i", "big.tar"}, "third"},
		{filepath.Join(dir, "fourth"), []string{"import", "files.tar", "big"}, ""},
		{filepath.Join(dir, "fourth"), []string{"fsck"}, ""},
	} {
		cmd := exec.Command(hod, append([]string{"--root", step.root}, step.args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("hod %s: %v: %s", strings.Join(step.args, " "), err, out)
		}
		peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024
		t.Logf("%s: %d MiB", step.args[0], peak)
		if peak > 95 { // MiB: 100 MB
			t.Errorf("hod %s took %d MiB of memory", step.args[0], peak)
		}
		if step.drop != "" {
			_ = os.RemoveAll(filepath.Join(dir, step.drop))
		}
	}
}

// writeBig writes a file of which an eighth cannot be compressed.
func writeBig(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{3})
	for at := int64(0); at < size; at += 8 << 20 {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(f, r, min(1<<20, size-at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}
