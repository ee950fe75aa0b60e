package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/layers/lockfile"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A shelf is one of the two places where an object of a kind may lie: kept (the
// root), or this boot's. The kinds are "blobs", "layers" and "trees".

// kept is the path on the durable shelf.
func (s *Store) kept(kind string, d digest.Digest) string {
	return s.path(kind, string(d.Algorithm()), d.Encoded())
}

// booted is the path on the shelf of this boot.
func (s *Store) booted(kind string, d digest.Digest) (string, error) {
	id, err := s.bootID()
	if err != nil {
		return "", err
	}
	return s.path("boot", id, kind, string(d.Algorithm()), d.Encoded()), nil
}

// find tells where an object lies. An object may move from this boot's shelf to
// the kept one while somebody looks, hence the third look.
func (s *Store) find(kind string, d digest.Digest) (path string, st unix.Stat_t, err error) {
	if err := validDigest(d); err != nil {
		return "", st, err
	}
	boot, err := s.booted(kind, d)
	if err != nil {
		return "", st, err
	}
	kept := s.kept(kind, d)
	for _, path := range []string{kept, boot, kept} {
		if err = unix.Lstat(path, &st); err == nil {
			return path, st, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", st, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
	return "", st, ErrNotFound
}

// publish renames a finished object into its place. When the same object came
// there meanwhile, ours is given up: equal names have equal content.
func (s *Store) publish(temp, kind string, d digest.Digest, durable bool) error {
	to := s.kept(kind, d)
	if !durable {
		var err error
		if to, err = s.booted(kind, d); err != nil {
			return err
		}
	}
	return s.moveTo(temp, to, durable)
}

func (s *Store) moveTo(from, to string, durable bool) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) { // a shelf of a boot, or of an algorithm, is made on first use
		if merr := os.MkdirAll(filepath.Dir(to), 0o700); merr != nil {
			return merr
		}
		err = os.Rename(from, to)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		if _, serr := os.Lstat(from); serr != nil {
			return fmt.Errorf("publish object: %w", serr)
		}
		if terr := s.throw(from); terr != nil {
			return terr
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("publish object: %w", err)
	}
	if durable {
		return lockfile.SyncDir(filepath.Dir(to))
	}
	return nil
}

// throw renames something into the trash, from where collection deletes it.
func (s *Store) throw(path string) error {
	err := os.Rename(path, s.path("trash", lockfile.Random()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("throw away object: %w", err)
	}
	return nil
}

// discard throws away what came to nothing and gives back its space at once: what
// failed may have failed for want of it.
func (s *Store) discard(path string) error {
	err := s.throw(path)
	if err == nil {
		_, err = s.emptyTrash(context.Background())
	}
	return err
}

// temp is a fresh path under tmp/ that collection leaves alone while we live.
func (s *Store) temp() (string, error) {
	l, err := s.ownLease()
	if err != nil {
		return "", err
	}
	return s.path("tmp", l.id+"."+lockfile.Random()), nil
}

// Aside makes a file in the store that has no name, for bytes on their way; it ends when
// it is closed.
func (s *Store) Aside() (*os.File, error) {
	path, err := s.temp()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeRecord publishes one small file, in a folder that is made if need be.
func (s *Store) writeRecord(path string, data []byte, durable bool) error {
	err := s.writeBeside(path, data, durable)
	// A collection may remove a folder that is empty just when we made it.
	for try := 0; errors.Is(err, fs.ErrNotExist) && try < 100; try++ {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if durable {
			if err := lockfile.SyncDir(filepath.Dir(filepath.Dir(path))); err != nil {
				return err
			}
		}
		err = s.writeBeside(path, data, durable)
	}
	return err
}

// writeBeside publishes one small file in a folder that is there: fs.ErrNotExist
// says that it is not, or has moved to the other shelf.
func (s *Store) writeBeside(path string, data []byte, durable bool) error {
	l, err := s.ownLease()
	if err != nil {
		return err
	}
	return lockfile.AtomicWriteVia(s.path("tmp"), l.id+".", path, data, 0o600, durable)
}

// writeLayerFile adds a record to a layer's folder, on whichever shelf it lies.
func (s *Store) writeLayerFile(diffID digest.Digest, name string, data []byte) error {
	var err error
	for range 3 { // it moves to the kept shelf once
		dir, _, ferr := s.find("layers", diffID)
		if ferr != nil {
			return ferr
		}
		err = s.writeBeside(filepath.Join(dir, name), data, dir == s.kept("layers", diffID))
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// removeRecord removes one small file, durably; ErrNotFound when there is none.
func removeRecord(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return lockfile.SyncDir(filepath.Dir(path))
}

// maxRecord bounds every small file that is read whole.
const maxRecord = 32 << 20

// readRecord reads one small file; ErrNotFound when there is none. It asks the kernel
// itself: a listing reads thousands, and package os makes three times the calls for
// each, to find out that a file is none to wait for.
func readRecord(path string) ([]byte, error) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Size > maxRecord {
		return nil, fmt.Errorf("read %q: %d bytes are too many for a record", path, st.Size)
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := uninterrupted(func() (int, error) { return unix.Read(fd, b[n:]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if m == 0 {
			return b[:n], nil
		}
		n += m
	}
	return b, nil
}

// uninterrupted calls again what a signal broke off.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}
