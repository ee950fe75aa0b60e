package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
)

// told is a tree with the statements about it beside its files.
type told struct {
	source.Files
	more map[string][]byte
}

// told puts the statements about a target beside its files. With suffix their names tell the platform.
func (b *build) told(ctx context.Context, t plan.Target, suffix bool) (source.Files, error) {
	files, err := b.files(ctx, t.Step)
	if err != nil {
		return nil, err
	}
	list, err := b.statements(ctx, t)
	if err != nil || len(list) == 0 {
		return files, err
	}
	about := []subject{}
	err = walk(ctx, files, "", func(e source.Entry) error {
		if !e.IsRegular() {
			return nil
		}
		d, err := source.Digest(ctx, files, e)
		about = append(about, subjectOf(e.Path, d))
		return err
	})
	if err != nil {
		return nil, err
	}
	all := told{files, map[string][]byte{}}
	for _, s := range list {
		name := s.file
		if suffix {
			base, rest, _ := strings.Cut(name, ".")
			name = base + "." + platformFolder(t) + "." + rest
		}
		if _, err := files.Lstat(name); err == nil {
			return nil, fmt.Errorf("the result has a file %q: a statement would take its place", "/"+name)
		}
		if all.more[name], err = s.text(about); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (f told) entry(name string) source.Entry {
	return source.Entry{Path: name, Type: tar.TypeReg, Mode: 0o600, Size: int64(len(f.more[name]))}
}

// ReadDir lists a folder, see [source.Files].
func (f told) ReadDir(p string) ([]source.Entry, error) {
	list, err := f.Files.ReadDir(p)
	if err != nil || p != "" {
		return list, err
	}
	list = slices.Clone(list)
	for name := range f.more {
		list = append(list, f.entry(name))
	}
	slices.SortFunc(list, func(a, b source.Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// Lstat describes one entry, see [source.Files].
func (f told) Lstat(p string) (source.Entry, error) {
	if _, ok := f.more[p]; ok {
		return f.entry(p), nil
	}
	return f.Files.Lstat(p)
}

// Open reads a file, see [source.Files].
func (f told) Open(p string) (io.ReadCloser, error) {
	if text, ok := f.more[path.Clean(p)]; ok {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return f.Files.Open(p)
}
