package diff

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// PackerVersion names the form of the tars that Writer makes. It changes when a byte of them does.
const PackerVersion = "hod-tar-1"

// Epoch is the time of what a build makes itself.
var Epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Timestamps says which times a packed layer has.
type Timestamps int

// Fixed gives everything the epoch; Clamp keeps times that are not after it; Source keeps the files' own.
const (
	Fixed Timestamps = iota
	Clamp
	Source
)

// PackOptions says how to pack.
type PackOptions struct {
	Epoch      time.Time // zero is Epoch
	Timestamps Timestamps
	// Keep says which entries keep their own time whatever Timestamps says: what came from an image or an archive.
	Keep func(Entry) bool
	// UserXattr reads overlay's marks as user.overlay.*.
	UserXattr bool
	// SingleID says that all files of the tree have one owner on disk: those that lie below keep theirs, the others
	// belong to root.
	SingleID bool
	// Stub says which paths something else was mounted on: a folder or an empty file there that is new counts as nothing.
	Stub func(path string) bool
	// Whole, if not nil, says that the folder is not an overlay's top but a changed copy of the whole chain: what it does
	// not have any more was deleted.
	Whole Stamps
}

// MarkTime is the time of the whiteouts in the tar.
func (o PackOptions) MarkTime() time.Time {
	if o.Epoch.IsZero() {
		return Epoch
	}
	return o.Epoch
}

func (o PackOptions) time(e Entry) time.Time {
	epoch := o.MarkTime()
	t := e.ModTime.Truncate(time.Second).UTC()
	switch {
	case e.ModTime.IsZero():
		return epoch
	case o.Timestamps == Source, o.Keep != nil && o.Keep(e):
		return t
	case o.Timestamps == Clamp && t.Before(epoch):
		return t
	}
	return epoch
}

// Writer makes the canonical tar: one form for each entry, whatever the host. Entries come in the order of ComparePaths.
type Writer struct {
	w     io.Writer
	o     PackOptions
	n     int64
	index Index
	buf   []byte
	err   error
}

// NewWriter starts a tar.
func NewWriter(w io.Writer, o PackOptions) *Writer {
	return &Writer{w: w, o: o, buf: make([]byte, 16<<10)}
}

// Expect makes room for that many entries.
func (p *Writer) Expect(n int) { p.index.Entries = slices.Grow(p.index.Entries, n) }

// longest is what the buffer grows to: a file that fits is written at once.
const longest = 256 << 10

// WriteEntry appends an entry. A regular file's content is exactly e.Size bytes; all others have none.
func (p *Writer) WriteEntry(e Entry, content io.Reader) error {
	if p.err != nil {
		return p.err
	}
	if err := p.entry(e, content); err != nil {
		p.err = fmt.Errorf("pack %q: %w", clip(e.Path), err)
	}
	return p.err
}

func (p *Writer) entry(e Entry, content io.Reader) error {
	if e.Path != "" {
		clean, err := cleanPath(e.Path, Limits{Path: 4096})
		if err != nil {
			return err
		}
		if clean != e.Path {
			return errors.New("path is not in its plain form")
		}
	}
	if n := len(p.index.Entries); n > 0 && ComparePaths(p.index.Entries[n-1].Path, e.Path) >= 0 {
		return fmt.Errorf("entries are not in order: it comes after %q", p.index.Entries[n-1].Path)
	}
	if !validID(e.UID) || !validID(e.GID) {
		return fmt.Errorf("owner %d:%d is out of range", e.UID, e.GID)
	}
	e.ModTime = p.o.time(e)
	if e.Type != tar.TypeReg {
		e.Size = 0
	}
	e.Offset, e.Digest = 0, Sum{}
	head, err := appendHeader(p.buf[:0], e)
	if err != nil {
		return err
	}
	switch {
	case e.Type != tar.TypeReg:
		err = p.write(head)
	case int64(len(head))+e.Size+512 <= longest:
		err = p.small(&e, head, content)
	default:
		if err = p.write(head); err == nil {
			err = p.content(&e, content)
		}
	}
	p.index.Entries = append(p.index.Entries, &e)
	return err
}

// small writes header and content, which fit into the buffer, at once.
func (p *Writer) small(e *Entry, head []byte, r io.Reader) error {
	end := len(head) + int(e.Size)
	if end+512 > len(p.buf) {
		p.buf = append(make([]byte, 0, longest), head...)[:longest]
	}
	body := p.buf[len(head):end]
	if e.Size > 0 {
		if r == nil {
			return errors.New("no content")
		}
		if n, err := io.ReadFull(r, body); err != nil {
			return ended(err, int64(n), e.Size)
		}
		e.Offset = p.n + int64(len(head))
	}
	e.Digest = sha256.Sum256(body)
	pad := int(padding(e.Size))
	clear(p.buf[end : end+pad])
	return p.write(p.buf[:end+pad])
}

