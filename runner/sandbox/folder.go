//go:build linux

package sandbox

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// workingFolder makes and enters the working folder. A magic link such as
// /proc/self/fd/7 is refused by the lookup.
func (c *compiler) workingFolder() error {
	cwd, err := c.cwd()
	if err != nil {
		return err
	}
	what := enterFolder + cwd
	if c.joining {
		fd := c.result(c.open(what, cwd, unix.O_PATH|unix.O_DIRECTORY, false))
		c.call(what, unix.SYS_FCHDIR, fd)
		return nil
	}
	c.call(what, unix.SYS_FCHDIR, c.folder(what, cwd))
	return nil
}

// earlyFolder makes the working folder while the root, which becomes read-only,
// can still be written to.
func (c *compiler) earlyFolder() error {
	cwd, err := c.cwd()
	if err == nil && cwd != "/" && c.spec.Root != nil && c.spec.Root.Readonly {
		c.folder(enterFolder+cwd, cwd)
	}
	return err
}

func (c *compiler) cwd() (string, error) {
	cwd := c.spec.Process.Cwd
	if cwd == "" {
		cwd = "/"
	}
	if !path.IsAbs(cwd) {
		return "", fmt.Errorf("working folder %q is not absolute", cwd)
	}
	return path.Clean(cwd), nil
}

// folder opens a folder, which it makes where it is missing.
func (c *compiler) folder(what, name string) slot {
	first := c.here()
	fd := c.result(c.open(what, name, unix.O_PATH|unix.O_DIRECTORY, false))
	c.entries[first].accept(unix.ENOENT)
	c.create(name, false, false)
	e := c.open(what, name, unix.O_PATH|unix.O_DIRECTORY, false)
	e.out = fd
	c.entries[first].jump = c.here()
	return fd
}
