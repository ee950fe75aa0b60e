package diff

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// CheckTree compares a tree with the index of its layer: that each entry is there, is what it should be and has its
// content. It tells the bytes that it read and, if something is wrong, the first such thing. Times, modes and owners are
// not compared: they differ where the disk could not keep them.
func CheckTree(ctx context.Context, x *Index, root *os.File) (read int64, wrong string, err error) {
	c := treeChecker{root: int(root.Fd()), sum: make([]byte, copyBlock)}
	for _, e := range x.Entries {
		if err := ctx.Err(); err != nil {
			return c.read, "", err
		}
		if e.Type == TypeWhiteout || e.Path == "" {
			continue
		}
		if what := c.entry(*e); what != "" {
			return c.read, fmt.Sprintf("%q %s", clip(e.Path), what), nil
		}
	}
	return c.read, "", nil
}

type treeChecker struct {
	root int
	read int64
	sum  []byte
}

// kinds are the types that an entry may have on disk: a device that may not be made is an empty file.
var kinds = map[byte][]uint32{
	tar.TypeReg: {unix.S_IFREG}, tar.TypeDir: {unix.S_IFDIR}, tar.TypeSymlink: {unix.S_IFLNK}, tar.TypeFifo: {unix.S_IFIFO},
	tar.TypeChar: {unix.S_IFCHR, unix.S_IFREG}, tar.TypeBlock: {unix.S_IFBLK, unix.S_IFREG},
}

func (c *treeChecker) entry(e Entry) string {
	fd, err := openEntry(c.root, e.Path)
	if err != nil {
		return "cannot be opened: " + err.Error()
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "cannot be looked at: " + err.Error()
	}
	want, ok := kinds[e.Type]
	for i := 0; ok && uint32(st.Mode)&unix.S_IFMT != want[i]; i++ {
		if i+1 == len(want) {
			return "is of another type"
		}
	}
	if e.Type != tar.TypeReg {
		return ""
	}
	if st.Size != e.Size {
		return fmt.Sprintf("has %d bytes, not %d", st.Size, e.Size)
	}
	return c.content(fd, e)
}

func (c *treeChecker) content(fd int, e Entry) string {
	f, err := readable(fd)
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, struct{ io.Reader }{f}, c.sum)
	c.read += n
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if e.Digest != (Sum{}) && Sum(h.Sum(nil)) != e.Digest {
		return "has other content"
	}
	return ""
}
