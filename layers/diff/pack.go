package diff

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PackTree packs a folder and all below it.
func PackTree(ctx context.Context, dir string, w io.Writer, o PackOptions) (*Index, error) {
	return pack(ctx, dir, nil, w, o)
}

// PackUpper packs the upper folder of an overlay over the chain below: deletions become whiteouts, what equals the chain
// is left out, the parents of what is not stay.
func PackUpper(ctx context.Context, upper string, below *View, w io.Writer, o PackOptions) (*Index, error) {
	if below == nil {
		var err error
		if below, err = NewView(nil, nil); err != nil {
			return nil, err
		}
	}
	return pack(ctx, upper, below, w, o)
}

func pack(ctx context.Context, dir string, below *View, w io.Writer, o PackOptions) (*Index, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	p := &packer{ctx: ctx, w: NewWriter(w, o), o: o, below: below, inodes: map[[2]uint64]string{}, prefix: "trusted.overlay."}
	if o.UserXattr {
		p.prefix = "user.overlay."
	}
	if err := p.folder(fd, "", below != nil); err != nil {
		return nil, fmt.Errorf("pack tree: %w", err)
	}
	return p.w.Close()
}

type packer struct {
	ctx    context.Context
	w      *Writer
	o      PackOptions
	below  *View // nil for a whole tree
	prefix string
	inodes map[[2]uint64]string
	held   []Entry // folders that are written only when something below them is
	open   fdFile
	attrs  attrBuffer
}

// fdFile reads an open descriptor: what os.File does beside that costs as much as the reading of a small file.
type fdFile struct{ fd int }

func (f *fdFile) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (f *fdFile) rewind() error {
	_, err := unix.Seek(f.fd, 0, io.SeekStart)
	return os.NewSyscallError("lseek", err)
}

// item is one write of a folder's content, by its name in the tar.
type item struct {
	tarName string
	name    string // on disk; empty for an opaque mark
	white   bool
}

// folder packs what an open folder holds. merged says that the chain below shows through it.
func (p *packer) folder(fd int, path string, merged bool) error {
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	items := make([]item, 0, len(names)+1)
	for _, n := range names {
		if strings.HasPrefix(n, ".wh.") {
			return fmt.Errorf("file %q: a layer cannot hold names that begin with .wh", join(path, n))
		}
		var st unix.Stat_t
		if p.below != nil {
			if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return &os.PathError{Op: "stat", Path: join(path, n), Err: err}
			}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
			items = append(items, item{".wh." + n, n, true})
			continue
		}
		items = append(items, item{n, n, false})
	}
	if p.o.Whole != nil && merged {
		items = append(items, p.deleted(path, names)...)
	}
	if p.below != nil && path != "" && !merged && p.isDirBelow(path) {
		items = append(items, item{tarName: ".wh..wh..opq"})
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.tarName, b.tarName) })
	for _, it := range items {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := p.item(fd, path, it, merged); err != nil {
			return err
		}
	}
	return nil
}

// deleted lists what the chain has in a folder and a whole tree has not.
func (p *packer) deleted(path string, names []string) []item {
	list, err := p.below.ReadDir(path)
	if err != nil {
		return nil // the chain has no such folder
	}
	here := map[string]bool{}
	for _, n := range names {
		here[n] = true
	}
	var items []item
	for _, e := range list {
		if _, base := split(e.Path); !here[base] {
			items = append(items, item{".wh." + base, base, true})
		}
	}
	return items
}

func (p *packer) isDirBelow(path string) bool {
	e, err := p.below.Lstat(path)
	return err == nil && e.IsDir()
}