func ended(err error, n, size int64) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("content ended after %d of %d bytes", n, size)
	}
	return err
}

func (p *Writer) content(e *Entry, r io.Reader) error {
	if e.Size > 0 {
		e.Offset = p.n
	}
	if len(p.buf) < longest {
		p.buf = make([]byte, longest)
	}
	sum := sha256.New()
	if e.Size > 0 {
		if r == nil {
			return errors.New("no content")
		}
		n, err := io.CopyBuffer(io.MultiWriter(plain{p}, sum), io.LimitReader(r, e.Size), p.buf)
		if err != nil {
			return err
		}
		if n != e.Size {
			return fmt.Errorf("content ended after %d of %d bytes", n, e.Size)
		}
	}
	e.Digest = Sum(sum.Sum(nil))
	return p.write(zeros[:padding(e.Size)])
}

type plain struct{ p *Writer }

func (w plain) Write(b []byte) (int, error) { return len(b), w.p.write(b) }

func (p *Writer) write(b []byte) error {
	n, err := p.w.Write(b)
	p.n += int64(n)
	return err
}

func padding(size int64) int64 { return -size & 511 }

// Close ends the tar and gives its index. A tar without entries is the empty layer: two blocks of zeros.
func (p *Writer) Close() (*Index, error) {
	if p.err != nil {
		return nil, p.err
	}
	if p.err = p.write(zeros[:1024]); p.err != nil {
		return nil, p.err
	}
	p.err = errors.New("the tar is closed")
	p.index.Size = p.n
	p.index.Entries, p.index.SelfContained = settleIndex(p.index.Entries)
	return &p.index, nil
}

// settleIndex turns the entries of a tar into those of an index, in place: whiteout names become whiteouts.
func settleIndex(entries []*Entry) ([]*Entry, bool) {
	self := true
	have := map[string]bool{"": true}
	links := slices.ContainsFunc(entries, func(e *Entry) bool { return e.Type == tar.TypeLink })
	out := entries[:0]
	opaque := map[string]bool{}
	for _, e := range entries {
		dir, base := split(e.Path)
		if !have[dir] {
			self = false
		}
		switch {
		case base == ".wh..wh..opq":
			opaque[dir] = true
			continue
		case len(base) > 4 && base[:4] == ".wh.":
			out = append(out, &Entry{Path: join(dir, base[4:]), Type: TypeWhiteout})
			continue
		}
		if links || !e.IsRegular() {
			have[e.Path] = true
		}
		if e.Type == tar.TypeLink && !have[e.Linkname] {
			self = false
		}
		out = append(out, e)
	}
	for i := range out {
		if out[i].IsDir() && opaque[out[i].Path] {
			out[i].Opaque = true
			delete(opaque, out[i].Path)
		}
	}
	for p := range opaque {
		out = append(out, &Entry{Path: p, Type: tar.TypeDir, Mode: 0o755, Opaque: true, Implied: true})
	}
	slices.SortFunc(out, byPath)
	return out, self
}

// appendHeader adds the bytes in front of an entry's content: a ustar header, behind a PAX one where ustar cannot say it
// all.
func appendHeader(to []byte, e Entry) ([]byte, error) {
	name := e.Path
	if name == "" {
		name = "./"
	} else if e.IsDir() {
		name += "/"
	}
	var pax []string
	record := func(k, v string) { pax = append(pax, paxRecord(k, v)) }
	if len(name) > 100 || !isASCII(name) {
		record("path", name)
	}
	if len(e.Linkname) > 100 || !isASCII(e.Linkname) {
		record("linkpath", e.Linkname)
	}
	number := func(key string, v, limit int64) int64 {
		if v >= 0 && v <= limit {
			return v
		}
		record(key, strconv.FormatInt(v, 10))
		return 0
	}
	h := fields{
		name: name, link: e.Linkname, mode: int64(e.Mode & 0o7777), kind: e.Type,
		uid: number("uid", int64(e.UID), 0o7777777), gid: number("gid", int64(e.GID), 0o7777777),
		size:  number("size", e.Size, 0o77777777777),
		mtime: number("mtime", e.ModTime.Unix(), 0o77777777777), major: e.Devmajor, minor: e.Devminor,
	}
	for k, v := range e.Xattrs {
		if !KeepXattr(k) {
			continue
		}
		if !validKey(k) {
			return nil, fmt.Errorf("extended attribute %q cannot be said in a tar", k)
		}
		record(xattrPrefix+k, v)
	}
	if len(pax) == 0 {
		return h.append(to), nil
	}
	slices.SortFunc(pax, func(a, b string) int { return compareRecords(a, b) })
	var body []byte
	for _, r := range pax {
		body = append(body, r...)
	}
	to = fields{name: "././@PaxHeader", mode: 0o644, kind: tar.TypeXHeader, size: int64(len(body))}.append(to)
	to = append(to, body...)
	to = append(to, zeros[:padding(int64(len(body)))]...)
	return h.append(to), nil
}
