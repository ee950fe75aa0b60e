package layers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// mountAt performs a snapshot's mount.
func mountAt(t *testing.T, snap *Snapshot) string {
	t.Helper()
	dir, m := t.TempDir(), snap.Root()
	opts := "redirect_dir=off,metacopy=off,index=off,lowerdir=" + strings.Join(m.Lower, ":")
	if m.Upper != "" {
		opts += ",upperdir=" + m.Upper + ",workdir=" + m.Work
	}
	if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
		t.Skipf("this machine mounts no overlay: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "cd "+dir+" && find . -printf '%p %y %m %U:%G %l\n' | sort && find . -type f | sort | xargs cat").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	return string(out)
}

// A top becomes a tree, and unpacking its tar gives the same.
func TestCommitAdopts(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStoreOn(t, t.TempDir())
	base := testLayerOf(t, s, tarOf(t, "d/", "d/gone=1", "d/same=2", "e/", "e/old=3", "f=4"))
	snap, err := s.Mount(ctx, Chain{base}, MountOptions{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	at := mountAt(t, snap)
	script := "rm d/gone; touch d/same; rm -r e; mkdir e; echo new >e/new; ln e/new e/twin; ln -s ../f d/link; mkdir -p x/y; chmod 1777 x; chown 33:44 x/y; echo t >tmp; rm tmp; mkfifo p"
	if out, err := exec.Command("sh", "-c", "cd "+at+" && "+script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	unix.Unmount(at, 0)
	info, err := snap.Commit(ctx, diff.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !info.HasTar || info.Packed == "" {
		t.Fatalf("%+v", info)
	}
	see := func() string {
		both, err := s.Mount(ctx, Chain{base, info.DiffID}, MountOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer both.Close()
		at := mountAt(t, both)
		defer unix.Unmount(at, 0)
		return listing(t, at)
	}
	adopted := see()
	path, _, err := s.find("trees", info.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	raw := listing(t, filepath.Join(path, treeRoot))
	if err := s.throw(path); err != nil {
		t.Fatal(err)
	}
	if unpacked := see(); unpacked != adopted {
		t.Fatalf("the top shows\n%s\nits tar gives\n%s", adopted, unpacked)
	}
	path, _, _ = s.find("trees", info.DiffID)
	if made := listing(t, filepath.Join(path, treeRoot)); made != raw {
		t.Fatalf("the top was\n%s\nits tar gives\n%s", raw, made)
	}
	if strings.Contains(adopted, "gone") || strings.Contains(adopted, "old") || !strings.Contains(adopted, "./x/y d 755 33:44") {
		t.Fatal(adopted)
	}
	clean(t, s)
}

// An unchanged top is the empty layer; scratch can be mounted.
func TestCommitNothing(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStoreOn(t, t.TempDir())
	for _, chain := range []Chain{nil, {testLayerOf(t, s, tarOf(t, "a=1"))}} {
		snap, err := s.Mount(ctx, chain, MountOptions{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		at := mountAt(t, snap)
		unix.Unmount(at, 0)
		info, err := snap.Commit(ctx, diff.PackOptions{})
		if err != nil || info.Size != 1024 {
			t.Fatalf("%+v, %v", info, err)
		}
		if err := snap.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(s.path("tmp")); len(left) > 0 {
		t.Fatalf("left: %v", left)
	}
}

func testStoreOn(t *testing.T, dir string) *Store { return reopen(t, filepath.Join(dir, "s")) }

// testLayerOf puts a tar as a layer of ours.
func testLayerOf(t *testing.T, s *Store, raw []byte) digest.Digest {
	t.Helper()
	return testLayer(t, s, string(raw))
}
