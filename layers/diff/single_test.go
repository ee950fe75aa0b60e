package diff

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestSingleIDGivesOwnersBack unpacks a layer of many owners as one user, and packs the tree as a top over that layer: it
// must equal what lies below, whatever the disk could not keep.
func TestSingleIDGivesOwnersBack(t *testing.T) {
	if os.Geteuid() == 0 && os.Getenv("HOD_TEST_AS_NOBODY") == "" {
		asNobody(t)
		return
	}
	var b bytes.Buffer
	w := NewWriter(&b, PackOptions{Timestamps: Source})
	for _, e := range []Entry{
		{Path: "closed", Type: tar.TypeDir, Mode: 0o111, UID: 5},
		{Path: "closed/secret", Type: tar.TypeReg, UID: 7, GID: 70000, Size: 3},
		{Path: "fifo", Type: tar.TypeFifo, Mode: 0o600, GID: 9},
		{Path: "suid", Type: tar.TypeReg, Mode: 0o4755},
		{Path: "to", Type: tar.TypeSymlink, Mode: 0o777, UID: 3, Linkname: "suid"},
	} {
		e.ModTime = time.Unix(1e9, 0)
		if err := w.WriteEntry(e, bytes.NewReader([]byte("abc"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	x, err := ApplyPath(t.Context(), bytes.NewReader(b.Bytes()), dir, ApplyOptions{SingleID: true, UserXattr: true})
	if err != nil {
		t.Fatal(err)
	}
	below, err := NewView([]*Index{x}, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := PackOptions{SingleID: true, UserXattr: true, Timestamps: Source}
	b.Reset()
	if x, err = PackUpper(t.Context(), dir, below, &b, o); err != nil || len(x.Entries) != 0 {
		t.Fatalf("the top is not empty: %+v, %v", x, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "closed", "new"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if x, err = PackUpper(t.Context(), dir, below, &b, o); err != nil {
		t.Fatal(err)
	}
	if len(x.Entries) != 2 || x.Entries[0].UID != 5 || x.Entries[0].Mode != 0o111 || x.Entries[1].UID != 0 || x.Entries[1].Mode != 0 {
		t.Errorf("packed %+v", x.Entries)
	}
}

// asNobody runs the test again without any privilege.
func asNobody(t *testing.T) {
	tmp, err := os.MkdirTemp("", "hod-nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	bin, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	prog := filepath.Join(tmp, "test")
	if err := os.WriteFile(prog, bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prog, "-test.run=^"+t.Name()+"$")
	cmd.Dir, cmd.Env = tmp, []string{"HOD_TEST_AS_NOBODY=1", "TMPDIR=" + tmp}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
