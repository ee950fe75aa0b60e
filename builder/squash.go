package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// squash makes one layer of all that a target has above its base image. It gives back the chain, and which layer each step
// is said to have made: the last one that made any has the one layer.
func (b *build) squash(ctx context.Context, t plan.Target, chain layers.Chain) (layers.Chain, func(*plan.Step) digest.Digest, error) {
	own := func(s *plan.Step) digest.Digest { return b.futures[s].st.layer }
	below := layers.Chain(baseOf(t.Step))
	if !b.o.Squash || len(chain) <= len(below)+1 {
		return chain, own, nil
	}
	op := cache.Operation("squash", below.ID().String())
	key := cache.Key(op, []cache.Input{{Name: "chain", Digest: chain.ID()}})
	r, err := b.cache.Find(op, key)
	if err != nil {
		return nil, nil, err
	}
	if r == nil {
		d, err := b.merge(ctx, below, chain)
		if err != nil {
			return nil, nil, fmt.Errorf("squash: %w", err)
		}
		r = &cache.Record{Layer: d, Made: b.started}
		if err := b.cache.Save(ctx, op, *r, key); err != nil {
			return nil, nil, err
		}
	}
	last := t.Step
	for last != nil && own(last) == "" {
		last = last.Parent
	}
	return append(slices.Clone(below), r.Layer), func(s *plan.Step) digest.Digest {
		if s == last {
			return r.Layer
		}
		return ""
	}, nil
}

// merge packs the difference between two chains as one layer.
func (b *build) merge(ctx context.Context, below, chain layers.Chain) (digest.Digest, error) {
	from, err := b.o.Store.View(ctx, below)
	if err != nil {
		return "", err
	}
	to, err := b.o.Store.View(ctx, chain)
	if err != nil {
		return "", err
	}
	m := merging{from: from, to: to, listed: map[string]bool{}, names: map[int]string{}}
	if err := m.folder(ctx, ""); err != nil {
		return "", err
	}
	var index *diff.Index
	w, err := b.o.Store.CreateLayer(layers.LayerOptions{Packed: diff.PackerVersion, SelfContained: true, Index: func() *diff.Index { return index }})
	if err != nil {
		return "", err
	}
	defer w.Close()
	pack := diff.NewWriter(w, diff.PackOptions{Timestamps: diff.Source})
	slices.SortFunc(m.list, func(a, b diff.Entry) int { return diff.ComparePaths(a.Path, b.Path) })
	for _, e := range m.list {
		if err := m.write(ctx, pack, e); err != nil {
			return "", fmt.Errorf("write %q: %w", "/"+e.Path, err)
		}
	}
	if index, err = pack.Close(); err != nil {
		return "", err
	}
	info, err := w.Commit(ctx)
	return info.DiffID, err
}

// merging collects what differs between two trees, with all parents.
type merging struct {
	from, to *diff.View
	list     []diff.Entry
	listed   map[string]bool
	names    map[int]string // the first of the names of a file that has several, by SameFile
}

// folder looks at what is in a folder of both trees.
func (m *merging) folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	was, err := m.inside(m.from, dir)
	if err != nil {
		return err
	}
	is, err := m.inside(m.to, dir)
	if err != nil {
		return err
	}
	all := slices.Collect(maps.Keys(is))
	for name := range was {
		if _, ok := is[name]; !ok {
			all = append(all, name)
		}
	}
	for _, name := range all {
		if err := m.entry(ctx, name, was, is); err != nil {
			return err
		}
	}
	return nil
}

// inside lists a folder, which may be absent.
func (m *merging) inside(v *diff.View, dir string) (map[string]diff.Entry, error) {
	all := map[string]diff.Entry{}
	if dir != "" {
		if e, err := v.Lstat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !e.IsDir() {
			return all, nil
		}
	}
	list, err := v.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && dir == "" {
		return all, nil
	}
	for _, e := range list {
		all[e.Path] = e
	}
	return all, err
}

func (m *merging) entry(ctx context.Context, name string, was, is map[string]diff.Entry) error {
	old, had := was[name]
	now, has := is[name]
	if !has {
		dir, base := path.Split(name)
		m.add(diff.Entry{Path: dir + ".wh." + base, Type: tar.TypeReg})
		return nil
	}
	if had && now.IsDir() && !old.IsDir() { // a folder in place of something else
		had = false
	}
	if !had || differences(&old, &now) != "" || old.SameFile != 0 || now.SameFile != 0 {
		m.add(now)
	}
	if now.IsDir() {
		return m.folder(ctx, name)
	}
	return nil
}

// add takes an entry with its parents, which a layer that stands by itself has too.
func (m *merging) add(e diff.Entry) {
	for d := path.Dir(e.Path); d != "."; d = path.Dir(d) {
		if m.listed[d] {
			break
		}
		m.listed[d] = true
		if parent, err := m.to.Lstat(d); err == nil {
			m.list = append(m.list, parent)
		}
	}
	if !m.listed[e.Path] {
		m.listed[e.Path] = true
		m.list = append(m.list, e)
	}
}

func (m *merging) write(ctx context.Context, w *diff.Writer, e diff.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.Implied, e.Offset = false, 0
	if !e.IsRegular() {
		return w.WriteEntry(e, nil)
	}
	if e.SameFile != 0 {
		if first, ok := m.names[e.SameFile]; ok {
			e.Type, e.Linkname, e.Size = tar.TypeLink, first, 0
			return w.WriteEntry(e, nil)
		}
		m.names[e.SameFile] = e.Path
	}
	if e.Size == 0 {
		return w.WriteEntry(e, nil)
	}
	r, err := m.to.Open(e.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	return w.WriteEntry(e, r)
}

// sameXattrs compares extended attributes; none and an empty set are the same.
func sameXattrs(a, b *diff.Entry) bool { return maps.Equal(a.Xattrs, b.Xattrs) }
