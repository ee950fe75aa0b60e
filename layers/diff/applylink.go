package diff

import (
	"archive/tar"
	"fmt"
	"io"
)

// link makes another name of an earlier file of the layer, or a copy of a file that lies below it.
func (a *applier) link(e Entry) error {
	target, err := cleanPath(e.Linkname, a.o.Limits)
	if err != nil {
		return fmt.Errorf("link to %q: %w", clip(e.Linkname), err)
	}
	if target, err = a.place(target); err != nil {
		return fmt.Errorf("link to %q: %w", clip(e.Linkname), err)
	}
	if target == e.Path {
		return fmt.Errorf("link to %q: a file cannot link to itself", clip(e.Linkname))
	}
	old := a.nodes[target]
	if old == nil {
		return a.linkBelow(e, target)
	}
	if old.IsDir() {
		return fmt.Errorf("link to %q: it is a folder", clip(e.Linkname))
	}
	first := target
	if old.Type == tar.TypeLink {
		first = old.Linkname
	}
	if err := a.imply(e.Path); err != nil {
		return err
	}
	if err := a.replace(e); err != nil {
		return err
	}
	if a.nodes[target] == nil {
		return fmt.Errorf("link to %q: the link takes its place", clip(e.Linkname))
	}
	a.nodes[e.Path] = &Entry{Path: e.Path, Type: tar.TypeLink, Linkname: first}
	if a.out == nil {
		return nil
	}
	from, err := a.real(target)
	if err != nil {
		return err
	}
	to, err := a.real(e.Path)
	if err != nil {
		return err
	}
	return a.out.link(from, to)
}

func (a *applier) linkBelow(e Entry, target string) error {
	a.dependent = true
	if a.o.Below == nil { // unknown: who sees a dependent layer unpacks it again on its chain
		a.nodes[e.Path] = &Entry{Path: e.Path, Type: tar.TypeLink, Linkname: target}
		return nil
	}
	below, err := a.o.Below.Lstat(target)
	if err != nil {
		return fmt.Errorf("link to %q: %w", clip(e.Linkname), err)
	}
	if below.IsDir() {
		return fmt.Errorf("link to %q: it is a folder", clip(e.Linkname))
	}
	at := below.Path
	below.Path, below.Offset = e.Path, 0
	var content io.Reader
	if below.IsRegular() && a.out != nil {
		f, err := a.o.Below.Open(at)
		if err != nil {
			return fmt.Errorf("link to %q: %w", clip(e.Linkname), err)
		}
		defer f.Close()
		content = f
	}
	if err := a.put(below, content); err != nil {
		return err
	}
	a.nodes[e.Path] = &Entry{Path: e.Path, Type: tar.TypeLink, Linkname: target}
	return nil
}
