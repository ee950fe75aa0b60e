package rootfs

import (
	"os"
	"path/filepath"
	"runtime"
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

// Folders that are closed to their own owner go too: a user's overlay leaves such.
func TestRemoveAllOfClosedFolders(t *testing.T) {
	r, dir := root(t)
	const user = 65534
	names := []string{"work/work/incompat/volatile/deep", "work/work/incompat/volatile", "work/work/incompat", "work/work", "work"}
	if err := os.MkdirAll(filepath.Join(dir, names[0]), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, ".") {
		if err := os.Chown(filepath.Join(dir, name), user, user); err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil && name != "." {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(user); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	if err := r.RemoveAll("work"); err != nil {
		t.Fatal(err)
	}
}
