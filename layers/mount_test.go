//go:build linux

package layers

import (
	"bytes"
	"context"
	"io"
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
	if err := unix.MoveMount(int(m.Detached.Fd()), "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
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

// A top becomes a tree and is kept as nothing else: its tar is made of it, and unpacking that gives the same tree.
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
	script := "rm d/gone; touch d/same; rm -r e; mkdir e; echo new >e/new; ln e/new e/twin; ln -s ../f d/link; mkdir -p x/y; chmod 1777 x; chown 33:44 x/y; echo t >tmp; rm tmp; mkfifo p; truncate -s 5M hole"
	if out, err := exec.Command("sh", "-c", "cd "+at+" && "+script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	unix.Unmount(at, 0)
	info, err := snap.Commit(ctx, diff.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if info.HasTar || !info.HasTree || info.Packed == "" {
		t.Fatalf("%+v", info)
	}
	see := func(s *Store) (merged, tree string) {
		both, err := s.Mount(ctx, Chain{base, info.DiffID}, MountOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer both.Close()
		at := mountAt(t, both)
		defer unix.Unmount(at, 0)
		return listing(t, at), listing(t, both.Trees()[0])
	}
	adopted, top := see(s)
	r, err := s.OpenTar(ctx, info.DiffID)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil || int64(len(raw)) != info.Size {
		t.Fatalf("%d bytes of tar, want %d: %v", len(raw), info.Size, err)
	}
	r.Close()
	other := testStoreOn(t, t.TempDir())
	testLayerOf(t, other, tarOf(t, "d/", "d/gone=1", "d/same=2", "e/", "e/old=3", "f=4"))
	testLayerOf(t, other, raw)
	if merged, tree := see(other); merged != adopted || tree != top {
		t.Fatalf("the top shows\n%s\nits tar gives\n%s\nthe top was\n%s\nits tar gives\n%s", adopted, merged, top, tree)
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

// A flipped bit in a tree is found, whether or not the tree is all that there is of its layer.
func TestCheckFindsRotInTrees(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStoreOn(t, t.TempDir())
	pulled := tarOf(t, "d/", "d/f=text")
	z := zipped(pulled)
	base, err := s.IngestBlob(ctx, gzDesc(z), bytes.NewReader(z), "", IngestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Mount(ctx, Chain{base.DiffID}, MountOptions{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	os.WriteFile(filepath.Join(snap.Upper(), "made"), []byte("here"), 0o644)
	top, err := snap.Commit(ctx, diff.PackOptions{})
	if err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	for d, name := range map[digest.Digest]string{base.DiffID: "d/f", top.DiffID: "made"} {
		path := filepath.Join(first(s.find("trees", d)), treeRoot, name)
		if err := os.WriteFile(path, []byte("texT"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Check(ctx, CheckOptions{Repair: true})
	if err != nil || len(r.Problems) != 3 { // two trees, and the layer that was nothing but its tree
		t.Fatalf("%+v: %v", r, err)
	}
	clean(t, s)
	if err := s.EnsureTree(ctx, Chain{base.DiffID}, 0); err != nil {
		t.Fatal(err)
	}
}
