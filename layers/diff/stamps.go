//go:build linux

package diff

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Stamps tell what of a copied tree is as it was when it was copied, by path. Whoever packs the tree later looks only into
// what is not. Without any, all content is compared.
type Stamps map[string]Stamp

// Stamp is one file's inode and last change, or one folder's inode and birth.
type Stamp struct {
	ino uint64
	at  unix.StatxTimestamp
}

const tick = 20 * time.Millisecond // longer than the steps of a file system's clock

// StampsOf notes all files of a tree. It ends when the clock of the file system has moved on: what is written later has
// another time.
func StampsOf(dir string) (Stamps, error) {
	all := Stamps{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			all[name], err = stampOf(unix.AT_FDCWD, path)
		}
		return err
	})
	time.Sleep(tick)
	return all, err
}

func stampOf(dir int, path string) (Stamp, error) {
	var st unix.Statx_t
	const want = unix.STATX_TYPE | unix.STATX_INO | unix.STATX_CTIME | unix.STATX_BTIME
	if err := unix.Statx(dir, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, want, &st); err != nil {
		return Stamp{}, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return Stamp{st.Ino, st.Btime}, nil
	}
	return Stamp{st.Ino, st.Ctime}, nil
}

// untouched says that a file is surely as it was copied.
func (s Stamps) untouched(path string, st *unix.Stat_t) bool {
	was, ok := s[path]
	return ok && was.ino == st.Ino && was.at.Sec == st.Ctim.Sec && int64(was.at.Nsec) == st.Ctim.Nsec
}

// renewed says that a folder is not the one that was copied.
func (s Stamps) renewed(path string, fd int) (bool, error) {
	was, ok := s[path]
	if !ok {
		return false, nil
	}
	is, err := stampOf(fd, "")
	return is != was, err
}
