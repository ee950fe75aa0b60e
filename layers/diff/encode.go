package diff

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// written is an index as JSON.
type written struct {
	Entries       []writtenEntry `json:"entries"`
	SelfContained bool           `json:"selfContained"`
	Size          int64          `json:"size"`
}

type writtenEntry struct {
	Entry
	Raw *raw `json:"raw,omitempty"`
}

// raw is names and attributes that are not UTF-8, as they are: JSON says text and nothing else.
type raw struct {
	Path, Link []byte
	Xattrs     [][2][]byte // names and values
}

// rawOf is what JSON cannot say of an entry, or nil.
func rawOf(e *Entry) *raw {
	text := utf8.ValidString(e.Path) && utf8.ValidString(e.Linkname)
	for k, v := range e.Xattrs {
		text = text && utf8.ValidString(k) && utf8.ValidString(v)
	}
	if text {
		return nil
	}
	r := &raw{Path: []byte(e.Path), Link: []byte(e.Linkname)}
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		r.Xattrs = append(r.Xattrs, [2][]byte{[]byte(k), []byte(e.Xattrs[k])})
	}
	return r
}

// entry is what was written, with the bytes that JSON could not say.
func (w *writtenEntry) entry() Entry {
	e, r := w.Entry, w.Raw
	if r == nil {
		return e
	}
	e.Path, e.Linkname, e.Xattrs = string(r.Path), string(r.Link), nil
	for _, x := range r.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[string(x[0])] = string(x[1])
	}
	return e
}

// Encode writes the index for ReadIndex: byte for byte what encoding/json would, in a tenth of the time.
func (x *Index) Encode(w io.Writer) error {
	e := encoder{w: w, b: make([]byte, 0, 64<<10)}
	e.text(`{"entries":`)
	if x.Entries == nil {
		e.text("null")
	} else {
		e.entries(x.Entries)
	}
	e.text(`,"selfContained":` + strconv.FormatBool(x.SelfContained) + `,"size":` + strconv.FormatInt(x.Size, 10) + "}\n")
	e.flush()
	if e.err != nil {
		return fmt.Errorf("write layer index: %w", e.err)
	}
	return nil
}

// encoder collects JSON and writes it in large pieces; after an error it does nothing.
type encoder struct {
	w   io.Writer
	b   []byte
	err error
}

func (e *encoder) text(s string) { e.b = append(e.b, s...) }

func (e *encoder) flush() {
	if e.err == nil {
		_, e.err = e.w.Write(e.b)
	}
	e.b = e.b[:0]
}

func (e *encoder) entries(list []*Entry) {
	e.text("[")
	for i := range list {
		if i > 0 {
			e.text(",")
		}
		e.entry(list[i])
		if len(e.b) > 60<<10 {
			e.flush()
		}
	}
	e.text("]")
}

// entry writes the fields in the order and with the omissions of Entry's tags.
func (e *encoder) entry(n *Entry) {
	e.text(`{"path":`)
	e.quoted(n.Path)
	e.text(`,"type":`)
	e.b = strconv.AppendUint(e.b, uint64(n.Type), 10)
	e.number(`,"mode":`, int64(n.Mode))
	e.number(`,"uid":`, int64(n.UID))
	e.number(`,"gid":`, int64(n.GID))
	e.number(`,"size":`, n.Size)
	if !n.ModTime.IsZero() {
		e.text(`,"mtime":"`)
		var err error
		if e.b, err = n.ModTime.AppendText(e.b); err != nil && e.err == nil {
			e.err = err
		}
		e.text(`"`)
	}
	e.string(`,"link":`, n.Linkname)
	e.number(`,"major":`, n.Devmajor)
	e.number(`,"minor":`, n.Devminor)
	if len(n.Xattrs) > 0 {
		e.text(`,"xattrs":`)
		e.any(n.Xattrs)
	}
	if n.Digest != (Sum{}) {
		e.text(`,"digest":"`)
		e.b, _ = n.Digest.AppendText(e.b)
		e.text(`"`)
	}
	e.number(`,"offset":`, n.Offset)
	if n.Opaque {
		e.text(`,"opaque":true`)
	}
	if n.Implied {
		e.text(`,"implied":true`)
	}
	if r := rawOf(n); r != nil {
		e.text(`,"raw":`)
		e.any(r)
	}
	e.text("}")
}

func (e *encoder) number(key string, v int64) {
	if v != 0 {
		e.b = strconv.AppendInt(append(e.b, key...), v, 10)
	}
}

func (e *encoder) string(key, s string) {
	if s != "" {
		e.text(key)
		e.quoted(s)
	}
}

// quoted writes a string; one with a character that JSON writes otherwise goes through encoding/json.
func (e *encoder) quoted(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			e.any(s)
			return
		}
	}
	e.b = append(append(append(e.b, '"'), s...), '"')
}

func (e *encoder) any(v any) {
	text, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	e.b = append(e.b, text...)
}
