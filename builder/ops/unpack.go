package ops

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers/diff"
)

// unpack extracts a source file into the destination when its content is an archive; else it says false.
func (p *planner) unpack(ctx context.Context, s Source, e source.Entry) (bool, error) {
	ok, err := isArchive(s.Files, e.Path)
	if err != nil || !ok {
		return false, err
	}
	a, err := p.archive(ctx, s.Files, e)
	if err != nil {
		return false, fmt.Errorf("unpack %q: %w", "/"+e.Path, err)
	}
	p.closers = append(p.closers, a)
	to, err := source.Resolve(p.canvas, p.op.Dest, true)
	if err != nil {
		return false, err
	}
	if err := p.canvas.mkdirAll(to, 0o755, p.own); err != nil {
		return false, err
	}
	p.inode += e.Path + ":"
	return true, p.extract(ctx, a, "", to)
}

// archive reads an archive, which must be the one that the key of the step speaks of.
func (p *planner) archive(ctx context.Context, files source.Files, e source.Entry) (*source.Archive, error) {
	started, sum := time.Now(), sha256.New()
	f, err := files.Open(e.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := io.TeeReader(source.Until(ctx, f), sum)
	plain, err := source.Decompress(raw)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	a, err := source.ReadArchive(plain, p.o.Tmp, p.o.Limits)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, raw)
	if err == nil && source.Changed(f, e) {
		err = source.ErrChanged
	}
	if err == nil {
		err = source.Confirm(files, e, diff.Sum(sum.Sum(nil)), started)
	}
	if err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// extract places what lies in a folder of an archive. The archive's own root changes nothing at the destination. Folders
// are merged; anything else takes the place of what is there, and so does a folder that of a link to one, where the
// archive holds the folder itself.
func (p *planner) extract(ctx context.Context, a *source.Archive, dir, to string) error {
	list, err := a.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, place := e.Path, path.Join(to, path.Base(e.Path))
		if at, ok := p.there(e, place); ok {
			if err := p.extract(ctx, a, from, at); err != nil {
				return err
			}
			continue
		}
		changed := e
		if p.own != nil {
			changed.UID, changed.GID = p.own.uid, p.own.gid
		}
		if e.Inode != "" {
			changed.Inode = p.inode + e.Inode
		}
		changed.Path = place
		if err := p.canvas.put(&Change{Entry: changed, files: a, from: from}); err != nil {
			return err
		}
		if e.IsDir() {
			if err := p.extract(ctx, a, from, place); err != nil {
				return err
			}
		}
	}
	return nil
}

// there finds the folder, by a link maybe, that an archive means when it names only what lies in it: it stays as it is.
func (p *planner) there(e source.Entry, place string) (string, bool) {
	if !e.Implied {
		return "", false
	}
	at, err := source.Resolve(p.canvas, place, true)
	if err != nil {
		return "", false
	}
	k, err := p.canvas.kind(at)
	return at, err == nil && k == aFolder
}

// isArchive says whether a file is a tar archive, plain or compressed, by its content.
func isArchive(f source.Files, name string) (bool, error) {
	r, err := f.Open(name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	plain, err := source.Decompress(r)
	if err != nil {
		return false, nil
	}
	defer plain.Close()
	_, err = tar.NewReader(plain).Next()
	return err == nil, nil
}

// Workdir is a WORKDIR that has to make its folder.
type Workdir struct {
	// Path is absolute.
	Path string
	// User owns what is made, as USER has it; empty is root.
	User string
}

// Plan decides the entries of the step's layer; it is empty when the folder exists.
func (w Workdir) Plan(base source.Files, o Options) (*Layer, error) {
	own, err := parseOwner(w.User, base)
	if err != nil {
		return nil, err
	}
	c := newCanvas(base, o.time())
	dir, err := source.Resolve(c, w.Path, true)
	if err != nil {
		return nil, err
	}
	if err := c.mkdirAll(dir, 0o755, own); err != nil {
		return nil, fmt.Errorf("make working directory: %s: %w", strings.TrimSuffix(w.Path, "/"), err)
	}
	return c.layer()
}
