package ops

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers/diff"
)

// FromView reads the file system of a chain as a tree.
func FromView(v *diff.View) source.Files { return viewFiles{v} }

type viewFiles struct{ v *diff.View }

// Lstat describes one entry, see [source.Files].
func (f viewFiles) Lstat(p string) (source.Entry, error) {
	e, err := f.v.Lstat(p)
	if err != nil {
		return source.Entry{}, missing("stat", p, err)
	}
	return entryFromDiff(e), nil
}

// ReadDir lists a folder, see [source.Files].
func (f viewFiles) ReadDir(p string) ([]source.Entry, error) {
	list, err := f.v.ReadDir(p)
	if err != nil {
		return nil, missing("list", p, err)
	}
	out := make([]source.Entry, len(list))
	for i, e := range list {
		out[i] = entryFromDiff(e)
	}
	return out, nil
}

// Open reads a file, see [source.Files].
func (f viewFiles) Open(p string) (io.ReadCloser, error) {
	r, err := f.v.Open(p)
	if err != nil {
		return nil, missing("open", p, err)
	}
	return r, nil
}

func missing(op, p string, err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return &fs.PathError{Op: op, Path: p, Err: fs.ErrNotExist}
	}
	return err
}

func entryFromDiff(e diff.Entry) source.Entry {
	s := source.Entry{
		Path: e.Path, Type: e.Type, Mode: e.Mode & 0o7777, UID: e.UID, GID: e.GID, Size: e.Size, ModTime: e.ModTime,
		Linkname: e.Linkname, Devmajor: e.Devmajor, Devminor: e.Devminor, Xattrs: e.Xattrs, Digest: e.Digest,
	}
	if e.SameFile != 0 {
		s.Inode = strconv.Itoa(e.SameFile)
	}
	if !s.IsRegular() {
		s.Size, s.Digest = 0, diff.Sum{}
	}
	return s
}

// Packer writes a layer through the canonical packer.
type Packer struct{ Writer *diff.Writer }

// WriteEntry appends one entry, see [Writer].
func (p Packer) WriteEntry(e source.Entry, hardLink string, content io.Reader) error {
	d := diff.Entry{
		Path: e.Path, Type: e.Type, Mode: e.Mode, UID: e.UID, GID: e.GID, Size: e.Size, ModTime: e.ModTime,
		Linkname: e.Linkname, Devmajor: e.Devmajor, Devminor: e.Devminor, Xattrs: e.Xattrs,
	}
	if hardLink != "" {
		d.Type, d.Linkname, d.Size = tar.TypeLink, hardLink, 0
	}
	return p.Writer.WriteEntry(d, content)
}
