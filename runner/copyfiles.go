//go:build linux

package runner

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// Host is the machine's own file system as an end of a copy.
func Host() (*Files, error) {
	root, err := rootfs.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	return &Files{Root: root, closes: []func() error{root.Close}}, nil
}

// CopyOptions of a copy.
type CopyOptions struct {
	// Owners keeps users and groups; else everything belongs to root of the
	// container, or on the host to whoever copies.
	Owners bool
	// Follow copies what a link at the source points to.
	Follow bool
}

// ReadTar writes the file or folder at a path as a tar, in which it has the name
// as: all of it lies below. Links in the way there lead nowhere but inside.
func (f *Files) ReadTar(name, as string, w io.Writer, o CopyOptions) error {
	st, err := f.Lstat(name)
	if err == nil && (o.Follow || strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")) {
		st, err = f.Stat(name)
	}
	if err != nil {
		return fmt.Errorf("copy %q: %w", name, plainErrno(err))
	}
	p := packer{f, tar.NewWriter(w), map[[2]uint64]string{}}
	if err := p.pack(name, as, st, 0); err != nil {
		return err
	}
	return p.t.Close()
}

// packer writes files as a tar.
type packer struct {
	f     *Files
	t     *tar.Writer
	links map[[2]uint64]string // the names of files, by device and number, that have several
}

// pack writes what is at a path; around is the device of the folder that it is in.
func (p *packer) pack(name, as string, st unix.Stat_t, around uint64) error {
	f := p.f
	h := &tar.Header{
		Name: as, Mode: int64(st.Mode & 0o7777), Uid: inside(f.ids, st.Uid), Gid: inside(f.gids, st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()).Truncate(time.Second), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		if err := p.t.WriteHeader(h); err != nil || st.Dev != around && f.isKernels(name) {
			return err
		}
		return p.packFolder(name, h.Name, st.Dev)
	case unix.S_IFREG:
		file := [2]uint64{st.Dev, st.Ino}
		if first := p.links[file]; first != "" {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			break
		}
		if st.Nlink > 1 {
			p.links[file] = as
		}
		return p.packFile(name, h)
	case unix.S_IFLNK:
		target, err := f.Readlink(name)
		if err != nil {
			return fmt.Errorf("copy %q: %w", name, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
	default:
		return nil // a socket is nothing without the process that listens
	}
	return p.t.WriteHeader(h)
}

// isKernels says whether a folder of a container that runs is a file system of the kernel's, as /proc, or /dev: nothing
// there is a file to copy.
func (f *Files) isKernels(name string) bool {
	if !f.running {
		return false
	}
	folder, err := f.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	defer folder.Close()
	var st unix.Statfs_t
	if unix.Fstatfs(int(folder.Fd()), &st) != nil {
		return false
	}
	own := []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC}
	return slices.Contains(own, int64(st.Type)) || path.Clean(name) == "/dev"
}

func (p *packer) packFolder(name, as string, device uint64) error {
	f := p.f
	entries, err := f.ReadDir(name)
	if err != nil {
		return fmt.Errorf("copy %q: %w", name, plainErrno(err))
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		child := path.Join(name, e.Name())
		st, err := f.Lstat(child)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("copy %q: %w", child, err)
		}
		if err := p.pack(child, path.Join(as, e.Name()), st, device); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) packFile(name string, h *tar.Header) error {
	t := p.t
	file, err := p.f.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("copy %q: %w", name, plainErrno(err))
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("copy %q: it changes while it is copied", name))
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	// A file that grows is copied as it was, one that shrinks is filled up.
	n, err := io.Copy(t, io.LimitReader(file, h.Size))
	if err == nil && n < h.Size {
		_, err = io.CopyN(t, zeros{}, h.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// WriteTar unpacks a tar below a folder. What it replaces is replaced as a
// whole; a folder does not replace a file, nor a file a folder.
func (f *Files) WriteTar(folder string, r io.Reader, o CopyOptions) error {
	if f.ids == nil || userns.Here() != userns.Root {
		return f.write(folder, r, o)
	}
	// The host's root is nobody in the container's mounts and could make nothing there.
	return userns.As(userns.Map{UIDs: f.ids, GIDs: f.gids}, func() error { return f.write(folder, r, o) })
}

func (f *Files) write(folder string, r io.Reader, o CopyOptions) (err error) {
	u := unpacker{f: f, folder: folder, o: o}
	defer func() { err = errors.Join(err, u.finish()) }()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if err := u.unpack(h, t); err != nil {
			return fmt.Errorf("copy to %q: %w", path.Join(folder, h.Name), plainErrno(err))
		}
	}
}

// unpacker makes files of a tar below a folder.
type unpacker struct {
	f      *Files
	folder string
	o      CopyOptions
	made   []madeFolder
}

// madeFolder is one that gets its owner, mode and time after what is in it: it may not let others in, and what is put
// there changes its time.
type madeFolder struct {
	name string
	meta diff.Entry
}

func (u *unpacker) finish() error {
	var errs []error
	for _, m := range slices.Backward(u.made) {
		if err := setMeta(u.f.Root, m.meta, m.name); err != nil {
			errs = append(errs, fmt.Errorf("copy to %q: %w", m.name, plainErrno(err)))
		}
	}
	return errors.Join(errs...)
}

func (u *unpacker) unpack(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // git archive begins with one
		return nil
	}
	f, o := u.f, u.o
	name := path.Join(u.folder, path.Clean("/"+h.Name))
	e := diff.Entry{Type: h.Typeflag, Mode: uint32(h.Mode) & 0o7777, UID: -1, GID: -1, ModTime: h.ModTime}
	if o.Owners {
		e.UID, e.GID = outside(f.ids, h.Uid), outside(f.gids, h.Gid)
	} else if f.ids != nil {
		e.UID, e.GID = outside(f.ids, 0), outside(f.gids, 0)
	}
	if err := f.MkdirAll(path.Dir(name), 0o755, -1, -1); err != nil {
		return err
	}
	old, err := f.Lstat(name)
	folderThere := err == nil && old.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case h.Typeflag == tar.TypeDir && folderThere:
		if name != path.Clean(u.folder) { // the destination itself stays as it is, as with docker
			u.made = append(u.made, madeFolder{name, e})
		}
		return nil
	case err == nil && folderThere != (h.Typeflag == tar.TypeDir):
		return errors.New("a folder and a file cannot take each other's place")
	case err == nil && f.isMount(name):
		return errors.New("a file is mounted there: copy to where it comes from")
	case err == nil:
		if err := f.Remove(name); err != nil {
			return err
		}
	}
	if err := f.make(name, h, r, u.folder); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeLink:
		return nil
	case tar.TypeDir:
		u.made = append(u.made, madeFolder{name, e})
		return nil
	}
	return setMeta(f.Root, e, name)
}

