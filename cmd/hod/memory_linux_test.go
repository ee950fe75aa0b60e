package main_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestMemoryOfManyFiles has the verbs that list all files of an image take a few hundred bytes for each, beside what they
// always take: 20 000 files, 300 000 in the long form.
func TestMemoryOfManyFiles(t *testing.T) {
	granted.NeedNamespaces(t, "files of several owners are unpacked")
	dir := t.TempDir()
	files := 20_000
	if os.Getenv("HOD_TEST_FULL") != "" {
		files = 300_000
	}
	writeMany(t, filepath.Join(dir, "many.tar"), files)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("Dockerfile", "FROM scratch\nCOPY --from=many / /copied/\n")
	root, other := filepath.Join(dir, "root"), filepath.Join(dir, "other")
	for _, step := range []struct {
		root string
		each int // bytes for a file
		args []string
	}{
		{root, 330, []string{"import", "many.tar", "many"}},
		{root, 100, []string{"save", "-o", "many.oci", "many"}},
		{other, 330, []string{"load", "-q", "-i", "many.oci"}},
		{root, 900, []string{"export", "-o", "files.tar", "many"}},
		{root, 500, []string{"fsck"}},
		{root, 1700, []string{"build", "-q", "-t", "copied", "."}},
	} {
		cmd := exec.Command(hod, append([]string{"--root", step.root}, step.args...)...)
		cmd.Dir = dir
		peak := peakOf(t, cmd) >> 20
		t.Logf("%s: %d MiB", step.args[0], peak)
		if most := int64(40 + files*step.each>>20); peak > most { // MiB
			t.Errorf("hod %s of %d files took %d MiB of memory, more than %d", step.args[0], files, peak, most)
		}
	}
}

// peakOf runs a command and tells how much memory it had at most. What the kernel tells of a process that has ended counts
// the memory of the one that started it, too.
func peakOf(t *testing.T, cmd *exec.Cmd) (peak int64) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case err := <-done:
			if err != nil || peak == 0 {
				t.Fatalf("%s: %v: peak %d: %s", cmd, err, peak, out.Bytes())
			}
			return peak
		case <-time.After(2 * time.Millisecond):
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		_, rest, _ := strings.Cut(string(text), "\nVmHWM:")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err == nil {
			peak = kib << 10
		}
	}
}

// writeMany writes a tar of small files with names as programs have them.
func writeMany(t *testing.T, name string, files int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buffered := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buffered)
	for _, dir := range []string{"app/", "app/node_modules/"} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}))
	}
	for i := range files {
		dir := fmt.Sprintf("app/node_modules/package-%04d/", i/50)
		if i%50 == 0 {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755})
		}
		text := fmt.Sprintf("module %d\n", i)
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("%smodule-%06d.js", dir, i), Mode: 0o644, Size: int64(len(text))}))
		if _, werr := w.Write([]byte(text)); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
	}
	if err := errors.Join(w.Close(), buffered.Flush()); err != nil {
		t.Fatal(err)
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
