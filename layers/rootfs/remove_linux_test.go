package rootfs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveAllOfADeepTree(t *testing.T) {
	r, dir := root(t)
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/canary", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2200 {
		if err := unix.Mkdirat(at, "d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Symlinkat(outside, at, "link"); err != nil && err != unix.EEXIST {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	for range 2 { // the second finds nothing
		if err := r.RemoveAll("/d"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(dir + "/d"); !os.IsNotExist(err) {
		t.Error(err)
	}
	if _, err := os.Lstat(outside + "/canary"); err != nil {
		t.Error(err)
	}
}
