package corpus

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Place is where a case's files are laid.
type Place struct {
	Dir  string // holds the folder context and all that lies beside it
	URL  string // of Dir, when it is served
	Time time.Time
}

// expected are the sections that are not files of the context.
var expected = map[string]bool{"want": true, "config": true, "history": true, "warn": true, "error": true, "stdout": true, "setup": true}

// Text puts the URLs of the place into a section.
func (p Place) Text(s string) string {
	return strings.NewReplacer("{{HTTP}}", p.URL+"/http", "{{GIT}}", p.URL+"/git", "{{DIR}}", p.Dir).Replace(s)
}

// Lay writes a case's files.
func (c *Case) Lay(p Place) error {
	if err := os.MkdirAll(filepath.Join(p.Dir, "context"), 0o755); err != nil {
		return err
	}
	for _, f := range c.sections {
		if word, _, _ := strings.Cut(f.Name, " "); expected[word] {
			continue
		}
		if err := p.section(f.Name, p.Text(string(f.Data))); err != nil {
			return fmt.Errorf("lay %s of %s: %w", f.Name, c.Name, err)
		}
	}
	setup, _ := c.Section("setup")
	list, err := ParseTree(p.Text(setup))
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := e.make(p.path(e.Path)); err != nil {
			return fmt.Errorf("set up %s of %s: %w", e.Path, c.Name, err)
		}
	}
	return p.settle(list)
}

// path finds a section's file: beside the context when its name begins with @.
func (p Place) path(name string) string {
	if beside, ok := strings.CutPrefix(name, "@"); ok {
		return filepath.Join(p.Dir, beside)
	}
	return filepath.Join(p.Dir, "context", name)
}

func (p Place) section(name, text string) error {
	word, rest, ok := strings.Cut(name, " ")
	if !ok {
		return write(p.path(name), []byte(text))
	}
	switch word {
	case "tar":
		raw, err := packed(rest, text)
		if err != nil {
			return err
		}
		return write(p.path(rest), raw)
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return err
		}
		return write(p.path(rest), raw)
	case "git":
		return makeRepository(filepath.Join(p.Dir, "git", rest), text)
	case "image":
		return nil // see Images
	}
	return write(p.path(name), []byte(text))
}

func write(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// make makes what the entry is, or changes what is there already.
func (e Entry) make(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := e.create(file); err != nil {
		return err
	}
	if e.Kind == Link || e.Same != "" {
		return nil
	}
	if e.UID != 0 || e.GID != 0 {
		if err := os.Lchown(file, e.UID, e.GID); err != nil {
			return err
		}
	}
	for k, v := range e.Xattrs {
		if err := unix.Lsetxattr(file, k, []byte(v), 0); err != nil {
			return err
		}
	}
	return unix.Chmod(file, e.Mode)
}

func (e Entry) create(file string) error {
	switch {
	case e.Same != "":
		return os.Link(filepath.Join(strings.TrimSuffix(file, e.Path), e.Same), file)
	case e.Kind == Folder:
		return os.MkdirAll(file, 0o755)
	case e.Kind == Link:
		return os.Symlink(e.Target, file)
	case e.Kind == Char:
		return unix.Mknod(file, unix.S_IFCHR, int(unix.Mkdev(uint32(e.Major), uint32(e.Minor))))
	case e.Kind == Block:
		return unix.Mknod(file, unix.S_IFBLK, int(unix.Mkdev(uint32(e.Major), uint32(e.Minor))))
	case e.Kind == Fifo:
		return unix.Mkfifo(file, 0o600)
	case e.Kind == Socket:
		l, err := net.Listen("unix", file)
		if err != nil {
			return err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		return l.Close()
	case e.Content != nil:
		return os.WriteFile(file, e.Content, 0o644)
	}
	f, err := os.OpenFile(file, os.O_CREATE, 0o644) // a file of a section, or an empty one
	return errors.Join(err, f.Close())
}

// settle gives files the place's time, or the one that their entry asks for, and modes that no umask has touched.
func (p Place) settle(list []Entry) error {
	set := map[string]Entry{}
	for _, e := range list {
		set[p.path(e.Path)] = e
	}
	return filepath.Walk(p.Dir, func(file string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(file, filepath.Join(p.Dir, "git")+"/") {
			return nil
		}
		e, known := set[file]
		at := p.Time
		if e.Timed {
			at = time.Unix(e.Time, 0)
		}
		if !known && info.Mode()&os.ModeSymlink == 0 {
			mode := os.FileMode(0o644)
			if info.IsDir() {
				mode = 0o755
			}
			if err := os.Chmod(file, mode); err != nil {
				return err
			}
		}
		if at.IsZero() {
			return nil
		}
		ts := unix.NsecToTimespec(at.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, file, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// packed makes an archive of a tree.
func packed(name, text string) ([]byte, error) {
	list, err := ParseTree(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := writeTar(&b, list); err != nil {
		return nil, err
	}
	return compressed(name, b.Bytes())
}
