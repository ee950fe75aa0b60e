package diff

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func (p *packer) file(fd int, name string, e Entry, inode [2]uint64, linked, merged bool) error {
	if linked {
		if first, ok := p.inodes[inode]; ok {
			return p.write(Entry{Path: e.Path, Type: tar.TypeLink, Mode: e.Mode, UID: e.UID, GID: e.GID, ModTime: e.ModTime, Linkname: first}, nil)
		}
	}
	var content io.Reader
	var f *fdFile
	if e.Type == tar.TypeReg {
		n, err := p.openAt(fd, name, e, 0)
		if err != nil {
			return err
		}
		defer unix.Close(n)
		p.open.fd = n
		f = &p.open
		content = f
		if e.Xattrs, err = p.attrs.read(n); err != nil {
			return fmt.Errorf("read %q: %w", e.Path, err)
		}
	}
	if p.below != nil {
		b, err := p.below.Lstat(e.Path)
		exists := err == nil && merged
		p.own(&e, b, exists)
		if exists && !linked && p.equal(e, b) {
			same, err := sameContent(f, e, b)
			if err != nil || same {
				return err
			}
		}
		if !exists && e.Size == 0 && p.stub(e) {
			return nil
		}
	}
	if linked {
		p.inodes[inode] = e.Path
	}
	return p.write(e, content)
}

// stub says whether an entry is new and only there to mount something on it.
func (p *packer) stub(e Entry) bool {
	if p.o.Stub == nil || !p.o.Stub(e.Path) || p.below == nil {
		return false
	}
	_, err := p.below.Lstat(e.Path)
	return err != nil
}

// equal compares all but content.
func (p *packer) equal(e, b Entry) bool {
	if e.Type != b.Type || e.Mode != b.Mode || e.UID != b.UID || e.GID != b.GID || e.Size != b.Size ||
		e.Linkname != b.Linkname || e.Devmajor != b.Devmajor || e.Devminor != b.Devminor || len(e.Xattrs) != len(b.Xattrs) {
		return false
	}
	if p.o.Timestamps != Fixed && !e.IsDir() && e.ModTime.Unix() != b.ModTime.Unix() {
		return false
	}
	for k, v := range e.Xattrs {
		if w, ok := b.Xattrs[k]; !ok || w != v {
			return false
		}
	}
	return true
}

func sameContent(f *fdFile, e, b Entry) (bool, error) {
	if f == nil {
		return true, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false, fmt.Errorf("read %q: %w", e.Path, err)
	}
	if Sum(sum.Sum(nil)) == b.Digest {
		return true, nil
	}
	return false, f.rewind()
}

// attrBuffer is where names and values of extended attributes are read into.
type attrBuffer struct{ names, value []byte }

// read reads the attributes that belong into a layer.
func (b *attrBuffer) read(fd int) (map[string]string, error) {
	if b.names == nil {
		b.names = make([]byte, 64<<10)
	}
	n, err := unix.Flistxattr(fd, b.names)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("flistxattr", err)
	}
	var m map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(b.names[:n]), "\x00"), "\x00") {
		if !KeepXattr(name) {
			continue
		}
		if b.value == nil {
			b.value = make([]byte, 64<<10)
		}
		k, err := unix.Fgetxattr(fd, name, b.value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("fgetxattr", err)
		}
		if m == nil {
			m = map[string]string{}
		}
		m[name] = string(b.value[:k])
	}
	return m, nil
}
