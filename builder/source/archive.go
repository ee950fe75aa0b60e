package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Archive is a tar archive as a tree. Its contents lie in one anonymous temporary file, its names in memory.
type Archive struct {
	*Tree
	spool *os.File
	links map[string]Entry // what the last hard link's header says of a file, by inode
}

// Limits of an archive that is used as a tree. They bound memory and disk against hostile input; zero means the default.
type Limits struct {
	Entries int   // default 4 million
	Bytes   int64 // default 1 TiB
}

func (l Limits) entries() int {
	if l.Entries > 0 {
		return l.Entries
	}
	return 4 << 20
}

func (l Limits) bytes() int64 {
	if l.Bytes > 0 {
		return l.Bytes
	}
	return 1 << 40
}

// ReadArchive reads a tar stream, uncompressed by the caller, to its end. Owners are kept. Names that lead out of the
// archive are an error. tmp is the folder for the temporary file. The caller closes the archive.
func ReadArchive(r io.Reader, tmp string, limits Limits) (*Archive, error) {
	spool, err := os.CreateTemp(tmp, "context-")
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		spool.Close()
		return nil, fmt.Errorf("unlink temporary file: %w", err)
	}
	a := &Archive{Tree: NewTree(), spool: spool, links: map[string]Entry{}}
	if err := a.read(tar.NewReader(r), limits); err != nil {
		spool.Close()
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		spool.Close()
		return nil, fmt.Errorf("read end of archive: %w", err)
	}
	return a, nil
}

// Close releases the temporary file.
func (a *Archive) Close() error { return a.spool.Close() }

func (a *Archive) read(tr *tar.Reader, limits Limits) error {
	var offset int64
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			a.settleLinks()
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if n >= limits.entries() {
			return fmt.Errorf("read archive: more than %d entries", limits.entries())
		}
		if h.Size > limits.bytes()-offset {
			return fmt.Errorf("read archive: larger than %d bytes", limits.bytes())
		}
		size, err := a.add(tr, h, offset)
		if err != nil {
			return fmt.Errorf("read archive: entry %q: %w", h.Name, err)
		}
		offset += size
	}
}

func (a *Archive) add(tr *tar.Reader, h *tar.Header, offset int64) (int64, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return 0, nil
	}
	e, err := EntryOf(h)
	if err != nil {
		return 0, err
	}
	if err := a.checkParents(e.Path); err != nil {
		return 0, err
	}
	if h.Typeflag == tar.TypeLink {
		return 0, a.link(e, h.Linkname)
	}
	if !e.IsRegular() {
		a.Add(e, nil)
		return 0, nil
	}
	n, err := io.Copy(a.spool, tr)
	if err != nil {
		return n, err
	}
	a.Add(e, func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(a.spool, offset, e.Size)), nil
	})
	return n, nil
}

// checkParents refuses an entry below something that is not a folder: the archive would write through a link.
func (a *Archive) checkParents(p string) error {
	for d := parent(p); d != ""; d = parent(d) {
		if n := a.nodes[d]; n != nil && !n.entry.IsDir() {
			return fmt.Errorf("parent %q is not a folder", d)
		}
	}
	return nil
}

// link adds a name to a file. What the link's own header says of the file will hold for all its names, as when it is
// unpacked.
func (a *Archive) link(e Entry, target string) error {
	p, err := inside(target)
	if err != nil {
		return fmt.Errorf("link target %q: %w", target, err)
	}
	n := a.nodes[p]
	if n == nil || n.entry.IsDir() {
		return fmt.Errorf("link target %q is not a file of the archive", target)
	}
	if n.entry.Inode == "" {
		n.entry.Inode = strconv.Itoa(len(a.nodes)) + ":" + p
	}
	a.links[n.entry.Inode] = e
	linked := n.entry
	linked.Path = e.Path
	if p != e.Path {
		a.Add(linked, n.open)
	}
	return nil
}

// settleLinks gives files with several names what the last of their headers says.
func (a *Archive) settleLinks() {
	for _, n := range a.nodes {
		if e, ok := a.links[n.entry.Inode]; ok && n.entry.Inode != "" {
			n.entry.Mode, n.entry.UID, n.entry.GID, n.entry.ModTime = e.Mode, e.UID, e.GID, e.ModTime
		}
	}
}

// newest is the time of the file that was changed last, zero where there is none.
func (a *Archive) newest() time.Time {
	var t time.Time
	for _, n := range a.nodes {
		if n.entry.IsRegular() && n.entry.ModTime.After(t) {
			t = n.entry.ModTime
		}
	}
	return t
}

// EntryOf makes an entry of an archive's header; a hard link has the type of a regular file.
func EntryOf(h *tar.Header) (Entry, error) {
	p, err := inside(h.Name)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Path: p, Type: h.Typeflag, Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid, ModTime: h.ModTime,
		Linkname: h.Linkname, Devmajor: h.Devmajor, Devminor: h.Devminor, Xattrs: xattrsOf(h),
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		e.Type, e.Size, e.Linkname = tar.TypeReg, h.Size, ""
	case tar.TypeLink:
		e.Type, e.Linkname = tar.TypeReg, ""
	case tar.TypeSymlink:
		e.Mode = 0o777
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeChar, tar.TypeBlock:
		if err := checkDevice(h); err != nil {
			return Entry{}, err
		}
	default:
		return Entry{}, fmt.Errorf("unknown kind %q", h.Typeflag)
	}
	for name, value := range e.Xattrs {
		if len(name) > maxName || len(value) > maxXattr {
			return Entry{}, fmt.Errorf("extended attribute %.60q of %d bytes is too big", name, len(value))
		}
	}
	if e.UID < 0 || e.GID < 0 || int64(e.UID) > 1<<32-2 || int64(e.GID) > 1<<32-2 {
		return Entry{}, fmt.Errorf("owner %d:%d is out of range", e.UID, e.GID)
	}
	return e, nil
}

// keptXattrs are the extended attributes that travel with a file; all others speak of this machine.
func keptXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func xattrsOf(h *tar.Header) map[string]string {
	var kept map[string]string
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, "SCHILY.xattr.")
		if !ok || !keptXattr(name) {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[name] = v
	}
	return kept
}

// inside cleans a name of an archive; a leading slash is dropped, a way out is an error.
func inside(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("name of %d bytes is longer than %d", len(name), maxPath)
	}
	p := path.Clean(strings.TrimLeft(name, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errors.New("name leads out of the archive")
	}
	if strings.ContainsRune(p, 0) {
		return "", errors.New("name contains a NUL byte")
	}
	if p == "." {
		return "", nil
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("a name of %d bytes is longer than %d", len(part), maxName)
		}
	}
	return p, nil
}

// What file systems take as a path and as one name in it: beyond, a name is only there to cost time.
const (
	maxPath  = 4096
	maxName  = 255
	maxXattr = 64 << 10 // one extended attribute's value
)

// checkDevice bounds a device's number to what the kernel has: 12 bits of major, 20 of minor, and not the one with which
// overlayfs marks deletions.
func checkDevice(h *tar.Header) error {
	if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
		return fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
	}
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		return errors.New("device 0:0 is what overlayfs takes for a deletion")
	}
	return nil
}
