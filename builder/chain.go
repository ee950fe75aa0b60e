package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// chains reads the trees of chains out of their layers' tars, without mounting anything.
type chains struct {
	store *layers.Store

	mu    sync.Mutex // guards what follows
	trees map[digest.Digest]*source.Tree
	open  map[digest.Digest]*os.File
}

func newChains(s *layers.Store) *chains {
	return &chains{store: s, trees: map[digest.Digest]*source.Tree{}, open: map[digest.Digest]*os.File{}}
}

// Close releases the layers that were read.
func (c *chains) Close() error {
	var errs []error
	for _, f := range c.open {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// tree returns the file system of a chain.
func (c *chains) tree(chain layers.Chain) (source.Files, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := chain.ID()
	if t, ok := c.trees[id]; ok {
		return t, nil
	}
	t := source.NewTree()
	for _, diffID := range chain {
		if err := c.apply(t, diffID); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", diffID, err)
		}
	}
	c.trees[id] = t
	return t, nil
}

// apply puts a layer's entries over what is there.
func (c *chains) apply(t *source.Tree, diffID digest.Digest) error {
	f, ok := c.open[diffID]
	if !ok {
		var err error
		if f, err = c.store.TarFile(context.Background(), diffID); err != nil {
			return err
		}
		c.open[diffID] = f
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r := io.NewSectionReader(f, 0, info.Size())
	tr := tar.NewReader(r)
	own := map[string]bool{} // a layer's whiteouts do not hide what it brings itself
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, err := source.EntryOf(h)
		if err != nil {
			return err
		}
		if hide(t, e.Path, own) {
			continue
		}
		own[e.Path] = true
		if h.Typeflag == tar.TypeLink {
			if err := link(t, e.Path, h.Linkname, diffID); err != nil {
				return err
			}
			continue
		}
		offset, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		size := e.Size
		t.Add(e, func() (io.ReadCloser, error) { return section{io.NewSectionReader(f, offset, size)}, nil })
	}
}

// hide performs a whiteout.
func hide(t *source.Tree, p string, own map[string]bool) bool {
	dir, name := path.Split(p)
	rest, ok := strings.CutPrefix(name, ".wh.")
	if !ok {
		return false
	}
	if rest != ".wh..opq" {
		if target := path.Join(dir, rest); !own[target] {
			t.Remove(target)
		}
		return true
	}
	list, err := t.ReadDir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return true // hides nothing
	}
	for _, e := range list {
		if !own[e.Path] {
			t.Remove(e.Path)
		}
	}
	return true
}

// link makes another name of a file. Names of one file have one Inode.
func link(t *source.Tree, p, target string, layer digest.Digest) error {
	target = source.Clean(target)
	e, err := t.Lstat(target)
	if err != nil {
		return err
	}
	r, err := t.Open(target)
	if err != nil {
		return err
	}
	content, ok := r.(section)
	if !ok {
		return fmt.Errorf("link %q to %q: not a file", p, target)
	}
	open := func() (io.ReadCloser, error) {
		return section{io.NewSectionReader(content, 0, content.Size())}, nil
	}
	if e.Inode == "" {
		e.Inode = string(layer) + ":" + target
		t.Remove(target)
		t.Add(e, open)
	}
	e.Path = p
	t.Add(e, open)
	return nil
}

// section is a file's content inside its layer's tar, which stays open as long as the chains do.
type section struct{ *io.SectionReader }

// Close does nothing.
func (section) Close() error { return nil }
