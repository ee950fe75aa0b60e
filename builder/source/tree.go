package source

import (
	"archive/tar"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// Tree is a tree whose entries are held in memory and whose contents lie elsewhere: an inline document, a downloaded
// file, an archive. Fill it with Add before it is shared.
type Tree struct {
	nodes map[string]*treeNode
}

type treeNode struct {
	entry    Entry
	open     func() (io.ReadCloser, error)
	children map[string]struct{}
}

// NewTree makes a tree that holds only its root folder.
func NewTree() *Tree {
	root := &treeNode{entry: Entry{Type: tar.TypeDir, Mode: 0o755}, children: map[string]struct{}{}}
	return &Tree{nodes: map[string]*treeNode{"": root}}
}

// NewFile makes a tree that holds one file in its root.
func NewFile(name string, mode uint32, modTime time.Time, data []byte) *Tree {
	t := NewTree()
	e := Entry{Path: Clean(name), Type: tar.TypeReg, Mode: mode, Size: int64(len(data)), ModTime: modTime}
	t.Add(e, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil })
	return t
}

// Add puts an entry into the tree. Parents that are missing become folders of mode 0755. What is there already is
// replaced, except that a folder over a folder keeps its entries.
func (t *Tree) Add(e Entry, open func() (io.ReadCloser, error)) {
	if old := t.nodes[e.Path]; old != nil {
		if old.entry.IsDir() && e.IsDir() {
			old.entry = e
			return
		}
		t.Remove(e.Path)
	}
	if e.Path == "" {
		return
	}
	dir := t.folder(parent(e.Path), e.ModTime)
	dir.children[path.Base(e.Path)] = struct{}{}
	n := &treeNode{entry: e, open: open}
	if e.IsDir() {
		n.children = map[string]struct{}{}
	}
	t.nodes[e.Path] = n
}

// Remove takes an entry and all below it out of the tree.
func (t *Tree) Remove(p string) {
	n := t.nodes[p]
	if n == nil || p == "" {
		return
	}
	for name := range n.children {
		t.Remove(path.Join(p, name))
	}
	delete(t.nodes, p)
	delete(t.nodes[parent(p)].children, path.Base(p))
}

func (t *Tree) folder(p string, modTime time.Time) *treeNode {
	n := t.nodes[p]
	if n == nil || !n.entry.IsDir() {
		t.Add(Entry{Path: p, Type: tar.TypeDir, Mode: 0o755, ModTime: modTime, Implied: true}, nil)
		n = t.nodes[p]
	}
	return n
}

// Lstat describes one entry, see [Files].
func (t *Tree) Lstat(p string) (Entry, error) {
	n := t.nodes[p]
	if n == nil {
		return Entry{}, notExist("stat", p)
	}
	return n.entry, nil
}

// ReadDir lists a folder, see [Files].
func (t *Tree) ReadDir(p string) ([]Entry, error) {
	n := t.nodes[p]
	if n == nil || !n.entry.IsDir() {
		return nil, notExist("list", p)
	}
	list := make([]Entry, 0, len(n.children))
	for name := range n.children {
		list = append(list, t.nodes[path.Join(p, name)].entry)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

// Open reads a file, see [Files].
func (t *Tree) Open(p string) (io.ReadCloser, error) {
	n := t.nodes[p]
	if n == nil || n.open == nil {
		return nil, notExist("open", p)
	}
	return n.open()
}

// filtered is a tree with an ignore file over it.
type filtered struct {
	Files
	ignore *Ignore
}

// Filter hides what an ignore file excludes.
func Filter(f Files, ignore *Ignore) Files {
	if ignore.empty() {
		return f
	}
	return filtered{f, ignore}
}

// Lstat describes one entry, see [Files].
func (f filtered) Lstat(p string) (Entry, error) {
	e, err := f.Files.Lstat(p)
	if err != nil {
		return e, err
	}
	hidden, err := hidden(f.Files, f.ignore, e)
	if err == nil && hidden {
		err = notExist("stat", p)
	}
	return e, err
}

// ReadDir lists a folder, see [Files].
func (f filtered) ReadDir(p string) ([]Entry, error) {
	list, err := f.Files.ReadDir(p)
	if err != nil {
		return nil, err
	}
	kept := make([]Entry, 0, len(list))
	for _, e := range list {
		hidden, err := hidden(f.Files, f.ignore, e)
		if err != nil {
			return nil, err
		}
		if !hidden {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

// hidden says whether the ignore file hides an entry. A folder that is excluded is still there when one of its entries
// was included again, as its parent.
func hidden(f Files, ignore *Ignore, e Entry) (bool, error) {
	excluded, err := ignore.Excluded(e.Path)
	if err != nil || !excluded {
		return false, err
	}
	if !e.IsDir() || !ignore.mayInclude(e.Path) {
		return true, nil
	}
	list, err := f.ReadDir(e.Path)
	if err != nil {
		return false, err
	}
	for _, child := range list {
		hidden, err := hidden(f, ignore, child)
		if err != nil || !hidden {
			return false, err
		}
	}
	return true, nil
}
