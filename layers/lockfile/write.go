package lockfile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempPrefix begins the name of every unfinished file of AtomicWrite.
const tempPrefix = ".new-"

// IsTemp tells whether a file name is that of an unfinished AtomicWrite, which
// a reader of a folder skips and a collector may delete when it is old.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// AtomicWrite replaces the file at path by data. Readers see the old content or
// the new, never a part. With sync the new content is on disk, under its name,
// when AtomicWrite returns.
func AtomicWrite(path string, data []byte, perm os.FileMode, sync bool) error {
	return AtomicWriteVia(filepath.Dir(path), tempPrefix, path, data, perm, sync)
}

// AtomicWriteVia is AtomicWrite with the unfinished file in dir, which must be
// on path's file system, under a name that begins with prefix.
func AtomicWriteVia(dir, prefix, path string, data []byte, perm os.FileMode, sync bool) error {
	temp := filepath.Join(dir, prefix+Random())
	if err := writeFile(temp, data, perm, sync); err != nil {
		os.Remove(temp)
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return fmt.Errorf("publish %q: %w", path, err)
	}
	if sync {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// Replace writes a file that somebody named, with mode 0644: aside, and renamed when it is whole. A device, a pipe or a link
// that is there (/dev/null, /dev/stdout) is no file to be replaced: it is written into.
func Replace(path string, write func(io.Writer) error) error {
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %q", filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeFile(path string, data []byte, perm os.FileMode, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// SyncDir makes the names in a folder durable: without it a renamed file may
// have its old name, or none, after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	return d.Sync() // its error says so, with the name
}

// Random is 16 random hexadecimal digits, for names that must not collide.
func Random() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
