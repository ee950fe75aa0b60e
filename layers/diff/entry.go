// Package diff turns tars into trees and trees into tars: overlay whiteouts, extended attributes, hard links and
// ownership both ways, the canonical packer, and the indexes of layers that are read where no tree is needed.
package diff

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// TypeWhiteout is the type of an index entry that deletes what lies below.
const TypeWhiteout = 'W'

// Entry is one file of a layer. There may be hundreds of thousands of them in memory, so it is as small as it can be.
type Entry struct {
	Path     string            `json:"path"` // without a leading slash; "" is the root
	Type     byte              `json:"type"` // a type of archive/tar, or TypeWhiteout
	Mode     uint32            `json:"mode,omitempty"`
	UID      int               `json:"uid,omitempty"`
	GID      int               `json:"gid,omitempty"`
	Size     int64             `json:"size,omitempty"`
	ModTime  time.Time         `json:"mtime,omitzero"`
	Linkname string            `json:"link,omitempty"`
	Devmajor int64             `json:"major,omitempty"`
	Devminor int64             `json:"minor,omitempty"`
	Xattrs   map[string]string `json:"xattrs,omitempty"`
	Digest   Sum               `json:"digest,omitzero"`  // of a regular file's content
	Offset   int64             `json:"offset,omitempty"` // of the content in the tar; 0 when it is not there in one piece
	Opaque   bool              `json:"opaque,omitempty"` // a folder that hides what lies below it
	// Implied says that the layer does not have the entry itself, only something below it.
	Implied bool `json:"implied,omitempty"`
	// SameFile, in a View, is the same number for all names of a file that has several, and 0 for all others.
	SameFile int `json:"-"`
}

// IsDir says whether the entry is a folder.
func (e Entry) IsDir() bool { return e.Type == tar.TypeDir }

// IsRegular says whether the entry has content of its own or of the file it links to.
func (e Entry) IsRegular() bool { return e.Type == tar.TypeReg }

// Sum is the SHA-256 of a content; the zero sum stands for none.
type Sum [sha256.Size]byte

const sumPrefix = "sha256:"

// Digest is the sum in the words of the OCI specification; "" where there is none.
func (s Sum) Digest() digest.Digest {
	if s == (Sum{}) {
		return ""
	}
	text, _ := s.AppendText(make([]byte, 0, len(sumPrefix)+2*len(s)))
	return digest.Digest(text)
}

// AppendText adds the digest to a buffer, see [encoding.TextAppender].
func (s Sum) AppendText(to []byte) ([]byte, error) {
	return hex.AppendEncode(append(to, sumPrefix...), s[:]), nil
}

// MarshalText is the digest, see [encoding.TextMarshaler].
func (s Sum) MarshalText() ([]byte, error) { return s.AppendText(nil) }

// UnmarshalText reads a digest of SHA-256 and no other, see [encoding.TextUnmarshaler].
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) == len(sumPrefix)+2*len(s) && string(text[:len(sumPrefix)]) == sumPrefix {
		if _, err := hex.Decode(s[:], text[len(sumPrefix):]); err == nil {
			return nil
		}
	}
	return fmt.Errorf("digest %q is not of SHA-256", clip(string(text)))
}

// Index is what a layer holds, sorted by ComparePaths. Its entries are shared: nobody changes one.
type Index struct {
	Entries []*Entry
	// SelfContained says that every entry's parent and every hard link's target is an entry of the layer, so that its
	// tree does not depend on what lies below.
	SelfContained bool
	// Size is the length of the tar.
	Size int64
}

// Lookup finds an entry by its path; it follows nothing.
func (x *Index) Lookup(path string) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(x.Entries, path, func(e *Entry, p string) int { return ComparePaths(e.Path, p) })
	if !ok {
		return Entry{}, false
	}
	return *x.Entries[i], true
}

func (x *Index) sort() {
	slices.SortFunc(x.Entries, byPath)
}

func byPath(a, b *Entry) int { return ComparePaths(a.Path, b.Path) }

// ComparePaths orders paths as a walk meets them: names byte by byte, a folder's content right behind the folder.
func ComparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

func split(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", p
	}
	return p[:i], p[i+1:]
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
