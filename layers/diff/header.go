package diff

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"time"
)

// maxXattrs bounds the extended attributes of one entry.
const maxXattrs = 1 << 20

// entryOf reads a header without believing it.
func entryOf(h *tar.Header, l Limits) (Entry, error) {
	e := Entry{
		Type: h.Typeflag, Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, ModTime: boundTime(h.ModTime), Linkname: h.Linkname,
	}
	var err error
	if h.Typeflag == tar.TypeXGlobalHeader {
		return e, nil
	}
	if e.Path, err = cleanPath(h.Name, l); err != nil {
		return e, err
	}
	if h.Mode < 0 {
		return e, fmt.Errorf("mode %d is negative", h.Mode)
	}
	if !validID(h.Uid) || !validID(h.Gid) {
		return e, fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse, tar.TypeCont:
		e.Type, e.Size, e.Linkname = tar.TypeReg, h.Size, ""
		if h.Size < 0 {
			return e, fmt.Errorf("size %d is negative", h.Size)
		}
		if isSparse(h) && h.Size > l.Sparse {
			return e, fmt.Errorf("sparse file of %d bytes; at most %d are unpacked", h.Size, l.Sparse)
		}
	case tar.TypeDir, tar.TypeFifo:
		e.Linkname = ""
	case tar.TypeLink:
	case tar.TypeSymlink:
		e.Mode = 0o777
		if e.Linkname == "" || len(e.Linkname) > l.Path || strings.ContainsRune(e.Linkname, 0) {
			return e, errors.New("symbolic link without a usable target")
		}
	case tar.TypeChar, tar.TypeBlock:
		e.Linkname = ""
		e.Devmajor, e.Devminor = h.Devmajor, h.Devminor
		// The kernel has 12 bits for the major number and 20 for the minor.
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return e, fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
			return e, errors.New("device 0:0 is what overlayfs takes for a deletion")
		}
	default:
		return e, fmt.Errorf("unknown entry type %q", h.Typeflag)
	}
	e.Xattrs, err = xattrsOf(h)
	return e, err
}

func validID(id int) bool { return id >= 0 && int64(id) < math.MaxUint32 }

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// cleanPath makes a name of an archive a path inside the root. Leading slashes mean the root; a path that would leave it
// is refused.
func cleanPath(name string, l Limits) (string, error) {
	if name == "" {
		return "", errors.New("empty name")
	}
	if len(name) > l.Path {
		return "", fmt.Errorf("name of %d bytes is longer than %d", len(name), l.Path)
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("name holds a zero byte")
	}
	p := path.Clean(strings.TrimLeft(name, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return "", errors.New("path leaves the root")
	}
	if p == "." {
		return "", nil
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > 255 {
			return "", fmt.Errorf("a name of %d bytes is longer than 255", len(part))
		}
	}
	return p, nil
}

const xattrPrefix = "SCHILY.xattr."

// KeepXattr says whether an extended attribute is part of a layer: capabilities, ACLs and the user's own. Overlay's are
// control and never data, and labels of security modules belong to the host.
func KeepXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, OwnPrefix)
}

func xattrsOf(h *tar.Header) (map[string]string, error) {
	var m map[string]string
	total := 0
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok || !KeepXattr(name) {
			continue
		}
		if len(name) > 255 || len(v) > 64<<10 {
			return nil, fmt.Errorf("extended attribute %q of %d bytes is too big", clip(name), len(v))
		}
		if total += len(name) + len(v); total > maxXattrs {
			return nil, errors.New("too many extended attributes")
		}
		if m == nil {
			m = map[string]string{}
		}
		m[name] = v
	}
	return m, nil
}

func hashOnly(e *Entry, content io.Reader) error {
	if !e.IsRegular() || content == nil {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return fmt.Errorf("read content: %w", err)
	}
	e.Digest = Sum(sum.Sum(nil))
	return nil
}

// boundTime keeps a time inside what every file system of ours can hold.
func boundTime(t time.Time) time.Time {
	lo, hi := time.Unix(math.MinInt32, 0), time.Unix(1<<34-1, 0)
	if t.Before(lo) {
		return lo
	}
	if t.After(hi) {
		return hi
	}
	return t
}
