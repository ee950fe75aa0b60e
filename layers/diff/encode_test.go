package diff

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// anyEntry has any bytes where Linux takes any.
func anyEntry() *rapid.Generator[Entry] {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }))
	return rapid.Custom(func(t *rapid.T) Entry {
		e := Entry{
			Path: text.Draw(t, "path"), Linkname: text.Draw(t, "link"), Type: rapid.SampledFrom([]byte{tar.TypeReg, tar.TypeDir, TypeWhiteout}).Draw(t, "type"),
			Mode: rapid.Uint32().Draw(t, "mode"), UID: rapid.Int().Draw(t, "uid"), Size: rapid.Int64().Draw(t, "size"), Devminor: rapid.Int64().Draw(t, "minor"),
			Opaque: rapid.Bool().Draw(t, "opaque"), Implied: rapid.Bool().Draw(t, "implied"), Xattrs: rapid.MapOfN(text, text, 0, 2).Draw(t, "xattrs"),
		}
		if rapid.Bool().Draw(t, "known") {
			e.Digest = Sum(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
		}
		if len(e.Xattrs) == 0 {
			e.Xattrs = nil
		}
		if rapid.Bool().Draw(t, "timed") {
			e.ModTime = time.Unix(rapid.Int64Range(-1<<33, 1<<37).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec")).UTC()
		}
		return e
	})
}

// TestIndexKeepsBytes: an index is read as it was written, names and attributes that are not text too, and is the JSON that
// encoding/json would write.
func TestIndexKeepsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &Index{Entries: []*Entry{}, SelfContained: rapid.Bool().Draw(t, "self"), Size: 7}
		for _, e := range rapid.SliceOfN(anyEntry(), 0, 5).Draw(t, "entries") {
			x.Entries = append(x.Entries, &e)
		}
		x.sort()
		var b bytes.Buffer
		if err := x.Encode(&b); err != nil {
			t.Fatal(err)
		}
		like := written{Entries: []writtenEntry{}, SelfContained: x.SelfContained, Size: x.Size}
		for _, e := range x.Entries {
			like.Entries = append(like.Entries, writtenEntry{*e, rawOf(e)})
		}
		if want, err := json.Marshal(like); err != nil || string(want)+"\n" != b.String() {
			t.Fatalf("%v\n%s\n%s", err, want, b.Bytes())
		}
		got, err := ReadIndex(&b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, x) {
			t.Fatalf("\n%+v\n%+v", got, x)
		}
	})
}

// TestIndexInPieces: an index is read the same wherever the pieces end that its text comes in, and one that is cut off is not.
func TestIndexInPieces(t *testing.T) {
	x := &Index{SelfContained: true, Size: 512}
	for i := range 3000 { // some pieces long
		e := &Entry{Path: fmt.Sprintf("%05d/%s", i, strings.Repeat("a", i%97)), Type: tar.TypeReg, Size: int64(i), ModTime: Epoch.Add(time.Duration(i%3) * time.Hour), Digest: sha256.Sum256([]byte{byte(i)})}
		if i%500 == 7 {
			e.Path += "ä\xff" + strings.Repeat("/long", 6000)
		}
		x.Entries = append(x.Entries, e)
	}
	var b bytes.Buffer
	if err := x.Encode(&b); err != nil {
		t.Fatal(err)
	}
	for _, r := range []io.Reader{bytes.NewReader(b.Bytes()), iotest.HalfReader(bytes.NewReader(b.Bytes())), iotest.DataErrReader(bytes.NewReader(b.Bytes()))} {
		got, err := ReadIndex(r)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, x) {
			t.Fatal("it is not what was written")
		}
	}
	for n := 0; n < b.Len()-2; n += 1 + n/50 {
		if _, err := ReadIndex(bytes.NewReader(b.Bytes()[:n])); err == nil {
			t.Fatalf("%d bytes of %d are taken for an index", n, b.Len())
		}
	}
	if _, err := ReadIndex(io.MultiReader(bytes.NewReader(b.Bytes()[:b.Len()/2]), iotest.ErrReader(syscall.EIO))); !errors.Is(err, syscall.EIO) {
		t.Fatalf("of a bad disk it says %v", err)
	}
}

// FuzzReadIndex: what is read of any text is what encoding/json reads of it.
func FuzzReadIndex(f *testing.F) {
	for _, text := range []string{
		`{"entries":[{"path":"a","type":48,"mode":420,"uid":-1,"size":5,"mtime":"1980-01-01T00:00:00Z","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","offset":512},{"path":"b","type":53,"opaque":true}],"selfContained":true,"size":1024}` + "\n",
		`{"entries":[{"path":"","type":53},{"path":"\u00e4","type":48,"xattrs":{"user.a":"b"}},{"path":"c","type":50,"link":"d"}],"selfContained":false,"size":0}`,
		`{"entries":[{"path":"a","type":256}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","mode":-1}],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a","size":01}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","size":-0}],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a"},],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","Type":3}],"selfContained":true,"size":1}x`,
		`{"entries":[{"path":"a","digest":"sha256:x"}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","digest":""}],"selfContained":true,"size":1}`,
		`{"entries":[],"selfContained":true,"size":1}`, `{"entries":null,"selfContained":true,"size":1}`, `{"entries":[null],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a","mtime":""}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","mtime":"x"}],"selfContained":true,"size":1}`, `{"entries":[{,"path":"a"}],"selfContained":true,"size":1}`, "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseIndex(strings.NewReader(text))
		if err != nil {
			return
		}
		var w written
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			t.Fatalf("encoding/json says %v", err)
		}
		want := &Index{SelfContained: w.SelfContained, Size: w.Size}
		if w.Entries != nil {
			want.Entries = []*Entry{}
		}
		for i := range w.Entries {
			e := w.Entries[i].entry()
			want.Entries = append(want.Entries, &e)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("\n%+v\n%+v", got, want)
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	x := &Index{}
	for i := range 45000 {
		name := string([]byte{'a' + byte(i/17576%26), 'a' + byte(i/676%26), 'a' + byte(i/26%26), 'a' + byte(i%26)})
		x.Entries = append(x.Entries, &Entry{Path: "tree/d12/p1234/" + name, Type: tar.TypeReg, Mode: 0o644, Size: 2600, ModTime: Epoch, Offset: int64(i) * 3000, Digest: sha256.Sum256([]byte(name))})
	}
	var out bytes.Buffer
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			out.Reset()
			if err := x.Encode(&out); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadIndex(bytes.NewReader(out.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			var y written
			if err := json.Unmarshal(out.Bytes(), &y); err != nil {
				b.Fatal(err)
			}
		}
	})
}
