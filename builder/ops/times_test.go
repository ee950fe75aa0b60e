package ops

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// layerOf packs files, name and content in turn, all with the constant time.
func layerOf(t *testing.T, s *layers.Store, files ...string) digest.Digest {
	t.Helper()
	var index *diff.Index
	w, err := s.CreateLayer(layers.LayerOptions{Packed: diff.PackerVersion, SelfContained: true, Index: func() *diff.Index { return index }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pack := Packer{diff.NewWriter(w, diff.PackOptions{Timestamps: diff.Source})}
	for i := 0; i < len(files); i += 2 {
		e := source.Entry{Path: files[i], Type: '0', Mode: 0o644, Size: int64(len(files[i+1])), ModTime: Epoch}
		if err := pack.WriteEntry(e, "", bytes.NewReader([]byte(files[i+1]))); err != nil {
			t.Fatal(err)
		}
	}
	if index, err = pack.Writer.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := w.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return info.DiffID
}

// timesOf orders a chain, by a process of its own, and gives the times of files in the trees, lowest layer first.
func timesOf(t *testing.T, s *layers.Store, chain layers.Chain, names ...string) []time.Time {
	t.Helper()
	trees, err := s.Trees(context.Background(), chain)
	if err != nil {
		t.Fatal(err)
	}
	if err := NewTimes(s).Order(context.Background(), s, Chain{chain, trees, nil}, Epoch); err != nil {
		t.Fatal(err)
	}
	var out []time.Time
	for _, name := range names {
		for i := range trees {
			if st, err := os.Stat(filepath.Join(trees[i], name)); err == nil {
				out = append(out, st.ModTime())
				break
			}
		}
	}
	if len(out) != len(names) {
		t.Fatalf("found %d of %v", len(out), names)
	}
	return out
}

func TestTimesTellTheOrderOfChanges(t *testing.T) {
	s, err := layers.Open(t.TempDir(), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one, two := layerOf(t, s, "a", "first", "b", "same"), layerOf(t, s, "a", "other", "b", "same")
	first := timesOf(t, s, layers.Chain{one}, "a", "b")
	if first[0].Equal(Epoch) || !first[0].Equal(first[1]) {
		t.Fatalf("at first: %v", first)
	}
	if again := timesOf(t, s, layers.Chain{one}, "a", "b"); again[0] != first[0] || again[1] != first[1] {
		t.Errorf("nothing changed, but the times did: %v, %v", first, again)
	}
	second := timesOf(t, s, layers.Chain{two}, "a", "b")
	if !second[0].After(first[0]) {
		t.Errorf("a changed file is not newer: %v, %v", first[0], second[0])
	}
	if !second[1].Equal(first[1]) {
		t.Errorf("a file that did not change is newer: %v, %v", first[1], second[1])
	}
	back := timesOf(t, s, layers.Chain{one}, "a", "b")
	if !back[0].After(second[0]) || !back[1].Equal(first[1]) {
		t.Errorf("what came back is not newer: %v, %v", second, back)
	}
	third := layerOf(t, s, "c", "new")
	more := timesOf(t, s, layers.Chain{one, third}, "a", "c")
	if more[0] != back[0] || !more[1].After(back[0]) {
		t.Errorf("with a layer on top: %v, was %v", more, back)
	}
	hidden := timesOf(t, s, layers.Chain{one, two}, "a")
	if again := timesOf(t, s, layers.Chain{one, two}, "a"); again[0] != hidden[0] || !hidden[0].After(back[0]) {
		t.Errorf("a file that hides another: %v, then %v", hidden, again)
	}
}

func TestTimesOfATreeThatWasMadeAgain(t *testing.T) {
	s, err := layers.Open(t.TempDir(), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	chain := layers.Chain{layerOf(t, s, "dir/a", "text")}
	first := timesOf(t, s, chain, "dir/a")
	trees, _ := s.Trees(context.Background(), chain)
	if err := os.Remove(markOf(trees[0])); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(trees[0], "dir/a"), Epoch, Epoch); err != nil {
		t.Fatal(err)
	}
	if again := timesOf(t, s, chain, "dir/a"); again[0] != first[0] {
		t.Errorf("%v, was %v", again, first)
	}
	// A log that a killed process left half written is read as far as it is whole.
	log := filepath.Join(s.Root(), "filetimes")
	f, _ := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString("half")
	f.Close()
	if again := timesOf(t, s, append(chain, layerOf(t, s, "z", "z")), "dir/a"); again[0] != first[0] {
		t.Errorf("%v, was %v", again, first)
	}
	if st, _ := os.Stat(log); st.Size()%timesRecord != 0 {
		t.Errorf("the log has %d bytes", st.Size())
	}
}
