package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/faults"
	"github.com/hodbuild/hod/layers/granted"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a fresh ext4 of so many bytes, which lies in memory.
func smallDisk(t *testing.T, size int64, mkfs ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hod-disk-")
	if err != nil {
		t.Skipf("no memory file system: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image, at := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", append([]string{"-q", "-m", "0", image}, mkfs...)...).CombinedOutput(); err != nil {
		t.Skipf("no ext4 here: %s", out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("no loop mounts here: %s", out)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return at
}

func room(t *testing.T, at string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// fill leaves so many bytes on a disk.
func fill(t *testing.T, at string, leave int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(at, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := room(t, at) - leave; n > 0; n = room(t, at) - leave {
		st, err := f.Stat()
		if err == nil {
			err = unix.Fallocate(int(f.Fd()), 0, st.Size(), max(n/2, 4096))
		}
		if err != nil {
			return // as full as it gets
		}
	}
}

// TestFullDisk fills the store's disk to random degrees before each verb: it ends well, or says that there is no space and
// leaves a sound store, which takes the same command when there is space again.
func TestFullDisk(t *testing.T) {
	if !granted.Root() {
		t.Skip("mounting a disk of one's own needs root")
	}
	b := newCrashBed(t, 3<<20)
	big := make([]byte, 3<<20) // so that there is something to run out of
	_, _ = rand.NewChaCha8([32]byte{2}).Read(big)
	if err := os.WriteFile(filepath.Join(b.dir, "file"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"rmi", "gone"}, {"prune", "-f", "--cache"}} { // else a pull finds the layers here
		if _, err := b.hod(b.template, args...); err != nil {
			t.Fatal(err)
		}
	}
	at := smallDisk(t, 48<<20)
	for _, v := range []struct {
		name string
		args []string
		has  string
	}{
		{"build", []string{"build", "-q", "--network=none", "-t", "new", "."}, "new"},
		{"pull", []string{"pull", "-q", "REGISTRY/app:1"}, "REGISTRY/app:1"},
		{"load", []string{"load", "-q", "-i", "app.tar"}, "app"},
		{"import", []string{"import", "file.tar", "imported"}, "imported"},
		{"save", []string{"save", "-o", filepath.Join(at, "out.tar"), "old"}, ""},
	} {
		t.Run(v.name, func(t *testing.T) { b.fullDisk(t, at, v.args, v.has) })
	}
}

func (b *crashBed) fullDisk(t *testing.T, at string, args []string, has string) {
	if out, err := exec.Command("tar", "-C", b.dir, "-cf", filepath.Join(b.dir, "file.tar"), "file").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	clear := func() {
		for _, name := range []string{"filler", "out.tar"} {
			os.Remove(filepath.Join(at, name))
		}
	}
	clear()
	root := b.store(t, at)
	before := room(t, at)
	if _, err := b.hod(root, args...); err != nil {
		t.Fatal(err)
	}
	b.result(t, root, has, "")
	need := before - room(t, at) + 64<<10
	seed := uint64(time.Now().UnixNano())
	t.Logf("it takes %d bytes, seed %d", need, seed)
	r := rand.New(rand.NewPCG(seed, 0))
	full := 0
	for n := range faults.Strikes(2, 40) {
		leave := r.Int64N(need)
		if n == 0 {
			leave = need / 2
		}
		t.Run(fmt.Sprintf("%d", leave), func(t *testing.T) {
			clear()
			root := b.store(t, at)
			fill(t, at, leave)
			_, err := b.hod(root, args...)
			if err != nil {
				full++
				if !strings.Contains(err.Error(), "no space left on device") {
					t.Errorf("it does not say why: %v", err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(at, ".hod-*")); len(left) > 0 {
				t.Errorf("left beside the output: %v", left)
			}
			os.Remove(filepath.Join(at, "filler"))
			b.sound(t, root)
			if err == nil {
				b.result(t, root, has, "")
			}
			if _, err := b.hod(root, args...); err != nil {
				t.Fatalf("again: %v", err)
			}
			b.result(t, root, has, "")
			b.leavesNothing(t, root)
		})
	}
	if full == 0 {
		t.Error("the disk was never full")
	}
}

// TestFewInodes: an archive of more files than the disk has inodes is refused and leaves nothing; a smaller one is taken.
func TestFewInodes(t *testing.T) {
	if !granted.Root() {
		t.Skip("mounting a disk of one's own needs root")
	}
	at := smallDisk(t, 48<<20, "-N", "3000")
	b := &crashBed{t: t, dir: t.TempDir(), want: map[string]string{}}
	root := filepath.Join(at, "s")
	script := `mkdir few many && cd few && seq 1000 | xargs touch && cd ../many && seq 4000 | xargs touch && cd .. &&
		tar -cf few.tar few && tar -cf many.tar many`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := b.hod(root, "import", "few.tar", "old"); err != nil {
		t.Fatal(err)
	}
	_, err := b.hod(root, "import", "many.tar", "many")
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("4000 files on 3000 inodes: %v", err)
	}
	b.sound(t, root)
	b.leavesNothing(t, root)
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil || st.Files-st.Ffree > 1200 {
		t.Fatalf("%d inodes are still in use: %v", st.Files-st.Ffree, err)
	}
	if _, err := b.hod(root, "import", "few.tar", "again"); err != nil {
		t.Fatal(err)
	}
}

// TestBombs: what is small as an archive and large as files ends where the disk does, in little memory, and leaves
// nothing; its harmless twin of holes takes no space and is taken (U16).
func TestBombs(t *testing.T) {
	if !granted.Root() {
		t.Skip("mounting a disk of one's own needs root")
	}
	at := smallDisk(t, 32<<20)
	b := &crashBed{t: t, dir: t.TempDir(), want: map[string]string{}}
	root := filepath.Join(at, "s")
	script := `mkdir old && echo old > old/f && tar -cf old.tar old
		yes bomb | head -c 80M > bomb && tar -cf - bomb | gzip -1 > bomb.tar.gz && rm bomb
		truncate -s 80M holes && tar -cf - holes | gzip -1 > holes.tar.gz`
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := b.hod(root, "import", "old.tar", "old"); err != nil {
		t.Fatal(err)
	}
	bomb := exec.Command(hod, "--root", root, "import", "bomb.tar.gz", "bomb")
	bomb.Dir = b.dir
	out, err := bomb.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no space left on device") {
		t.Fatalf("a bomb: %v: %s", err, out)
	}
	if peak := bomb.ProcessState.SysUsage().(*syscall.Rusage).Maxrss / 1024; peak > 100 {
		t.Errorf("it took %d MiB of memory", peak)
	}
	b.sound(t, root)
	b.leavesNothing(t, root)
	if _, err := b.hod(root, "import", "holes.tar.gz", "holes"); err != nil {
		t.Fatal(err)
	}
	b.sound(t, root)
}
