//go:build linux

package runner

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// fill copies what the image has at target into a volume that is new and empty,
// owners and modes with it. It happens at most once in a volume's life, and who
// comes second waits for it.
func (l *launch) fill(ctx context.Context, vs *Volumes, v *Volume, target string) error {
	if wants, err := vs.wantsFiles(v); !wants {
		return err
	}
	return vs.alone(v.Name, func() error {
		if wants, err := vs.wantsFiles(v); !wants {
			return err
		}
		return l.fillEmpty(ctx, vs, v, target)
	})
}

func (l *launch) fillEmpty(ctx context.Context, vs *Volumes, v *Volume, target string) error {
	if entries, err := os.ReadDir(v.Mountpoint); err != nil || len(entries) > 0 {
		return errors.Join(err, vs.setFilled(v.Name))
	}
	view, err := l.store.View(ctx, l.c.chain())
	if err != nil {
		return fmt.Errorf("fill volume %s: %w", v.Name, err)
	}
	entry, err := view.Lookup(strings.TrimPrefix(target, "/"))
	if err == nil && entry.IsDir() {
		if err := copyTree(view, entry, v.Mountpoint); err != nil { // a part would be taken for the whole next time
			return fmt.Errorf("fill volume %s: %w", v.Name, errors.Join(err, emptyFolder(v.Mountpoint)))
		}
	}
	return vs.setFilled(v.Name)
}

// emptyFolder deletes all that is in a folder.
func emptyFolder(dir string) error {
	root, err := rootfs.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := root.ReadDir("/")
	for _, e := range entries {
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}

// copyTree copies a folder of a view into dir, walking dir by descriptor.
func copyTree(view *diff.View, from diff.Entry, dir string) error {
	root, err := rootfs.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	links := map[string]string{}
	var walk func(src, dst string) error
	walk = func(src, dst string) error {
		entries, err := view.ReadDir(src)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(dst, path.Base(e.Path))
			if err := copyEntry(view, root, e, name, links); err != nil {
				return fmt.Errorf("copy %q: %w", e.Path, err)
			}
			if e.IsDir() {
				if err := walk(e.Path, name); err != nil {
					return err
				}
				// After its content, so that a folder without write permission
				// can be filled.
				if err := setMeta(root, e, name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(from.Path, ""); err != nil {
		return err
	}
	return setMeta(root, from, ".")
}

// copyEntry makes one entry. Names of one file (hard links) stay names of one.
func copyEntry(view *diff.View, root *rootfs.Root, e diff.Entry, name string, links map[string]string) error {
	switch e.Type {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o700, -1, -1)
	case tar.TypeSymlink:
		if err := root.Symlink(e.Linkname, name); err != nil {
			return err
		}
		return setMeta(root, e, name)
	case tar.TypeReg:
		if e.Linkname != "" {
			if first, ok := links[e.Linkname]; ok {
				return root.Link(first, name)
			}
			links[e.Linkname] = name
		}
		if err := copyFile(view, root, e, name); err != nil {
			return err
		}
	case tar.TypeFifo:
		if err := root.Mknod(name, unix.S_IFIFO|e.Mode&0o777, 0); err != nil {
			return err
		}
	default:
		// Devices are the sandbox's to grant, not an image's to leave in a volume.
		return nil
	}
	return setMeta(root, e, name)
}

func copyFile(view *diff.View, root *rootfs.Root, e diff.Entry, name string) error {
	r, err := view.Open(e.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// setMeta sets owner, mode and time of what was copied; a link's own.
func setMeta(root *rootfs.Root, e diff.Entry, name string) error {
	f, err := root.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	if userns.Here() != userns.Single {
		if err := unix.Fchownat(fd, "", e.UID, e.GID, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if e.Type != tar.TypeSymlink {
		self := fmt.Sprintf("/proc/self/fd/%d", fd)
		if err := unix.Chmod(self, e.Mode&0o7777); err != nil {
			return err
		}
		for key, value := range e.Xattrs { // a change of the owner would take capabilities away
			if err := unix.Setxattr(self, key, []byte(value), 0); err != nil && userns.Here() == userns.Root {
				return fmt.Errorf("set %s: %w", key, err)
			}
		}
	}
	t := unix.NsecToTimespec(e.ModTime.UnixNano())
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{t, t}, unix.AT_EMPTY_PATH)
}
