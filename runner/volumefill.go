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
// owners and modes with it. It happens at most once in a volume's life.
func (l *launch) fill(ctx context.Context, vs *Volumes, v *Volume, target string) error {
	done, err := vs.filled(v.Name)
	if err != nil || done && len(v.Options) == 0 {
		return err
	}
	if entries, err := os.ReadDir(v.Mountpoint); err != nil || len(entries) > 0 {
		return errors.Join(err, vs.setFilled(v.Name))
	}
	view, err := l.store.View(ctx, l.c.chain())
	if err != nil {
		return fmt.Errorf("fill volume %s: %w", v.Name, err)
	}
	entry, err := view.Lookup(strings.TrimPrefix(target, "/"))
	if err == nil && entry.IsDir() {
		if err := copyTree(view, entry, v.Mountpoint); err != nil {
			return fmt.Errorf("fill volume %s: %w", v.Name, err)
		}
	}
	return vs.setFilled(v.Name)
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
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	if e.Type != tar.TypeSymlink {
		if err := unix.Chmod(self, e.Mode&0o7777); err != nil {
			return err
		}
		t := unix.NsecToTimespec(e.ModTime.UnixNano())
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, self, []unix.Timespec{t, t}, 0); err != nil {
			return err
		}
	}
	return nil
}
