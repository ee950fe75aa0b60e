package diff

import (
	"archive/tar"
	"fmt"
)

// finishMarks writes whiteouts and opaque folders. They speak of what lies below only: the layer's own entries stay,
// wherever in the archive the mark stood.
func (a *applier) finishMarks() error {
	kept := a.marks[:0]
	gone := map[string]bool{}
	for _, m := range a.marks {
		gone[m.Path] = gone[m.Path] || m.Type == TypeWhiteout
	}
	for _, m := range a.marks {
		own := a.nodes[m.Path]
		if a.belowFile(m.Path) {
			continue // what the layer has there now hides everything
		}
		if m.Type == TypeWhiteout {
			if m.Path == "" {
				return fmt.Errorf("unpack whiteout: the root cannot be deleted")
			}
			if own != nil && !own.IsDir() {
				continue // replaced
			}
			if own != nil {
				own.Opaque = true
				if own.Implied {
					own.Mode, own.UID, own.GID, own.Xattrs = 0o755, 0, 0, nil
				}
			}
		} else if own != nil {
			own.Opaque = own.IsDir()
		} else if gone[m.Path] {
			continue // deleted as a whole
		} else {
			a.dependent = true
		}
		if err := a.markOnDisk(m, own); err != nil {
			return fmt.Errorf("unpack whiteout of %q: %w", m.Path, err)
		}
		kept = append(kept, m)
	}
	a.marks = kept
	return nil
}

// belowFile says whether the layer has something other than a folder on the way to a path.
func (a *applier) belowFile(p string) bool {
	for p != "" {
		p, _ = split(p)
		if n := a.nodes[p]; n != nil && !n.IsDir() {
			return true
		}
	}
	return false
}

// opaqueRoot hides all that lies below a layer. Overlayfs does not read the mark of an opaque folder in the root of a
// tree, so each name below gets a whiteout of its own, and the tree belongs to its chain.
func (a *applier) opaqueRoot() error {
	a.dependent = true
	if a.o.Below == nil {
		return nil
	}
	list, err := a.o.Below.ReadDir("")
	if err != nil {
		return err
	}
	for _, b := range list {
		own := a.nodes[b.Path]
		if own != nil && !own.IsDir() {
			continue
		}
		if err := a.markOnDisk(Entry{Path: b.Path, Type: TypeWhiteout}, own); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) markOnDisk(m Entry, own *Entry) error {
	if own != nil && !own.IsDir() {
		return nil // an opaque mark in what has become a file
	}
	if m.Path == "" && m.Opaque && (a.out == nil || a.o.Whiteouts == Overlay) {
		if a.out == nil {
			a.dependent = true
			return nil
		}
		return a.opaqueRoot()
	}
	if a.out == nil {
		return a.imply(m.Path)
	}
	if a.o.Below != nil && own == nil {
		b, err := a.o.Below.Lstat(m.Path)
		if err != nil || m.Opaque && !b.IsDir() {
			return nil // nothing there to hide
		}
	}
	if err := a.imply(m.Path); err != nil {
		return err
	}
	at, err := a.real(m.Path)
	if err != nil {
		return err
	}
	if a.o.Whiteouts == Delete {
		return a.deleteBelow(m, own, at)
	}
	if m.Type == TypeWhiteout && own == nil {
		return a.out.whiteout(at)
	}
	if own == nil {
		e := Entry{Path: m.Path, Type: tar.TypeDir, Mode: 0o755, Implied: true}
		if a.o.Below != nil {
			if b, err := a.o.Below.Lstat(m.Path); err == nil && b.IsDir() {
				e = b
			}
		}
		if err := a.out.write(a.ctx, &e, at, nil); err != nil {
			return err
		}
	}
	if own != nil && own.Implied {
		if err := a.out.write(a.ctx, own, at, nil); err != nil {
			return err
		}
	}
	return a.out.opaque(at)
}

// deleteBelow removes what the chain below had at a path and the layer does not have.
func (a *applier) deleteBelow(m Entry, own *Entry, at string) error {
	if a.o.Below == nil {
		return nil
	}
	if own == nil && m.Type == TypeWhiteout {
		return a.out.remove(at)
	}
	list, err := a.o.Below.ReadDir(m.Path)
	if err != nil {
		return nil // it was no folder
	}
	for _, b := range list {
		_, name := split(b.Path)
		child := join(m.Path, name)
		switch n := a.nodes[child]; {
		case n == nil:
			if err := a.out.remove(join(at, name)); err != nil {
				return err
			}
		case n.IsDir() && b.IsDir():
			if err := a.deleteBelow(Entry{Path: child, Type: tar.TypeDir, Opaque: true}, n, join(at, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// index lists what the layer has.
func (a *applier) index() *Index {
	x := &Index{SelfContained: !a.dependent, Size: a.src.n, Entries: make([]*Entry, 0, len(a.nodes)+len(a.marks))}
	for _, e := range a.nodes {
		x.Entries = append(x.Entries, e)
	}
	seen := map[string]bool{}
	for _, m := range a.marks {
		if seen[m.Path] || a.nodes[m.Path] != nil {
			continue
		}
		seen[m.Path] = true
		m.Implied = m.Opaque
		if m.Opaque {
			m.Mode = 0o755
		}
		x.Entries = append(x.Entries, &m)
	}
	x.sort()
	return x
}
