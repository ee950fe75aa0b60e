package layers

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers/diff"
)

// A source that is new to the store is newer than what was made before, though
// its layer has the constant time; times that came with it stay.
func TestTreeTimesOrder(t *testing.T) {
	needRoot(t)
	ctx, s := context.Background(), testStore(t)
	made := filepath.Join(t.TempDir(), "made")
	if err := os.WriteFile(made, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // more than the clock of file times moves at once
	ours := testLayerOf(t, s, emptyTar("source"))
	theirs := testLayerOf(t, s, tarOf(t, "old=1"))
	see := func(chain Chain, name string) time.Time {
		path, err := s.treeOf(ctx, chain, 0, chain[:1].ID())
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		return st.ModTime()
	}
	before, err := os.Stat(made)
	if err != nil {
		t.Fatal(err)
	}
	if at := see(Chain{ours}, "source"); !at.After(before.ModTime()) {
		t.Fatalf("a new source has %v, what was made before it %v", at, before.ModTime())
	}
	if at := see(Chain{theirs}, "old"); !at.Equal(time.Unix(1e9, 0)) {
		t.Fatalf("a time of its own became %v", at)
	}
	x, err := s.Index(ctx, ours)
	if err != nil || !x.Entries[0].ModTime.Equal(diff.Epoch) {
		t.Fatalf("%+v, %v", x, err)
	}
}
