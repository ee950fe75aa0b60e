package ops

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/source"
	"github.com/moby/patternmatcher"
)

// Source is one thing that a COPY or ADD copies.
type Source struct {
	// Files is the tree that Path belongs to.
	Files source.Files
	// Path is as the recipe has it; "..", a leading slash and links cannot lead out of Files.
	Path string
	// Literal turns wildcards off: for inline documents, downloads and git checkouts.
	Literal bool
	// Unpack extracts the file when it is an archive (ADD of a local file).
	Unpack bool
	// Local marks a tree of this machine's file system, whose times say nothing about the recipe.
	Local bool
}

// Copy is a COPY or an ADD whose sources are at hand.
type Copy struct {
	Sources []Source
	// Dest is absolute; a trailing slash says that it is a folder.
	Dest string
	// Chown is user, user:group or empty; names are looked up in the tree that is written on.
	Chown string
	// Chmod is octal or symbolic, or empty.
	Chmod string
	// Parents keeps the folders of a source's path, from its /./ on.
	Parents bool
	// Exclude holds patterns, relative to each source that is a folder.
	Exclude []string
	// Link makes a layer that does not look at the tree below. BuildKit drops it where there is a Chmod, so do we.
	Link bool
}

// Options are what a build decides for all its steps.
type Options struct {
	// Time is given to everything that the step makes or takes from a local folder. Zero means 1980-01-01.
	Time time.Time
	// KeepTimes leaves a local folder's own times.
	KeepTimes bool
	// Tmp is the folder for temporary files.
	Tmp string
	// Limits bound the archives that ADD unpacks.
	Limits source.Limits
}

// Epoch is the time of all that has no time of its own: the first that zip archives and FAT can hold.
var Epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func (o Options) time() time.Time {
	if o.Time.IsZero() {
		return Epoch
	}
	return o.Time
}

// Plan decides all entries of the step's layer. base is the tree that it writes on. The caller closes the layer.
func (c Copy) Plan(ctx context.Context, base source.Files, o Options) (*Layer, error) {
	if c.Link && OwnerByName(c.Chown) && c.Chmod == "" {
		return nil, fmt.Errorf("--chown=%s: user and group names can't be resolved when used with --link, use numeric uid[:gid] instead", c.Chown)
	}
	if c.Link && c.Chmod == "" {
		base = source.NewTree()
	}
	own, err := parseOwner(c.Chown, base)
	if err != nil {
		return nil, err
	}
	mod, err := parseChmod(c.Chmod)
	if err != nil {
		return nil, err
	}
	p := &planner{op: c, o: o, own: own, mod: mod, canvas: newCanvas(base, o.time())}
	if err := p.run(ctx); err != nil {
		p.close()
		return nil, err
	}
	l, err := p.canvas.layer()
	if err != nil {
		p.close()
		return nil, err
	}
	l.closers = p.closers
	return l, nil
}

// planner turns one Copy into changes on a canvas.
type planner struct {
	op      Copy
	o       Options
	own     *owner
	mod     *chmod
	canvas  *canvas
	closers []io.Closer
	include *matcher
	exclude *matcher
	inode   string // prefix that keeps the inodes of several sources apart
}

func (p *planner) close() {
	for _, c := range p.closers {
		c.Close()
	}
}

