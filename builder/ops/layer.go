package ops

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers/diff"
)

// Change is one entry of a layer and where its content lies.
type Change struct {
	source.Entry
	// HardLink is the path of an earlier change of which this one is another name; it has no content then.
	HardLink string
	// files and from say where the content lies.
	files source.Files
	from  string
	// opaque is set on a folder below which nothing shows through: nothing was there, or something else.
	opaque bool
}

// Open reads the content of a regular file.
func (c Change) Open() (io.ReadCloser, error) { return c.files.Open(c.from) }

// Layer is what COPY or ADD will write: changes sorted by path, each after its parent and after the file that it links to.
type Layer struct {
	Changes []*Change
	// closers are trees that live as long as the layer's contents may be read.
	closers []io.Closer
}

// Writer takes the entries of a layer in order. The content is nil for all but regular files, and is exactly as long as
// the entry says.
type Writer interface {
	WriteEntry(e source.Entry, hardLink string, content io.Reader) error
}

func newLayer(changes map[string]*Change) *Layer {
	l := &Layer{Changes: slices.AppendSeq(make([]*Change, 0, len(changes)), maps.Values(changes))}
	slices.SortFunc(l.Changes, func(a, b *Change) int { return comparePaths(a.Path, b.Path) })
	first := map[string]string{}
	for _, c := range l.Changes {
		if c.Inode == "" {
			continue
		}
		if p, ok := first[c.Inode]; ok {
			c.HardLink, c.Size = p, 0
		} else {
			first[c.Inode] = c.Path
		}
	}
	return l
}

// comparePaths orders paths as a walk meets them: a folder's content right behind the folder.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// Close releases the archives and downloads that the layer reads from.
func (l *Layer) Close() error {
	var errs []error
	for _, c := range l.closers {
		errs = append(errs, c.Close())
	}
	l.closers = nil
	return errors.Join(errs...)
}

// Empty says whether the step changes nothing.
func (l *Layer) Empty() bool { return len(l.Changes) == 0 }

// Write sends the layer to w. A file that is not what it was when the layer was planned is an error: the context changed
// while it was read, and keys speak of what it was.
func (l *Layer) Write(ctx context.Context, w Writer) error {
	for _, c := range l.Changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.write(ctx, w); err != nil {
			return fmt.Errorf("write %q: %w", "/"+c.Path, err)
		}
	}
	return nil
}

func (c Change) write(ctx context.Context, w Writer) error {
	if !c.IsRegular() || c.HardLink != "" {
		return w.WriteEntry(c.Entry, c.HardLink, nil)
	}
	r, err := c.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	e := c.Entry
	if x, ok := r.(interface {
		Xattrs() (map[string]string, error)
	}); ok {
		if e.Xattrs, err = x.Xattrs(); err != nil {
			return err
		}
	}
	exact := &exactReader{r: source.Until(ctx, r), left: e.Size}
	if err := w.WriteEntry(e, "", exact); err != nil {
		return err
	}
	if source.Changed(r, c.Entry) {
		return source.ErrChanged
	}
	return exact.end()
}

// Confirm compares what was packed since the given time, which the index tells, with what the trees of local files said
// before, so that no layer holds what its key does not speak of. A tree that had not yet said so knows it then.
func (l *Layer) Confirm(index *diff.Index, from time.Time) error {
	for i, c := range l.Changes {
		if !c.IsRegular() || c.HardLink != "" {
			continue
		}
		if err := source.Confirm(c.files, c.source(), index.Entries[i].Digest, from); err != nil {
			return err
		}
	}
	return nil
}

// exactReader gives exactly the bytes that were announced.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		return n, source.ErrChanged
	}
	return n, err
}

func (e *exactReader) end() error {
	var one [1]byte
	if n, _ := e.r.Read(one[:]); n > 0 || e.left > 0 {
		return source.ErrChanged
	}
	return nil
}

// TarWriter writes a layer as a plain tar: every field but those that matter is fixed. It is the writer of tests and of
// small tools; stores take the canonical packer's.
type TarWriter struct{ Tar *tar.Writer }

// WriteEntry appends one entry, see [Writer].
func (t TarWriter) WriteEntry(e source.Entry, hardLink string, content io.Reader) error {
	h := &tar.Header{
		Name: e.Path, Typeflag: e.Type, Mode: int64(e.Mode), Uid: e.UID, Gid: e.GID, Size: e.Size, ModTime: e.ModTime,
		Linkname: e.Linkname, Devmajor: e.Devmajor, Devminor: e.Devminor, Format: tar.FormatPAX,
	}
	if e.IsDir() {
		h.Name += "/"
	}
	if hardLink != "" {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, hardLink, 0
	}
	for k, v := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	if err := t.Tar.WriteHeader(h); err != nil {
		return err
	}
	if content == nil {
		return nil
	}
	_, err := io.Copy(t.Tar, content)
	return err
}
