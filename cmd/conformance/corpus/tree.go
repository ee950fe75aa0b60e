package corpus

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// Tree is a file system by path.
type Tree map[string]Entry

// sorted returns the paths in order.
func (t Tree) sorted() []string { return slices.Sorted(maps.Keys(t)) }

// Since lists what differs from a base: new and changed entries, and those that are gone. A time is not a change.
func (t Tree) Since(base Tree) []Entry {
	var list []Entry
	for _, p := range t.sorted() {
		old, ok := base[p]
		old.Timed = false
		if !ok || !old.Equal(t[p]) {
			list = append(list, t[p])
		}
	}
	for _, p := range base.sorted() {
		if _, ok := t[p]; !ok {
			list = append(list, Entry{Path: p, Kind: Gone})
		}
	}
	return list
}

// Diff says in what two lists of entries differ, a line for each.
func Diff(want, got []Entry) []string {
	var out []string
	left := map[string]Entry{}
	for _, e := range got {
		left[e.Path] = e
	}
	for _, w := range want {
		g, ok := left[w.Path]
		delete(left, w.Path)
		switch {
		case !ok:
			out = append(out, "missing "+w.String())
		case !w.Equal(g):
			out = append(out, fmt.Sprintf("want %s%s\n got %s%s", w, clock(w), g, clock(g)))
		}
	}
	for _, p := range slices.Sorted(maps.Keys(left)) {
		out = append(out, "unexpected "+left[p].String())
	}
	return out
}

func clock(e Entry) string {
	if !e.Timed {
		return ""
	}
	return fmt.Sprintf(" @%d", e.Time)
}

// flatten lays layers over each other.
func flatten(layers [][]Entry) Tree {
	t := Tree{}
	for _, l := range layers {
		own := map[string]bool{}
		for _, e := range l {
			t.apply(e, own)
		}
	}
	t.nameLinks()
	return t
}

// apply takes one entry of a layer; own are those that the layer brought so far.
func (t Tree) apply(e Entry, own map[string]bool) {
	dir, name := path.Split(e.Path)
	if name == ".wh..wh..opq" {
		t.drop(strings.TrimSuffix(dir, "/"), own, false)
		return
	}
	if hidden, ok := strings.CutPrefix(name, ".wh."); ok {
		t.drop(dir+hidden, own, true)
		return
	}
	if e.Path == "" {
		return
	}
	if e.Kind != Folder {
		t.drop(e.Path, nil, true)
	}
	if e.Same != "" {
		same := t[e.Same]
		same.Path, same.Same = e.Path, cmpOr(same.Same, e.Same)
		e = same
	}
	t[e.Path], own[e.Path] = e, true
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// drop removes what lies below p, and p itself where self is set, but for what the layer itself brought.
func (t Tree) drop(p string, own map[string]bool, self bool) {
	for q := range t {
		if (strings.HasPrefix(q, p+"/") || p == "" || self && q == p) && !own[q] {
			delete(t, q)
		}
	}
}

// nameLinks makes the first of a file's names, in order, the one that the others refer to.
func (t Tree) nameLinks() {
	groups := map[string][]string{}
	for _, p := range t.sorted() {
		if e := t[p]; e.Kind == File {
			groups[cmpOr(e.Same, p)] = append(groups[cmpOr(e.Same, p)], p)
		}
	}
	for _, names := range groups {
		for i, p := range names {
			e := t[p]
			if e.Same = ""; i > 0 {
				e.Same = names[0]
			}
			t[p] = e
		}
	}
}

// readTar lists the entries of a tar.
func readTar(r io.Reader) ([]Entry, error) {
	var list []Entry
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		e := Entry{Path: strings.TrimPrefix(path.Clean("/"+h.Name), "/"), Mode: uint32(h.Mode & 0o7777), UID: h.Uid, GID: h.Gid,
			Time: h.ModTime.Unix(), Timed: true, Kind: kinds[h.Typeflag]}
		switch h.Typeflag {
		case tar.TypeSymlink:
			e.Target, e.Mode = h.Linkname, 0o777
		case tar.TypeLink:
			e.Kind, e.Same = File, strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		case tar.TypeChar, tar.TypeBlock:
			e.Major, e.Minor = h.Devmajor, h.Devminor
		case tar.TypeReg:
			if e.Content, err = io.ReadAll(tr); err != nil {
				return nil, fmt.Errorf("read layer: %w", err)
			}
		}
		for name, value := range h.PAXRecords {
			if key, ok := strings.CutPrefix(name, "SCHILY.xattr."); ok {
				if e.Xattrs == nil {
					e.Xattrs = map[string]string{}
				}
				e.Xattrs[key] = value
			}
		}
		list = append(list, e)
	}
}

var kinds = map[byte]byte{tar.TypeReg: File, tar.TypeDir: Folder, tar.TypeSymlink: Link, tar.TypeChar: Char,
	tar.TypeBlock: Block, tar.TypeFifo: Fifo}

// TarTree reads a tar as a file system.
func TarTree(file string) (Tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := readTar(f)
	return flatten([][]Entry{list}), err
}
