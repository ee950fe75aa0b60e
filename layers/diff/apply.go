package diff

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Whiteouts says what a deletion becomes on disk.
type Whiteouts int

// Overlay writes deletions as overlayfs reads them in a lower tree; Delete removes what lies at the destination already.
const (
	Overlay Whiteouts = iota
	Delete
)

// Limits bounds what an archive may make. Zero fields take the defaults.
type Limits struct {
	Entries int   // default 8 million
	Size    int64 // of all contents, default 1 TiB
	Path    int   // bytes in a path, default 4096
	Sparse  int64 // of one sparse file, whose content costs the archive nothing; default 16 GiB
	Behind  int64 // bytes that lie behind the archive's end, where some writers pad; default 64 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 8 << 20
	}
	if l.Size == 0 {
		l.Size = 1 << 40
	}
	if l.Path == 0 {
		l.Path = 4096
	}
	if l.Sparse == 0 {
		l.Sparse = 16 << 30
	}
	if l.Behind == 0 {
		l.Behind = 64 << 20
	}
	return l
}

// ApplyOptions says how to unpack.
type ApplyOptions struct {
	Whiteouts Whiteouts
	// Below is the chain under the layer. It gives kind, mode and owner of folders that the layer implies, and the
	// content of files that it links to. Nil when there is nothing below.
	Below *View
	// UserXattr writes overlay's marks as user.overlay.*, which is what overlays inside user namespaces read.
	UserXattr bool
	// SingleID leaves all owners as they are: only the index knows them.
	SingleID bool
	// NoTree only reads: the index is made, nothing is written.
	NoTree bool
	Limits Limits
	// Writers is the number of goroutines that write small files; 0 is 2.
	Writers int
}

// Apply unpacks an uncompressed tar into the folder dest, which must be private to the caller: empty, or with
// [Delete] the tree that the layers of o.Below have left. It reads tar to its end, the bytes behind the archive's end too,
// so that a caller who verifies the stream has seen all of it. After an error dest holds a part of the layer.
func Apply(ctx context.Context, r io.Reader, dest *os.File, o ApplyOptions) (*Index, error) {
	o.Limits = o.Limits.withDefaults()
	a := &applier{ctx: ctx, o: o, src: newSource(r), nodes: map[string]*Entry{}}
	if !o.NoTree {
		a.out = newTree(dest, o)
		defer a.out.close()
	}
	if err := a.run(); err != nil {
		return nil, err
	}
	return a.index(), nil
}

// ApplyPath is Apply into a folder given by its path.
func ApplyPath(ctx context.Context, r io.Reader, dest string, o ApplyOptions) (*Index, error) {
	if o.NoTree {
		return Apply(ctx, r, nil, o)
	}
	f, err := os.OpenFile(dest, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open unpack destination: %w", err)
	}
	defer f.Close()
	return Apply(ctx, r, f, o)
}

// applier is one unpacking. nodes is the layer as it stands, by its own paths.
type applier struct {
	ctx       context.Context
	o         ApplyOptions
	src       *source
	out       *tree
	nodes     map[string]*Entry
	marks     []Entry // whiteouts and opaque folders
	dependent bool    // on what lies below
	entries   int
	size      int64
}

func (a *applier) run() error {
	entries := scanner{src: a.src}
	for {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		h, content, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer tar after entry %d: %w", a.entries, cutOff(err))
		}
		if a.entries++; a.entries > a.o.Limits.Entries {
			return fmt.Errorf("read layer tar: more than %d entries", a.o.Limits.Entries)
		}
		if err := a.entry(h, content); err != nil {
			return fmt.Errorf("unpack %q: %w", clip(h.Name), cutOff(err))
		}
	}
	_, err := io.CopyN(io.Discard, a.src, a.o.Limits.Behind+1)
	if err == nil {
		return fmt.Errorf("read layer to its end: more than %d bytes lie behind the end of the archive", a.o.Limits.Behind)
	}
	if err != io.EOF {
		return fmt.Errorf("read layer to its end: %w", cutOff(err))
	}
	if err := a.finishMarks(); err != nil {
		return err
	}
	if a.out == nil {
		return nil
	}
	return a.out.finish()
}

// cutOff says in words what the error of a stream that ends too early is.
func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the archive is cut off: %w", err)
	}
	return err
}

func clip(name string) string {
	if len(name) > 200 {
		return name[:200] + "…"
	}
	return name
}

func (a *applier) entry(h *tar.Header, content io.Reader) error {
	e, err := entryOf(h, a.o.Limits)
	if err != nil {
		return err
	}
	if e.Type == tar.TypeXGlobalHeader {
		return nil
	}
	if e.Size > 0 && e.IsRegular() {
		if a.size += e.Size; a.size > a.o.Limits.Size {
			return fmt.Errorf("the layer holds more than %d bytes", a.o.Limits.Size)
		}
		if !isSparse(h) {
			e.Offset = a.src.n
		}
	}
	dir, base := split(e.Path)
	if strings.HasPrefix(base, ".wh.") {
		return a.mark(dir, base)
	}
	if e.Path, err = a.place(e.Path); err != nil {
		return err
	}
	if e.Type == tar.TypeLink {
		return a.link(e)
	}
	return a.put(e, content)
}