// isMount says whether something is mounted at a path, which would be taken away from there and not be written.
func (f *Files) isMount(name string) bool {
	file, err := f.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	var st unix.Statx_t
	err = unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func (f *Files) make(name string, h *tar.Header, r io.Reader, folder string) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return f.MkdirAll(name, 0o700, -1, -1)
	case tar.TypeSymlink:
		return f.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return f.Link(path.Join(folder, path.Clean("/"+h.Linkname)), name)
	case tar.TypeFifo:
		return f.Mknod(name, unix.S_IFIFO|0o600, 0)
	case tar.TypeReg:
		file, err := f.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, r)
		return errors.Join(err, file.Close())
	}
	return fmt.Errorf("entries of type %q are not copied", h.Typeflag)
}

// plainErrno leaves out which system call said it.
func plainErrno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// inside is an id as the container numbers it; nobody where it has no number.
func inside(ranges []layers.IDRange, id uint32) int {
	if ranges == nil {
		return int(id)
	}
	for _, r := range ranges {
		if id >= r.Outside && id-r.Outside < r.Count {
			return int(r.Inside + id - r.Outside)
		}
	}
	return 65534
}

// outside is an id of the container as it is numbered here; -1 leaves the owner.
func outside(ranges []layers.IDRange, id int) int {
	if ranges == nil {
		return id
	}
	for _, r := range ranges {
		if uint32(id) >= r.Inside && uint32(id)-r.Inside < r.Count {
			return int(r.Outside + uint32(id) - r.Inside)
		}
	}
	return -1
}
