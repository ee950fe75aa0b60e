package rootfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is the number of symbolic links that one path may lead through: the kernel's own bound.
const maxLinks = 40

// walk resolves a path inside a root name by name, as openat2 does with RESOLVE_IN_ROOT: no link leads out, '..' stays
// below the root, whoever renames what meanwhile. It gives the open folder that holds the last name, which the caller
// closes, and that name; with follow it is no link (unless somebody put one there since: open it with O_NOFOLLOW).
// It serves where the kernel has no openat2, or a filter hides it.
func walk(root int, path string, follow bool) (int, string, error) {
	top, err := unix.Openat(root, ".", enter|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	t := trail{fds: []int{top}}
	defer t.close()
	rest := strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			t.up()
			continue
		}
		last := len(rest) == 0
		if !last || follow {
			target, err := readlinkAt(t.top(), name)
			if err == nil {
				if links++; links > maxLinks {
					return -1, "", unix.ELOOP
				}
				if strings.HasPrefix(target, "/") {
					t.toRoot()
				}
				rest = append(strings.Split(target, "/"), rest...)
				continue
			}
		}
		if last {
			return t.take(), name, nil
		}
		if err := t.down(name); err != nil {
			return -1, "", err
		}
	}
	return t.take(), ".", nil
}

// openWalk opens what a walk leads to. O_NOFOLLOW in flags leaves a link at the end unresolved.
func openWalk(root int, path string, flags int, mode uint32) (int, error) {
	dir, name, err := walk(root, path, flags&unix.O_NOFOLLOW == 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
}

// stepBeneath is OpenBeneath name by name.
func stepBeneath(dir int, path string, flags int) (int, error) {
	at, err := unix.Openat(dir, ".", enter|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	names := strings.Split(path, "/")
	for i, name := range names {
		how := enter
		if i == len(names)-1 {
			how = flags
		}
		if name == ".." {
			unix.Close(at)
			return -1, unix.EXDEV
		}
		next, err := unix.Openat(at, name, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.ENOTDIR && isLink(at, name) {
			err = unix.ELOOP
		}
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

func isLink(dir int, name string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// trail is the folders from the root down to where a walk is, so that '..' goes back the way it came.
type trail struct{ fds []int }

func (t *trail) top() int { return t.fds[len(t.fds)-1] }

func (t *trail) up() {
	if len(t.fds) > 1 {
		unix.Close(t.top())
		t.fds = t.fds[:len(t.fds)-1]
	}
}

func (t *trail) toRoot() {
	for len(t.fds) > 1 {
		t.up()
	}
}

func (t *trail) down(name string) error {
	fd, err := unix.Openat(t.top(), name, enter|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		t.fds = append(t.fds, fd)
	}
	return err
}

// take hands the last folder to the caller.
func (t *trail) take() int {
	fd := t.top()
	t.fds = t.fds[:len(t.fds)-1]
	return fd
}

func (t *trail) close() {
	for _, fd := range t.fds {
		unix.Close(fd)
	}
}

// readlinkAt reads a link of an open folder, or with no name the link that was opened itself.
func readlinkAt(dir int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
