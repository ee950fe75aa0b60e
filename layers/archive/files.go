package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// files is the regular files of an archive by their clean relative names.
type files interface {
	open(name string) (io.ReadCloser, int64, error)
	Close() error
}

// folder is an unpacked layout. os.Root keeps names inside; links, even those
// that stay inside, are refused: no writer makes them.
type folder struct{ root *os.Root }

func (f folder) Close() error { return f.root.Close() }

func (f folder) open(name string) (io.ReadCloser, int64, error) {
	for dir := name; dir != "."; dir = path.Dir(dir) {
		st, err := f.root.Lstat(dir)
		if err != nil {
			return nil, 0, err
		}
		if dir == name && !st.Mode().IsRegular() || dir != name && !st.IsDir() {
			return nil, 0, fmt.Errorf("%q is a link or a special file", dir)
		}
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", name)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, st.Size(), nil
}

// maxFiles bounds the list of a tar's files, not their sizes.
const maxFiles = 1 << 20

// packed is a tar that stays packed: where in the file each member lies.
type packed struct {
	f       *os.File
	members map[string]span
	links   map[string]string
}

type span struct{ offset, size int64 }

// scan lists the members of a tar without reading their contents.
func scan(f *os.File) (*packed, error) {
	p := &packed{f: f, members: map[string]span{}, links: map[string]string{}}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	size := int64(-1) // unknown of devices
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
		size = st.Size()
	}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return p, nil
		}
		if err != nil {
			return nil, fmt.Errorf("after file %d: %w", len(p.members)+len(p.links), err)
		}
		if len(p.members)+len(p.links) >= maxFiles {
			return nil, fmt.Errorf("more than %d files", maxFiles)
		}
		name := path.Clean(h.Name)
		if !fs.ValidPath(name) {
			continue // nothing can ask for it
		}
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if size >= 0 && at+h.Size > size {
			return nil, fmt.Errorf("%q is cut off: %w", name, io.ErrUnexpectedEOF)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			p.members[name] = span{at, h.Size}
		case tar.TypeSymlink:
			p.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			p.links[name] = path.Clean(h.Linkname)
		}
	}
}

func (p *packed) Close() error { return p.f.Close() }

// open follows one link, as Docker's older archives have for equal layers, and
// only to a member of the same archive.
func (p *packed) open(name string) (io.ReadCloser, int64, error) {
	if to, ok := p.links[name]; ok && !strings.HasPrefix(name, "blobs/") {
		name = to
	}
	m, ok := p.members[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(p.f, m.offset, m.size)), m.size, nil
}
