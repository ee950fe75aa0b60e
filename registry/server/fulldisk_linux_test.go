package server

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// fill takes the space of a file system, but for what is left.
func fill(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := int64(st.Bavail)*st.Bsize - left; n > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			t.Fatal(err)
		}
	}
	return func() { os.Remove(path) }
}

// TestFullDisk pushes while the disk has no space, or too little for some step of it
// (G19): each answer tells the truth, the tag is the old image or the new one, whole,
// and when there is space again all goes on, for another server, too.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	store, err := layers.Open(filepath.Join(disk, "store"), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{s: New(store, Options{}), repo: "app", tag: "v1"}
	c.push(t, 0)
	full := 0
	for left := int64(0); left <= 72<<10; left += 4 << 10 {
		free := fill(t, disk, left)
		acknowledged := c.want
		if pushed := tryPush(t, c, int(left)+1, 20<<10); !pushed {
			full++
		} else if c.want == acknowledged {
			t.Error("it was acknowledged and is not known")
		}
		c.pull(t)
		free()
		c.pull(t)
	}
	if full == 0 || full > 18 {
		t.Errorf("%d pushes found no space", full)
	}
	c.push(t, 7)
	c.pull(t)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = layers.Open(filepath.Join(disk, "store"), layers.Options{}); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c.s = New(store, Options{})
	c.pull(t)
}

// tryPush pushes an image with a layer of some size, and tells whether all of it was
// acknowledged.
func tryPush(t *testing.T, c *client, n, size int) bool {
	layer, config := make([]byte, size), fmt.Appendf(nil, `{"n":%d}`, n)
	copy(layer, config)
	for _, b := range [][]byte{config, layer} {
		w := ask(c.s, "", "POST", "/v2/"+c.repo+"/blobs/uploads/?digest="+string(digest.FromBytes(b)), b)
		if w.Code != 201 {
			return refused(t, w.Code)
		}
	}
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		digest.FromBytes(config), len(config), digest.FromBytes(layer), size)
	w := ask(c.s, "", "PUT", "/v2/"+c.repo+"/manifests/"+c.tag, raw, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	if w.Code != 201 {
		return refused(t, w.Code)
	}
	c.want = digest.FromBytes(raw)
	return true
}

// refused checks that the answer says why.
func refused(t *testing.T, code int) bool {
	t.Helper()
	if code != 507 {
		t.Errorf("the disk is full, and the answer %d", code)
	}
	return false
}
