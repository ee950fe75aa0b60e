package diff

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
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
		x := &Index{Entries: append([]Entry{}, rapid.SliceOfN(anyEntry(), 0, 5).Draw(t, "entries")...), SelfContained: rapid.Bool().Draw(t, "self"), Size: 7}
		x.sort()
		var b bytes.Buffer
		if err := x.Encode(&b); err != nil {
			t.Fatal(err)
		}
		like := Index{Entries: append([]Entry{}, x.Entries...), SelfContained: x.SelfContained, Size: x.Size}
		for i := range like.Entries {
			like.Entries[i].Raw = rawOf(&x.Entries[i])
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

// FuzzReadIndex: any text is read as encoding/json reads it, or is an error for both.
func FuzzReadIndex(f *testing.F) {
	for _, text := range []string{
		`{"entries":[{"path":"a","type":48,"mode":420,"uid":-1,"size":5,"mtime":"1980-01-01T00:00:00Z","digest":"sha256:x","offset":512},{"path":"b","type":53,"opaque":true}],"selfContained":true,"size":1024}` + "\n",
		`{"entries":[{"path":"","type":53},{"path":"\u00e4","type":48,"xattrs":{"user.a":"b"}},{"path":"c","type":50,"link":"d"}],"selfContained":false,"size":0}`,
		`{"entries":[{"path":"a","type":256}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","mode":-1}],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a","size":01}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","size":-0}],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a"},],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","Type":3}],"selfContained":true,"size":1}x`,
		`{"entries":[],"selfContained":true,"size":1}`, `{"entries":null,"selfContained":true,"size":1}`, `{"entries":[null],"selfContained":true,"size":1}`,
		`{"entries":[{"path":"a","mtime":""}],"selfContained":true,"size":1}`, `{"entries":[{"path":"a","mtime":"x"}],"selfContained":true,"size":1}`, `{"entries":[{,"path":"a"}],"selfContained":true,"size":1}`, "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want Index
		wantErr := json.Unmarshal([]byte(text), &want)
		got, err := parseIndex(text)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, and encoding/json says %v", err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, &want) {
			t.Fatalf("\n%+v\n%+v", got, &want)
		}
	})
}

func BenchmarkIndex(b *testing.B) {
	x := &Index{}
	for i := range 45000 {
		name := string([]byte{'a' + byte(i/17576%26), 'a' + byte(i/676%26), 'a' + byte(i/26%26), 'a' + byte(i%26)})
		x.Entries = append(x.Entries, Entry{Path: "tree/d12/p1234/" + name, Type: tar.TypeReg, Mode: 0o644, Size: 2600, ModTime: Epoch, Offset: int64(i) * 3000, Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"})
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
			var y Index
			if err := json.Unmarshal(out.Bytes(), &y); err != nil {
				b.Fatal(err)
			}
		}
	})
}
