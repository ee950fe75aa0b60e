package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
)

func folder(t *testing.T, parts ...string) string {
	t.Helper()
	p := filepath.Join(parts...)
	if err := os.MkdirAll(p, 0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// work is a folder where overlays may keep their upper ones, with a name full of what mount options give a meaning.
func work(t *testing.T) string {
	t.Helper()
	granted.NeedRoot(t, "mounts an overlay in the initial user namespace")
	return folder(t, t.TempDir(), `a:b,c\ "ü`)
}

func TestOverlayShowsUppermostAndWrites(t *testing.T) {
	top := work(t)
	low, mid := folder(t, top, "low"), folder(t, top, "mid")
	os.WriteFile(low+"/f", []byte("low"), 0o644)
	os.WriteFile(mid+"/f", []byte("mid"), 0o644)
	m, err := Overlay(Options{Lower: []string{mid, low}, Upper: folder(t, top, "up"), Work: folder(t, top, "work"), Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	checkFile(t, int(m.Detached.Fd()), "f", "mid")
	fd, err := unix.Openat(int(m.Detached.Fd()), "new", unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	if _, err := os.Lstat(top + "/up/new"); err != nil {
		t.Error(err)
	}
}

func checkFile(t *testing.T, dir int, name, want string) {
	t.Helper()
	fd, err := unix.Openat(dir, name, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 100)
	n, _ := unix.Read(fd, buf)
	if string(buf[:n]) != want {
		t.Errorf("%s holds %q, want %q", name, buf[:n], want)
	}
}
