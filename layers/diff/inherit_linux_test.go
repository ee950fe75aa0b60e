package diff

import (
	"archive/tar"
	"bytes"
	"os"
	"testing"
)

// TestNothingIsInherited: a folder that passes its group on, and one with a list for new files, change nothing of what the
// layer itself has in them; both are as the layer says in the end.
func TestNothingIsInherited(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners are restored")
	}
	// Version 2; owner rwx, user 4242 rwx, group r-x, mask rwx, others none.
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x92\x10\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	var data bytes.Buffer
	w := NewWriter(&data, PackOptions{Timestamps: Source})
	for _, dir := range []Entry{
		{Path: "acl", Mode: 0o755, Xattrs: map[string]string{defaultACL: acl}},
		{Path: "gid", Mode: 0o2775, GID: 8},
	} {
		dir.Type = tar.TypeDir
		for _, e := range []Entry{
			dir,
			{Path: dir.Path + "/file", Type: tar.TypeReg, Mode: 0o644},
			{Path: dir.Path + "/folder", Type: tar.TypeDir, Mode: 0o755},
			{Path: dir.Path + "/folder/deep", Type: tar.TypeReg, Mode: 0o600},
			{Path: dir.Path + "/link", Type: tar.TypeSymlink, Linkname: "file", Mode: 0o777},
			{Path: dir.Path + "/pipe", Type: tar.TypeFifo, Mode: 0o644},
		} {
			if err := w.WriteEntry(e, bytes.NewReader(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := ApplyPath(t.Context(), bytes.NewReader(data.Bytes()), dir, ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := PackTree(t.Context(), dir, &again, PackOptions{Timestamps: Source}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data.Bytes(), again.Bytes()) {
		t.Error("the tars differ")
	}
}
