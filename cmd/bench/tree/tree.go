// Package tree says what is in a file system, so that two can be compared.
//
// A [Tree] maps paths (no leading slash) to what lies there: kind, mode, owner,
// and the digest of a file's bytes or the target of a link. Times are left out:
// the tools differ in them on purpose. Trees come from folders ([OfFolder]),
// from tar streams ([OfTar]) and from images ([OfImage]), read by
// go-containerregistry and not by any code of hod's.
package tree

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Entry is what lies at one path.
type Entry struct {
	Kind     byte // 'f' file, 'd' folder, 'l' symbolic link, 'h' hard link, '?' else
	Mode     int64
	UID, GID int
	Sum      string // of a file's bytes; a link's target
}

// Tree maps paths to entries.
type Tree map[string]Entry

// File is the entry of a file of root's.
func File(b []byte, mode int64) Entry {
	sum := sha256.Sum256(b)
	return Entry{Kind: 'f', Mode: mode, Sum: hex.EncodeToString(sum[:])}
}

// OfFile reads one file as an image of root's files would hold it.
func OfFile(path string) (Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Entry{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Entry{}, err
	}
	return Entry{Kind: 'f', Mode: mode(info), Sum: hex.EncodeToString(h.Sum(nil))}, nil
}

// mode is a mode as chmod(2) takes it.
func mode(info fs.FileInfo) int64 {
	m := int64(info.Mode().Perm())
	for bit, is := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if info.Mode()&is != 0 {
			m |= bit
		}
	}
	return m
}

// OfFolder reads a folder, itself included, as paths below at.
func OfFolder(dir, at string) (Tree, error) {
	t := Tree{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(at+strings.TrimPrefix(path, dir), "/")
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			t[name] = Entry{Kind: 'd', Mode: mode(info)}
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			t[name] = Entry{Kind: 'l', Mode: 0o777, Sum: target}
			return err
		default:
			t[name], err = OfFile(path)
			return err
		}
		return nil
	})
	return t, err
}

// OfTarFile reads a tar file that has no whiteouts in it.
func OfTarFile(path string) (Tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return OfTar(f)
}

// OfTar reads a tar stream that has no whiteouts in it.
func OfTar(r io.Reader) (Tree, error) {
	t := Tree{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		name := strings.Trim(filepath.Clean("/"+h.Name), "/")
		e := Entry{Kind: '?', Mode: h.Mode & 0o7777, UID: h.Uid, GID: h.Gid}
		switch h.Typeflag {
		case tar.TypeReg:
			sum := sha256.New()
			if _, err := io.Copy(sum, tr); err != nil {
				return nil, err
			}
			e.Kind, e.Sum = 'f', hex.EncodeToString(sum.Sum(nil))
		case tar.TypeDir:
			e.Kind = 'd'
		case tar.TypeSymlink:
			e.Kind, e.Mode, e.Sum = 'l', 0o777, h.Linkname
		case tar.TypeLink:
			e.Kind, e.Sum = 'h', strings.Trim(h.Linkname, "/.")
		}
		t[name] = e
	}
}

// runtimes are paths that a tool's sandbox may leave in an image: where it puts
// its mounts. No recipe here writes below them.
var runtimes = []string{"", "proc", "sys", "dev", "run", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"}

// Differ names up to three differences, or gives nil when got is what was wanted.
func Differ(want, got Tree) error {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[name]
		switch {
		case slices.Contains(runtimes, name):
		case !ok:
			lines = append(lines, fmt.Sprintf("%q is missing", name))
		case g != want[name]:
			lines = append(lines, fmt.Sprintf("%q is %v, not %v", name, g, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok && !excused(name) {
			lines = append(lines, fmt.Sprintf("%q is too much", name))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%d differences: %s", len(lines), strings.Join(lines[:min(3, len(lines))], "; "))
}

func excused(name string) bool {
	return slices.Contains(runtimes, name) || strings.HasPrefix(name, "dev/") || strings.HasPrefix(name, "run/")
}

// Only is the part of a tree that another names.
func (t Tree) Only(named Tree) Tree {
	part := Tree{}
	for name := range named {
		if e, ok := t[name]; ok {
			part[name] = e
		}
	}
	return part
}