func (p *planner) run(ctx context.Context) error {
	var err error
	if p.exclude, err = newMatcher(p.op.Exclude); err != nil {
		return fmt.Errorf("compile --exclude: %w", err)
	}
	for i, s := range p.op.Sources {
		p.inode = fmt.Sprintf("%d:", i)
		if err := p.source(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// folderMode is the mode of folders that have to be made: BuildKit gives them the permissions of a numeric --chmod too.
func (p *planner) folderMode() uint32 {
	if p.mod != nil && p.mod.number != nil {
		return *p.mod.number & 0o777
	}
	return 0o755
}

func (p *planner) source(ctx context.Context, s Source) error {
	p.include = nil
	name := s.Path
	if p.op.Parents && !s.Literal {
		pivot, pattern, ok := strings.Cut(name, "/./")
		if !ok {
			pivot, pattern = "/", name
		}
		if err := p.requireParents(s.Files, pivot, pattern); err != nil {
			return err
		}
		var err error
		if p.include, err = newMatcher([]string{source.Clean(pattern)}); err != nil {
			return fmt.Errorf("compile %q: %w", pattern, err)
		}
		name = pivot
	}
	matches := []string{source.Clean(name)}
	if !s.Literal && hasWildcards(name) {
		var err error
		if matches, err = expand(s.Files, name); err != nil {
			return err
		}
	}
	for _, m := range matches {
		if err := p.one(ctx, s, m); err != nil {
			return err
		}
	}
	return nil
}

// requireParents makes a path without wildcards an error when it does not exist.
func (p *planner) requireParents(f source.Files, pivot, pattern string) error {
	if hasWildcards(pivot) || hasWildcards(pattern) {
		return nil
	}
	name := path.Join("/", pivot, pattern)
	resolved, err := source.Resolve(f, name, false)
	if err == nil {
		_, err = f.Lstat(resolved)
	}
	return notFound(name, err)
}

func notFound(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &missingError{path.Join("/", name)}
	}
	return err
}

// missingError is a source that is not there.
type missingError struct{ name string }

func (e *missingError) Error() string { return fmt.Sprintf("%q: not found", e.name) }
func (e *missingError) Unwrap() error { return fs.ErrNotExist }

// one copies one match of a source.
func (p *planner) one(ctx context.Context, s Source, match string) error {
	from, err := source.Resolve(s.Files, match, true)
	if err != nil {
		return err
	}
	e, err := s.Files.Lstat(from)
	if err != nil {
		return notFound(match, err)
	}
	if s.Unpack && e.IsRegular() {
		done, err := p.unpack(ctx, s, e)
		if err != nil || done {
			return err
		}
	}
	to, err := p.target(e, match)
	if err != nil {
		return err
	}
	w := &walk{p: p, s: s}
	return w.copy(ctx, step{e: e, to: to})
}

// target finds where a source lands, and makes the folders above it.
func (p *planner) target(e source.Entry, match string) (string, error) {
	dest := p.op.Dest
	ensure := dest
	if d, f := path.Split(dest); f != "" && f != "." {
		ensure = d
	}
	if err := p.ensure(ensure); err != nil {
		return "", err
	}
	to, err := source.Resolve(p.canvas, dest, true)
	if err != nil {
		return "", err
	}
	there, err := p.canvas.kind(to)
	if err != nil {
		return "", err
	}
	if e.IsDir() {
		return to, p.canvas.mkdirAll(to, p.folderMode(), p.own)
	}
	if there == aFolder {
		to = path.Join(to, path.Base("/"+match))
	}
	return to, p.canvas.mkdirAll(dirOf(to), p.folderMode(), p.own)
}

func (p *planner) ensure(dir string) error {
	resolved, err := source.Resolve(p.canvas, dir, true)
	if err != nil {
		return err
	}
	return p.canvas.mkdirAll(resolved, p.folderMode(), p.own)
}

// dress gives an entry the owner, mode and time that the step asks for.
func (p *planner) dress(e source.Entry, local bool) source.Entry {
	if p.own != nil {
		e.UID, e.GID = p.own.uid, p.own.gid
	}
	if e.Type != tar.TypeSymlink {
		e.Mode = p.mod.apply(e.Mode, e.IsDir())
	}
	if local && !p.o.KeepTimes {
		e.ModTime = p.o.time()
	}
	if e.Inode != "" {
		e.Inode = p.inode + e.Inode
	}
	return e
}

// walk copies one source.
type walk struct {
	p       *planner
	s       Source
	pending []pending // the folders above the current entry
}

// pending is a folder that is made only when something in it is copied.
type pending struct {
	e    source.Entry
	to   string
	made bool
}

// step is one entry on its way; rel is its path from the source, "" for the source itself.
type step struct {
	e        source.Entry
	rel, to  string
	included patternmatcher.MatchInfo
	excluded patternmatcher.MatchInfo
}

func (w *walk) copy(ctx context.Context, st step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	take, drop := true, false
	if st.rel != "" {
		var err error
		if take, st.included, err = w.p.include.match(st.rel, st.included, true); err != nil {
			return err
		}
		if drop, st.excluded, err = w.p.exclude.match(st.rel, st.excluded, false); err != nil {
			return err
		}
		take = take && !drop
	}
	if st.e.IsDir() {
		return w.folder(ctx, st, take, drop)
	}
	if !take {
		return nil
	}
	if err := w.makeParents(); err != nil {
		return err
	}
	old, err := w.p.canvas.kind(st.to)
	if err != nil {
		return err
	}
	if old == aFolder {
		return fmt.Errorf("cannot replace to directory %s with file", "/"+st.to)
	}
	return w.put(st.e, st.to)
}

func (w *walk) folder(ctx context.Context, st step, take, drop bool) error {
	if take {
		if err := w.makeParents(); err != nil {
			return err
		}
		if err := w.makeFolder(st.e, st.to, st.rel != ""); err != nil {
			return err
		}
	}
	if drop && !w.p.exclude.reincludes() || !take && !w.p.include.mayContain(st.rel) {
		return nil
	}
	w.pending = append(w.pending, pending{st.e, st.to, take})
	defer func() { w.pending = w.pending[:len(w.pending)-1] }()
	list, err := w.s.Files.ReadDir(st.e.Path)
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Base(e.Path)
		child := step{e, path.Join(st.rel, name), path.Join(st.to, name), st.included, st.excluded}
		if err := w.copy(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// makeParents makes the folders above an entry that patterns had not chosen by themselves.
func (w *walk) makeParents() error {
	for i := range w.pending {
		if w.pending[i].made {
			continue
		}
		if err := w.makeFolder(w.pending[i].e, w.pending[i].to, false); err != nil {
			return err
		}
		w.pending[i].made = true
	}
	return nil
}

// makeFolder makes a folder like e. One that exists keeps its mode and owner, unless overwrite is set.
func (w *walk) makeFolder(e source.Entry, to string, overwrite bool) error {
	old, err := w.p.canvas.kind(to)
	if err != nil {
		return err
	}
	if old == another {
		return fmt.Errorf("cannot copy to non-directory: %s", "/"+to)
	}
	if old != nothing && !overwrite {
		return nil
	}
	return w.put(e, to)
}

func (w *walk) put(e source.Entry, to string) error {
	from := e.Path
	e = w.p.dress(e, w.s.Local)
	e.Path = to
	if e.Type == source.TypeSocket {
		// BuildKit's copy of a socket is an empty file.
		e.Type, e.Inode = tar.TypeReg, ""
		return w.p.canvas.put(&Change{Entry: e, files: source.NewFile("socket", 0, e.ModTime, nil), from: "socket"})
	}
	return w.p.canvas.put(&Change{Entry: e, files: w.s.Files, from: from})
}
