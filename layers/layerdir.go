package layers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// layerDir is the open folder of one layer. It stays the same folder when the
// layer moves to the kept shelf while somebody reads it.
type layerDir struct {
	f *os.File
	d digest.Digest
}

// openLayer opens the folder of a layer, or says ErrNotFound.
func (s *Store) openLayer(d digest.Digest) (*layerDir, error) {
	for range 3 { // it moves once, between find and open
		path, _, err := s.find("layers", d)
		if err != nil {
			return nil, err
		}
		l, err := openLayerDir(path, d)
		if !errors.Is(err, ErrNotFound) {
			return l, err
		}
	}
	return nil, ErrNotFound
}

func openLayerDir(path string, d digest.Digest) (*layerDir, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &layerDir{f, d}, nil
}

// Close closes the folder.
func (l *layerDir) Close() error { return l.f.Close() }

// open opens a file of the layer, or says ErrNotFound.
func (l *layerDir) open(name string) (*os.File, error) {
	fd, err := unix.Openat(int(l.f.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (l *layerDir) has(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(int(l.f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// read decodes a record of the layer.
func (l *layerDir) read(name string, into any) error {
	f, err := l.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read %s of layer %s: %w: %w", name, l.d, ErrDamaged, err)
	}
	return nil
}

// forms lists the compressed forms that the layer is known by.
func (l *layerDir) forms() ([]formRecord, error) {
	if _, err := l.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := l.f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var forms []formRecord
	for _, name := range names {
		if !strings.HasPrefix(name, "blob-") {
			continue
		}
		var f formRecord
		err := l.read(name, &f)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
			continue // a form is one of several: fsck tells when none is left
		}
		if err != nil {
			return nil, err
		}
		forms = append(forms, f)
	}
	return forms, nil
}

// forms lists the compressed forms that a layer is known by.
func (s *Store) forms(d digest.Digest) ([]formRecord, error) {
	l, err := s.openLayer(d)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.forms()
}
