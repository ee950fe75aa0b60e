package diff

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// maxLinks bounds how many links a look-up follows.
const maxLinks = 255

// View is the merged sight of a chain of layers, from their indexes: no mount, no privilege.
type View struct {
	root *node
	open func(layer int, e Entry) (io.ReadCloser, error)
	same int32 // files with several names
}

type node struct {
	*Entry   // of an index, which is shared
	layer    int32
	same     int32 // see SameFile
	children map[string]*node
}

// entry is the node's as others see it.
func (n *node) entry() Entry {
	e := *n.Entry
	e.SameFile = int(n.same)
	return e
}

// NewView merges the indexes of a chain, from the base up. open reads the content of a regular entry of a layer; it may
// be nil when no content is needed.
func NewView(chain []*Index, open func(layer int, e Entry) (io.ReadCloser, error)) (*View, error) {
	v := &View{root: &node{Entry: &Entry{Type: tar.TypeDir, Mode: 0o755, Implied: true}, layer: -1}, open: open}
	for i, x := range chain {
		if err := v.merge(int32(i), x); err != nil {
			return nil, fmt.Errorf("merge layer %d: %w", i+1, err)
		}
	}
	return v, nil
}

func (v *View) merge(layer int32, x *Index) error {
	for _, e := range x.Entries {
		if e.Type != TypeWhiteout && !e.Opaque {
			continue
		}
		p, err := v.place(e.Path)
		if err != nil {
			continue // nothing is there to be deleted
		}
		n := v.at(p)
		switch {
		case n == nil:
		case e.Type == TypeWhiteout:
			dir, base := split(p)
			delete(v.at(dir).children, base)
		default:
			n.children = nil
		}
	}
	for _, e := range x.Entries {
		if e.Type == TypeWhiteout {
			continue
		}
		if err := v.put(layer, e); err != nil {
			return err
		}
	}
	for _, e := range x.Entries {
		if e.Type == tar.TypeLink {
			if err := v.link(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// place follows the links in the folders of a path that a layer names.
func (v *View) place(p string) (string, error) {
	dir, base := split(p)
	if dir == "" {
		return base, nil
	}
	real, err := v.resolve(dir, true)
	if err != nil {
		return "", err
	}
	return join(real, base), nil
}

func (v *View) put(layer int32, e *Entry) error {
	if e.Path == "" {
		if !e.Implied {
			v.root.Entry, v.root.layer = e, layer
		}
		return nil
	}
	if e.Implied {
		return nil // it is there, or comes with what lies in it
	}
	dir, base := split(e.Path)
	parent, err := v.mkdirAll(layer, dir)
	if err != nil {
		return fmt.Errorf("place %q: %w", e.Path, err)
	}
	if parent.Path != dir { // links led elsewhere
		moved := *e
		moved.Path = join(parent.Path, base)
		e = &moved
	}
	old := parent.children[base]
	n := &node{Entry: e, layer: layer}
	if old != nil && old.IsDir() && e.IsDir() {
		n.children = old.children
	}
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[base] = n
	return nil
}

func (v *View) mkdirAll(layer int32, dir string) (*node, error) {
	if dir == "" {
		return v.root, nil
	}
	if p, err := v.resolve(dir, true); err == nil {
		if n := v.at(p); n != nil && n.IsDir() {
			return n, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return nil, err
	}
	if err := v.put(layer, &Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755}); err != nil {
		return nil, err
	}
	p, err := v.place(dir)
	if err != nil {
		return nil, err
	}
	return v.at(p), nil
}

// link gives a hard link the metadata and the content of its target.
func (v *View) link(e *Entry) error {
	p, err := v.place(e.Path)
	if err != nil {
		return err
	}
	n := v.at(p)
	target, err := v.Lstat(e.Linkname)
	for i := 0; err == nil && target.Type == tar.TypeLink && i < maxLinks; i++ {
		target, err = v.Lstat(target.Linkname)
	}
	if err != nil || target.Type == tar.TypeLink || target.IsDir() {
		return fmt.Errorf("link %q to %q: no such file", e.Path, e.Linkname)
	}
	tp, err := v.place(target.Path)
	if err != nil {
		return err
	}
	first := v.at(tp)
	if first.same == 0 {
		v.same++
		first.same = v.same
	}
	target.Path, target.SameFile = n.Path, 0
	n.Entry, n.layer, n.same = &target, first.layer, first.same
	return nil
}

// at gives the node of a resolved path.
func (v *View) at(p string) *node {
	n := v.root
	for p != "" && n != nil {
		name, rest, _ := strings.Cut(p, "/")
		n, p = n.children[name], rest
	}
	return n
}

// resolve follows links as if the view were the root of the file system; the last name only if follow is set.
func (v *View) resolve(p string, follow bool) (string, error) {
	rest := strings.Split(p, "/")
	var done []string
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			done = done[:max(len(done)-1, 0)]
			continue
		}
		done = append(done, name)
		n := v.at(strings.Join(done, "/"))
		if n == nil {
			return "", &fs.PathError{Op: "look up", Path: p, Err: fs.ErrNotExist}
		}
		if n.Type == tar.TypeSymlink && (follow || len(rest) > 0) {
			if links++; links > maxLinks {
				return "", &fs.PathError{Op: "look up", Path: p, Err: syscall.ELOOP}
			}
			done = done[:len(done)-1]
			if strings.HasPrefix(n.Linkname, "/") {
				done = nil
			}
			rest = append(strings.Split(n.Linkname, "/"), rest...)
			continue
		}
		if len(rest) > 0 && !n.IsDir() {
			return "", &fs.PathError{Op: "look up", Path: p, Err: syscall.ENOTDIR}
		}
	}
	return strings.Join(done, "/"), nil
}

// Lstat describes an entry; links on the way are followed inside the root, the last one is not.
func (v *View) Lstat(p string) (Entry, error) { return v.stat(p, false) }

// Lookup describes an entry with all links followed inside the root; its Path says where that led.
func (v *View) Lookup(p string) (Entry, error) { return v.stat(p, true) }

func (v *View) stat(p string, follow bool) (Entry, error) {
	r, err := v.resolve(p, follow)
	if err != nil {
		return Entry{}, err
	}
	return v.at(r).entry(), nil
}

// ReadDir lists a folder, sorted by name.
func (v *View) ReadDir(p string) ([]Entry, error) {
	r, err := v.resolve(p, true)
	if err != nil {
		return nil, err
	}
	n := v.at(r)
	if !n.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: p, Err: syscall.ENOTDIR}
	}
	list := make([]Entry, 0, len(n.children))
	for _, c := range n.children {
		list = append(list, c.entry())
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// Open reads a regular file, links followed inside the root.
func (v *View) Open(p string) (io.ReadCloser, error) {
	r, err := v.resolve(p, true)
	if err != nil {
		return nil, err
	}
	n := v.at(r)
	if !n.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: p, Err: errors.New("not a regular file")}
	}
	if v.open == nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: errors.ErrUnsupported}
	}
	return v.open(int(n.layer), n.entry())
}

// Walk calls fn for every entry but the root, in the order of ComparePaths.
func (v *View) Walk(fn func(Entry) error) error { return walk(v.root, fn) }

func walk(n *node, fn func(Entry) error) error {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c := n.children[name]
		if err := fn(c.entry()); err != nil {
			return err
		}
		if err := walk(c, fn); err != nil {
			return err
		}
	}
	return nil
}
