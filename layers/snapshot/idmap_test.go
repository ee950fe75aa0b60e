package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hodbuild/hod/layers/granted"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// TestOverlayMapsOwners: root's files on disk are the range's first id in the
// mount, and what is made by that id in the mount is root's on disk.
func TestOverlayMapsOwners(t *testing.T) {
	granted.NeedRoot(t, "mounts on the host")
	tmp := t.TempDir()
	lower, second, top := filepath.Join(tmp, "a:b"), filepath.Join(tmp, "second"), filepath.Join(tmp, "top")
	for _, d := range []string{lower, second, filepath.Join(top, "upper"), filepath.Join(top, "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(lower, "f"), []byte("one"), 0o644)
	os.WriteFile(filepath.Join(second, "f"), []byte("two"), 0o644)
	os.WriteFile(filepath.Join(second, "g"), []byte("two"), 0o644)
	ids := []userns.Range{{Outside: 1 << 30, Count: 65536}}
	m, err := Overlay(Options{Lower: []string{lower, second}, Upper: filepath.Join(top, "upper"), Work: filepath.Join(top, "work"), UIDs: ids, GIDs: ids})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	root := fmt.Sprintf("/proc/self/fd/%d", m.Detached.Fd())
	if b, err := os.ReadFile(root + "/f"); err != nil || string(b) != "one" {
		t.Errorf("uppermost layer: %q %v", b, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root+"/g", &st); err != nil || st.Uid != 1<<30 {
		t.Errorf("owner in the mount: %d %v", st.Uid, err)
	}
	if err := os.Chown(root+"/g", 1<<30+7, 1<<30+8); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(filepath.Join(top, "upper", "g"), &st); err != nil || st.Uid != 7 || st.Gid != 8 {
		t.Errorf("owner on disk: %d:%d %v", st.Uid, st.Gid, err)
	}
	if err := unix.Stat(filepath.Join(second, "g"), &st); err != nil || st.Uid != 0 {
		t.Errorf("owner in the layer: %d %v", st.Uid, err)
	}
}
