package ops

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/source"
)

// canvas is a chain's tree with the changes that a step makes to it, held in memory. It implements the look-ups of
// [source.Files], so that links are followed through what the step itself has made.
type canvas struct {
	base  source.Files
	nodes map[string]*Change
	made  time.Time // the time of what the step makes itself
}

func newCanvas(base source.Files, made time.Time) *canvas {
	return &canvas{base: base, nodes: map[string]*Change{}, made: made}
}

// Lstat describes an entry as it is now.
func (c *canvas) Lstat(p string) (source.Entry, error) {
	if n := c.nodes[p]; n != nil {
		return n.Entry, nil
	}
	for d := p; d != ""; {
		d = dirOf(d)
		if n := c.nodes[d]; n != nil && (n.opaque || !n.IsDir()) {
			return source.Entry{}, &fs.PathError{Op: "stat", Path: p, Err: fs.ErrNotExist}
		}
	}
	return c.base.Lstat(p)
}

// ReadDir is not needed to place entries.
func (c *canvas) ReadDir(p string) ([]source.Entry, error) {
	return nil, &fs.PathError{Op: "list", Path: p, Err: errors.ErrUnsupported}
}

// Open reads a file of the canvas.
func (c *canvas) Open(p string) (io.ReadCloser, error) {
	if n := c.nodes[p]; n != nil {
		return n.files.Open(n.from)
	}
	return c.base.Open(p)
}

// kind is what lies at a path: nothing, a folder, or something else.
type kind byte

const (
	nothing kind = iota
	aFolder
	another
)

func (c *canvas) kind(p string) (kind, error) {
	e, err := c.Lstat(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing, nil
	case err != nil:
		return nothing, err
	case e.IsDir():
		return aFolder, nil
	}
	return another, nil
}

// mkdirAll makes a folder and its missing parents; dir is resolved. Only what is made gets the mode and owner.
func (c *canvas) mkdirAll(dir string, mode uint32, own *owner) error {
	switch there, err := c.kind(dir); {
	case err != nil || there == aFolder:
		return err
	case there == another:
		return fmt.Errorf("make folder %q: not a folder", "/"+dir)
	}
	if dir != "" {
		if err := c.mkdirAll(dirOf(dir), mode, own); err != nil {
			return err
		}
	}
	made := source.Entry{Path: dir, Type: tar.TypeDir, Mode: mode & 0o7777, ModTime: c.made}
	if own != nil {
		made.UID, made.GID = own.uid, own.gid
	}
	return c.put(&Change{Entry: made})
}

// put places an entry; what it replaces is gone with all below it, unless both are folders.
func (c *canvas) put(n *Change) error {
	p := n.Path
	if hidden, ok := strings.CutPrefix(path.Base(p), ".wh."); ok {
		return fmt.Errorf("%q: no image can hold this name: in a layer it deletes %q", "/"+cmp.Or(n.from, p), hidden)
	}
	old, err := c.kind(p)
	if err != nil {
		return err
	}
	if old != aFolder || !n.IsDir() {
		if old == aFolder {
			for q := range c.nodes {
				if len(q) > len(p) && q[:len(p)] == p && q[len(p)] == '/' {
					delete(c.nodes, q)
				}
			}
		}
		n.opaque = n.IsDir()
	}
	if prev := c.nodes[p]; prev != nil && prev.opaque && n.IsDir() {
		n.opaque = true
	}
	c.nodes[p] = n
	return nil
}

// layer lists what changed, with the parents of each entry, so that the layer stands by itself.
func (c *canvas) layer() (*Layer, error) {
	for p := range c.nodes {
		for d := p; d != ""; {
			d = dirOf(d)
			if d == "" || c.nodes[d] != nil {
				continue
			}
			e, err := c.base.Lstat(d)
			if errors.Is(err, fs.ErrNotExist) {
				e, err = source.Entry{Path: d, Type: tar.TypeDir, Mode: 0o755, ModTime: c.made}, nil
			}
			if err != nil {
				return nil, err
			}
			c.nodes[d] = &Change{Entry: e}
		}
	}
	delete(c.nodes, "")
	return newLayer(c.nodes), nil
}

func dirOf(p string) string {
	if d := path.Dir(p); d != "." && d != "/" {
		return d
	}
	return ""
}
