package layers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// changeAll does to a tree all that a RUN may do.
const changeAll = `set -e; rm d/gone; touch d/same; rm -r e; mkdir e; echo new >e/new; ln e/new e/twin; ln -s ../f d/link
mkdir -p x/y; chmod 1777 x; chown 33:44 x/y; echo t >tmp; rm tmp; mkfifo p; chmod 600 f; rm -r whole
rm kind; mkdir kind; echo in >kind/file; rm -r was; echo file >was; echo more >>d/grown; mv moved elsewhere; echo 5 >d/size`

// changed makes changeAll on a chain and tells the layer.
func changed(t *testing.T, s *Store, o diff.PackOptions) (*Snapshot, digest.Digest) {
	t.Helper()
	ctx := context.Background()
	base := testLayerOf(t, s, tarOf(t, "d/", "d/gone=1", "d/grown=1", "d/same=2", "d/size=4", "e/", "e/old=3", "f=4", "kind=x", "moved=m",
		"was/", "was/in=1", "whole/", "whole/a/", "whole/a/b=1"))
	snap, err := s.Mount(ctx, Chain{base, testLayerOf(t, s, tarOf(t, "d/", "d/.wh.never=", "d/second=2", "link->d/second"))}, MountOptions{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { snap.Close() })
	at := mountAt(t, snap)
	if out, err := exec.Command("sh", "-c", "cd "+at+"\n"+changeAll).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	unix.Unmount(at, 0)
	info, err := snap.Commit(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	clean(t, s)
	return snap, info.DiffID
}

// A copy in the place of an overlay gives the same layer: by wish, and where the store itself lies on an overlay.
func TestCopiesGiveTheLayersOfOverlays(t *testing.T) {
	needRoot(t)
	_, want := changed(t, testStoreOn(t, t.TempDir()), diff.PackOptions{})
	t.Setenv("HOD_SNAPSHOT", "copy")
	snap, got := changed(t, testStoreOn(t, t.TempDir()), diff.PackOptions{})
	if !snap.copied || got != want {
		t.Fatalf("copied %t: layer %s, the overlay gives %s", snap.copied, got, want)
	}
}

func TestStoreOnAnOverlay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"low", "up", "work", "merged"} {
		os.Mkdir(filepath.Join(dir, d), 0o755)
	}
	at := filepath.Join(dir, "merged")
	options := "lowerdir=" + dir + "/low,upperdir=" + dir + "/up,workdir=" + dir + "/work"
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		t.Skipf("no overlay mounts here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	snap, got := changed(t, testStoreOn(t, at), diff.PackOptions{})
	_, want := changed(t, testStoreOn(t, t.TempDir()), diff.PackOptions{})
	if !snap.copied || got != want {
		t.Fatalf("copied %t: layer %s, the overlay gives %s", snap.copied, got, want)
	}
}
