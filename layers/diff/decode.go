package diff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ReadIndex reads what Encode wrote, piece by piece: what it holds in memory is the index and never its text.
func ReadIndex(r io.Reader) (*Index, error) {
	x, err := parseIndex(r)
	if err != nil {
		return nil, fmt.Errorf("read layer index: %w", err)
	}
	if !slices.IsSortedFunc(x.Entries, byPath) {
		return nil, errors.New("read layer index: entries are not sorted")
	}
	return x, nil
}

// parseIndex reads as encoding/json does, in a tenth of the time, and takes an index only in the form that Encode gives it.
func parseIndex(r io.Reader) (*Index, error) {
	x, p := &Index{}, parser{r: r}
	if p.index(x) {
		return x, nil
	}
	if p.err == nil || p.err == io.EOF {
		return nil, fmt.Errorf("no index, or one that is cut off, after %d entries", len(x.Entries))
	}
	return nil, p.err
}

// parser reads JSON in the form that Encode gives to nearly every entry: without spaces, escapes, letters beyond ASCII and
// fractions. An entry that is not so is for encoding/json to read or to refuse.
type parser struct {
	r     io.Reader
	s     string // a piece of the text
	at    int    // what was read of it
	err   error  // that r ended with
	block []Entry
	names names
	time  string // that was read last, since most files of a layer have the same
	when  time.Time
}

const (
	pieceSize = 256 << 10
	ahead     = 16 << 10 // more than nearly every entry needs
)

// look reads on where the rest of the piece may be too short for an entry.
func (p *parser) look() {
	if p.err != nil || len(p.s)-p.at >= ahead {
		return
	}
	var piece strings.Builder
	piece.Grow(len(p.s) - p.at + pieceSize)
	piece.WriteString(p.s[p.at:])
	if _, err := io.CopyN(&piece, p.r, pieceSize); err != nil {
		p.err = err
	}
	p.s, p.at = piece.String(), 0
}

func (p *parser) skip(text string) bool {
	if !strings.HasPrefix(p.s[p.at:], text) {
		return false
	}
	p.at += len(text)
	return true
}

func (p *parser) index(x *Index) bool {
	p.look()
	if !p.skip(`{"entries":`) {
		return false
	}
	if !p.skip("null") && !p.list(x) {
		return false
	}
	p.look()
	return p.skip(`,"selfContained":`) && p.boolean(&x.SelfContained) && p.skip(`,"size":`) && p.number(&x.Size) &&
		p.skip("}") && strings.TrimSpace(p.s[p.at:]) == "" && p.err == io.EOF
}

func (p *parser) list(x *Index) bool {
	x.Entries = []*Entry{}
	if p.skip("[]") {
		return true
	}
	for more := p.skip("["); more; more = p.skip(",") {
		p.look()
		e := p.room(len(x.Entries))
		if at := p.at; !p.entry(e) && !p.other(at, e) {
			return false
		}
		x.Entries = append(x.Entries, e)
		p.look()
	}
	return p.skip("]")
}

// room is memory for one more entry.
func (p *parser) room(n int) *Entry {
	if len(p.block) == cap(p.block) {
		p.block = make([]Entry, 0, min(max(n, 8), 256))
	}
	p.block = append(p.block, Entry{})
	return &p.block[len(p.block)-1]
}

// other reads an entry at a place as encoding/json does.
func (p *parser) other(at int, e *Entry) bool {
	var w writtenEntry
	piece := strings.NewReader(p.s[at:])
	d := json.NewDecoder(io.MultiReader(piece, p.r))
	if err := d.Decode(&w); err != nil {
		p.err = fmt.Errorf("an entry: %w", err)
		return false
	}
	var rest strings.Builder // what it read too far, and did not read
	_, _ = io.Copy(&rest, io.MultiReader(d.Buffered(), piece))
	p.s, p.at, *e = rest.String(), 0, w.entry()
	return true
}

func (p *parser) entry(e *Entry) bool {
	for sep := "{"; p.skip(sep); sep = "," {
		var key string
		if !p.text(&key) || !p.skip(":") || !p.field(e, key) {
			return false
		}
	}
	if e.Path == "" || !p.skip("}") {
		return false
	}
	e.Path, e.Linkname = p.names.keep(e.Path), p.names.keep(e.Linkname)
	return true
}

// field reads the value of a key.
func (p *parser) field(e *Entry, key string) bool {
	var s string
	var n int64
	ok := false
	switch key {
	case "path":
		return p.text(&e.Path)
	case "type":
		ok = p.number(&n) && n >= 0 && n <= 1<<8-1
		e.Type = byte(n)
	case "mode":
		ok = p.number(&n) && n >= 0 && n <= 1<<32-1
		e.Mode = uint32(n)
	case "uid":
		ok = p.number(&n)
		e.UID = int(n)
	case "gid":
		ok = p.number(&n)
		e.GID = int(n)
	case "size":
		return p.number(&e.Size)
	case "mtime":
		if ok = p.text(&s) && s != ""; ok && s != p.time {
			p.time, ok = s, p.when.UnmarshalText([]byte(s)) == nil
		}
		e.ModTime = p.when
	case "link":
		return p.text(&e.Linkname)
	case "digest":
		ok = p.text(&s) && e.Digest.parse(s)
	case "offset":
		return p.number(&e.Offset)
	case "opaque":
		return p.boolean(&e.Opaque)
	case "implied":
		return p.boolean(&e.Implied)
	}
	return ok
}

// text reads a string that stands for itself. It is a part of the piece, which lives as long as that.
func (p *parser) text(to *string) bool {
	if !p.skip(`"`) {
		return false
	}
	for i := p.at; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			*to = p.s[p.at:i]
			p.at = i + 1
			return true
		case c == '\\' || c < ' ' || c > '~':
			return false
		}
	}
	return false
}

func (p *parser) boolean(to *bool) bool {
	*to = p.skip("true")
	return *to || p.skip("false")
}

// number reads a whole number as JSON writes it: no plus, no zero in front.
func (p *parser) number(to *int64) bool {
	end := p.at
	for end < len(p.s) && (p.s[end] == '-' || p.s[end] >= '0' && p.s[end] <= '9') {
		end++
	}
	digits := p.s[p.at:end]
	n, err := strconv.ParseInt(digits, 10, 64)
	if first := strings.TrimPrefix(digits, "-"); err != nil || len(first) > 1 && first[0] == '0' {
		return false
	}
	*to, p.at = n, end
	return true
}

// parse is UnmarshalText without memory of its own.
func (s *Sum) parse(text string) bool {
	var b [len(sumPrefix) + 2*len(Sum{})]byte
	if copy(b[:], text) != len(text) || len(text) != len(b) {
		return false
	}
	return s.UnmarshalText(b[:]) == nil
}

// names keeps short strings together, in few pieces of memory.
type names struct{ b *strings.Builder }

func (n *names) keep(s string) string {
	if s == "" {
		return ""
	}
	if n.b == nil || n.b.Cap()-n.b.Len() < len(s) {
		size := 512
		if n.b != nil {
			size = min(2*n.b.Cap(), 64<<10)
		}
		n.b = &strings.Builder{}
		n.b.Grow(max(size, len(s)))
	}
	at := n.b.Len()
	n.b.WriteString(s)
	return n.b.String()[at:]
}