func (p *packer) item(fd int, path string, it item, merged bool) error {
	at := join(path, it.name)
	if it.white || it.name == "" {
		if it.white {
			if _, err := p.below.Lstat(at); err != nil || !merged {
				return nil // it deletes nothing
			}
		}
		return p.write(Entry{Path: join(path, it.tarName), Type: tar.TypeReg}, nil)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, it.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: at, Err: err}
	}
	if merged && p.o.Whole.untouched(at, &st) {
		return nil
	}
	e := Entry{
		Path: at, Mode: uint32(st.Mode) & 0o7777, UID: int(st.Uid), GID: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Type = tar.TypeDir
		return p.dir(fd, it.name, e, merged)
	case unix.S_IFREG:
		e.Type, e.Size = tar.TypeReg, st.Size
	case unix.S_IFLNK:
		buf := make([]byte, 4097)
		n, err := unix.Readlinkat(fd, it.name, buf)
		if err != nil {
			return &os.PathError{Op: "readlink", Path: at, Err: err}
		}
		e.Type, e.Mode, e.Linkname = tar.TypeSymlink, 0o777, string(buf[:n])
	case unix.S_IFIFO:
		e.Type = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			e.Type = tar.TypeBlock
		}
		e.Devmajor, e.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	default:
		return nil // a socket is nothing without the process that listens
	}
	return p.file(fd, it.name, e, [2]uint64{uint64(st.Dev), st.Ino}, st.Nlink > 1, merged)
}

func (p *packer) dir(parent int, name string, e Entry, merged bool) error {
	fd, err := p.openAt(parent, name, e, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if e.Xattrs, err = p.attrs.read(fd); err != nil {
		return err
	}
	if merged {
		renewed, err := p.o.Whole.renewed(e.Path, fd)
		if err != nil {
			return err
		}
		merged = !renewed
	}
	if p.below != nil {
		var one [2]byte
		if n, err := unix.Fgetxattr(fd, p.prefix+"opaque", one[:]); err == nil && n == 1 && one[0] == 'y' {
			merged = false
		}
		if n, err := unix.Fgetxattr(fd, p.prefix+"redirect", nil); err == nil && n > 0 {
			return fmt.Errorf("folder %q: overlay redirects are not supported in a top", e.Path)
		}
	}
	same := false
	if merged {
		b, err := p.below.Lstat(e.Path)
		merged = err == nil && b.IsDir()
		p.own(&e, b, err == nil)
		same = merged && p.equal(e, b)
	} else {
		p.own(&e, Entry{}, false)
	}
	same = same || p.stub(e)
	depth := len(p.held)
	p.held = append(p.held, e)
	if !same {
		if err := p.release(); err != nil {
			return err
		}
	}
	err = p.folder(fd, e.Path, merged)
	p.held = p.held[:min(depth, len(p.held))]
	return err
}

// own gives an entry the owner that the disk could not keep.
func (p *packer) own(e *Entry, b Entry, exists bool) {
	if !p.o.SingleID {
		return
	}
	e.UID, e.GID = 0, 0
	if !exists || b.Type != e.Type {
		return
	}
	e.UID, e.GID = b.UID, b.GID
	if e.Mode == relaxed(b) {
		e.Mode = b.Mode
	}
}

// openAt opens an entry to read. With a single id the packer owns all files but has no power over modes, so one that its
// owner may not read is made readable for that moment.
func (p *packer) openAt(dir int, name string, e Entry, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags, 0)
	if errors.Is(err, unix.EACCES) && p.o.SingleID {
		if err := unix.Fchmodat(dir, name, relaxed(e), 0); err != nil {
			return -1, &os.PathError{Op: "chmod", Path: e.Path, Err: err}
		}
		fd, err = unix.Openat(dir, name, flags, 0)
		if err == nil && e.Type == tar.TypeReg {
			err = unix.Fchmod(fd, e.Mode)
		}
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: e.Path, Err: err}
	}
	return fd, nil
}

// release writes the folders that were held back.
func (p *packer) release() error {
	for _, h := range p.held {
		if err := p.w.WriteEntry(h, nil); err != nil {
			return err
		}
	}
	p.held = nil
	return nil
}

func (p *packer) write(e Entry, content io.Reader) error {
	if err := p.release(); err != nil {
		return err
	}
	return p.w.WriteEntry(e, content)
}
