// Package source gives the builder the files that a recipe's steps read.
//
// A context is a tree of files: a local folder, a tar archive, a git checkout, a file that was downloaded, the layers
// of another stage or image. To COPY and ADD they are all one thing, [Files]: look an entry up, list a folder, open a
// file. Nothing is read before it is asked for, so that a context of a hundred thousand files of which ten are copied
// costs ten.
//
// Paths are slash separated, clean, and relative to the root of the tree; the root itself is "". A path given to a
// Files has no symbolic link among its parents: [Resolve] follows links first, by the entries' own words, so that a link
// can only ever lead to another place in the same tree. A folder on disk is walked by descriptor and refuses links in
// parents, hence a link that appears between the two moments is an error and never a way out.
//
//	files, _ := source.OpenFolder("/src/app", ignore)
//	p, _ := source.Resolve(files, "current/main.go", true) // current is a link to v2
//	r, _ := files.Open(p)                                  // opens v2/main.go
package source

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers/diff"
)

// Entry is what a tree knows about one name, without its content.
type Entry struct {
	// Path is relative to the tree's root, "" for the root.
	Path string
	// Type is a tar type flag: TypeReg, TypeDir, TypeSymlink, TypeChar, TypeBlock or TypeFifo. A hard link is a
	// TypeReg entry with an Inode.
	Type byte
	// Mode holds the permission bits with set-user-id (04000), set-group-id (02000) and sticky (01000).
	Mode     uint32
	UID, GID int
	Size     int64
	ModTime  time.Time
	// Linkname is a symbolic link's target, as it is written.
	Linkname           string
	Devmajor, Devminor int64
	Xattrs             map[string]string
	// Inode, where it is not empty, is the same for all names of one file with several.
	Inode string
	// Digest is the content's, where the tree knows it without reading.
	Digest diff.Sum

	// Implied is set on a folder that an archive does not hold, only something below it.
	Implied bool

	stat fileID // of a file of a Folder
}

// IsDir says whether the entry is a folder.
func (e Entry) IsDir() bool { return e.Type == tar.TypeDir }

// IsRegular says whether the entry is a file with content.
func (e Entry) IsRegular() bool { return e.Type == tar.TypeReg }

// Files is a tree that can be read. Implementations are safe for concurrent use. An entry that does not exist, or is
// ignored, is fs.ErrNotExist.
type Files interface {
	// Lstat describes an entry; a symbolic link is not followed.
	Lstat(path string) (Entry, error)
	// ReadDir lists a folder's entries, sorted by name.
	ReadDir(path string) ([]Entry, error)
	// Open reads a regular file. The caller closes it.
	Open(path string) (io.ReadCloser, error)
}

// ErrLinks is a chain of symbolic links that does not end.
var ErrLinks = errors.New("too many symbolic links")

const maxLinks = 255

// Clean makes a name of a recipe into a path of a tree: relative to the root, without "..", which cannot lead above it.
func Clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// Resolve follows the symbolic links of name inside the tree, and the last one too when last is set. What does not exist
// is kept as it is written, so the result is also the place where a missing entry would be made.
func Resolve(f Files, name string, last bool) (string, error) {
	todo := splitPath(Clean(name))
	done, links := "", 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			done = parent(done)
			continue
		}
		next := path.Join(done, part)
		if len(todo) == 0 && !last {
			return next, nil
		}
		e, err := f.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			done = next
			continue
		}
		if err != nil {
			return "", err
		}
		if e.Type != tar.TypeSymlink {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("resolve %q: %w", name, ErrLinks)
		}
		if strings.HasPrefix(e.Linkname, "/") {
			done = ""
		}
		todo = append(splitPath(e.Linkname), todo...)
	}
	return done, nil
}

func splitPath(p string) []string {
	var parts []string
	for part := range strings.SplitSeq(p, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

func notExist(op, p string) error { return &fs.PathError{Op: op, Path: p, Err: fs.ErrNotExist} }
