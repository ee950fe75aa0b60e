package cache

import (
	"context"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// shelf is the contract of a store's records, kept in memory.
type shelf map[digest.Digest]map[digest.Digest][]byte

func (s shelf) Record(op, key digest.Digest) ([]byte, error) {
	if d, ok := s[op][key]; ok {
		return d, nil
	}
	return nil, fs.ErrNotExist
}

func (s shelf) PutRecord(_ context.Context, op, key digest.Digest, data []byte, _ []digest.Digest) error {
	if s[op] == nil {
		s[op] = map[digest.Digest][]byte{}
	}
	s[op][key] = data
	return nil
}

func (s shelf) RecordKeys(op digest.Digest) ([]digest.Digest, error) {
	var keys []digest.Digest
	for k := range s[op] {
		keys = append(keys, k)
	}
	return keys, nil
}

func (s shelf) Records() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, of := range s {
			for _, data := range of {
				if !yield(data) {
					return
				}
			}
		}
	}
}

func TestKeysAreFramed(t *testing.T) {
	if Operation("a", "b") == Operation("ab") || Operation("a", "") == Operation("a") {
		t.Error("two lists of parts have one digest")
	}
	op := Operation("x")
	a := Key(op, []Input{{Name: "n", Digest: "d"}})
	for _, other := range [][]Input{nil, {{Name: "nd"}}, {{Name: "n", Digest: "e"}}, {{Name: "m", Digest: "d"}}} {
		if Key(op, other) == a {
			t.Errorf("%v has the same key", other)
		}
	}
}

func TestFindUnderBothKeys(t *testing.T) {
	c := &Cache{Store: shelf{}}
	op, layer := Operation("RUN", "make"), digest.FromString("layer")
	fast, content := Key(op, []Input{Text("a", "1")}), Key(op, []Input{Text("b", "2")})
	if err := c.Save(context.Background(), op, Record{Layer: layer}, fast, content); err != nil {
		t.Fatal(err)
	}
	for _, key := range []digest.Digest{fast, content} {
		if r, err := c.Find(op, key); err != nil || r == nil || r.Layer != layer {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if r, err := c.Find(op, Key(op, nil)); r != nil || err != nil {
		t.Errorf("found %+v, %v", r, err)
	}
}

func TestExplain(t *testing.T) {
	s := shelf{}
	c := &Cache{Store: s}
	op := Operation("RUN", "make")
	was := []Input{Text("ARG VERSION", "1.2"), Text("ARG API_TOKEN", "hunter2"), {Name: "src/main.go", Digest: "sha256:a"}, {Name: "old.go"}}
	if err := c.Save(context.Background(), op, Record{Inputs: was}, Key(op, was)); err != nil {
		t.Fatal(err)
	}
	now := []Input{Text("ARG VERSION", "1.3"), Text("ARG API_TOKEN", "hunter3"), {Name: "src/main.go", Digest: "sha256:b"}, {Name: "new.go"}}
	got, err := c.Explain(op, "run", now, nil)
	want := "ARG VERSION 1.2 -> 1.3|ARG API_TOKEN changed|src/main.go changed|new.go is new|old.go is gone"
	if err != nil || strings.Join(got, "|") != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, data := range s[op] {
		if strings.Contains(string(data), "hunter2") {
			t.Error("a secret lies in the record")
		}
	}
	if got, _ := c.Explain(Operation("other"), "run", now, nil); len(got) != 1 || got[0] != "it never ran before" {
		t.Errorf("got %v", got)
	}
}

func TestExplainOfImported(t *testing.T) {
	c, op := &Cache{Store: shelf{}}, Operation("RUN", "make")
	now := []Input{Text("ARG VERSION", "1.3")}
	im := &Imported{records: map[[2]digest.Digest]Record{{op, Key(op, nil)}: {}}}
	want := []string{"it never ran here, and the imported cache has it with other inputs, which it does not name"}
	if got, err := c.Explain(op, "run", now, []*Imported{im}); err != nil || !slices.Equal(got, want) {
		t.Errorf("not here: %q, %v", got, err)
	}
	if err := c.Save(context.Background(), op, Record{}, Key(op, nil)); err != nil { // one that was taken over
		t.Fatal(err)
	}
	if got, err := c.Explain(op, "run", now, nil); err != nil || !slices.Equal(got, want) {
		t.Errorf("here: %q, %v", got, err)
	}
}

func TestExplainNamesWhatStoodThere(t *testing.T) {
	c := &Cache{Store: shelf{}}
	ground := []Input{{Name: Below, Digest: "sha256:a"}}
	for i, step := range []string{"RUN one", "RUN two", "COPY x /", "RUN elsewhere"} {
		op, kind := Operation(step), strings.ToLower(step[:3])
		in := ground
		if i == 3 {
			in = []Input{{Name: Below, Digest: "sha256:b"}}
		}
		r := Record{Kind: kind, Step: step, Inputs: in, Made: time.Unix(int64(i), 0)}
		if err := c.Save(context.Background(), op, r, Key(op, in)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Explain(Operation("RUN three"), "run", ground, nil)
	if want := "the instruction changed, it was: RUN two"; err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %v, %v", got, err)
	}
}