func (a *applier) put(e Entry, content io.Reader) error {
	if e.Path == "" && !e.IsDir() {
		return errors.New("the root of a layer must be a folder")
	}
	if err := a.imply(e.Path); err != nil {
		return err
	}
	if err := a.replace(e); err != nil {
		return err
	}
	n := &e
	a.nodes[e.Path] = n
	if a.out == nil {
		return hashOnly(n, content)
	}
	at, err := a.real(e.Path)
	if err != nil {
		return err
	}
	return a.out.write(a.ctx, n, at, content)
}

// replace makes way for an entry whose path the layer has used already: the last one wins, folders merge.
func (a *applier) replace(e Entry) error {
	old := a.nodes[e.Path]
	if old == nil || old.IsDir() && e.IsDir() {
		return nil
	}
	if e.Path == "" {
		return errors.New("the root of a layer must be a folder")
	}
	if old.IsDir() {
		maps.DeleteFunc(a.nodes, func(p string, _ *Entry) bool { return strings.HasPrefix(p, e.Path+"/") })
	}
	delete(a.nodes, e.Path)
	if a.out == nil {
		return nil
	}
	at, err := a.real(e.Path)
	if err != nil {
		return err
	}
	return a.out.remove(at)
}

// mark notes a whiteout or an opaque folder for the end, when it is known what else the layer has there.
func (a *applier) mark(dir, base string) error {
	name := strings.TrimPrefix(base, ".wh.")
	if strings.HasPrefix(name, ".wh.") && name != ".wh..opq" {
		if dir == "" && (name == ".wh.aufs" || name == ".wh.orph" || name == ".wh.plnk") {
			return nil // what aufs kept for itself
		}
		return errors.New("not a valid whiteout")
	}
	if name == "" || name == "." || name == ".." {
		return errors.New("not a valid whiteout")
	}
	if name == ".wh..opq" {
		p, err := a.place(join(dir, "x"))
		if err != nil {
			return err
		}
		p, _ = split(p)
		a.marks = append(a.marks, Entry{Path: p, Type: tar.TypeDir, Opaque: true})
		return nil
	}
	p, err := a.place(join(dir, name))
	if err != nil {
		return err
	}
	a.marks = append(a.marks, Entry{Path: p, Type: TypeWhiteout})
	return nil
}

// place follows the links that the layer itself has in the folders of a path.
func (a *applier) place(p string) (string, error) {
	dir, base := split(p)
	if n := a.nodes[dir]; dir == "" || n != nil && n.IsDir() {
		return p, nil // nodes have their real paths: no link is on the way
	}
	rest := strings.Split(dir, "/")
	cur := ""
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			cur, _ = split(cur)
			continue
		}
		next := join(cur, name)
		n := a.nodes[next]
		if n == nil || n.IsDir() {
			cur = next
			continue
		}
		if n.Type != tar.TypeSymlink {
			return "", &fs.PathError{Op: "enter", Path: next, Err: syscall.ENOTDIR}
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "enter", Path: next, Err: syscall.ELOOP}
		}
		if strings.HasPrefix(n.Linkname, "/") {
			cur = ""
		}
		rest = append(strings.Split(n.Linkname, "/"), rest...)
		if len(rest) > 4096 {
			return "", &fs.PathError{Op: "enter", Path: next, Err: unix.ENAMETOOLONG}
		}
	}
	return join(cur, base), nil
}

// imply makes the missing parents of a path: as the chain below has them, else as plain folders.
func (a *applier) imply(p string) error {
	if p == "" {
		return nil
	}
	dir := path.Dir(p)
	if dir == "." {
		return nil
	}
	if n := a.nodes[dir]; n != nil {
		if !n.IsDir() {
			return &fs.PathError{Op: "enter", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if err := a.imply(dir); err != nil {
		return err
	}
	a.dependent = true
	e := Entry{Path: dir, Type: tar.TypeDir, Mode: 0o755, Implied: true}
	at := dir
	if a.o.Below != nil {
		if b, err := a.o.Below.Lookup(dir); err == nil && b.IsDir() {
			at = b.Path
			b.Path, b.Implied, b.Opaque = dir, true, false
			e = b
		}
	}
	a.nodes[dir] = &e
	if a.out == nil {
		return nil
	}
	return a.implyOnDisk(&e, at)
}

// implyOnDisk makes an implied folder where it really is, with the folders on the way there.
func (a *applier) implyOnDisk(e *Entry, at string) error {
	var way []string
	for d := at; d != "" && !a.out.has(d); d, _ = split(d) {
		way = append(way, d)
	}
	for i := len(way) - 1; i >= 0; i-- {
		d := Entry{Path: way[i], Type: tar.TypeDir, Mode: 0o755}
		if way[i] == at {
			d = *e
		} else if b, err := a.o.Below.Lookup(way[i]); err == nil && b.IsDir() {
			d = b
		}
		if err := a.out.write(a.ctx, &d, way[i], nil); err != nil {
			return err
		}
	}
	return nil
}

// real is where a path of the layer lies on disk: below, a folder that the layer implies may be a link.
func (a *applier) real(p string) (string, error) {
	dir, base := split(p)
	if dir == "" || a.o.Below == nil {
		return p, nil
	}
	n := a.nodes[dir]
	if n == nil || n.Implied {
		if b, err := a.o.Below.Lookup(dir); err == nil && b.IsDir() {
			return join(b.Path, base), nil
		}
	}
	parent, err := a.real(dir)
	return join(parent, base), err
}
