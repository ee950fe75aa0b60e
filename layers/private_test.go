package layers

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// While a layer comes in, what there is of it lies in folders that nobody else can enter or guess (U3).
func TestUnpackingIsPrivate(t *testing.T) {
	needRoot(t)
	s := testStore(t)
	data := tarOf(t, "a", "b", "c")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.IngestStream(context.Background(), r, digest.FromBytes(data))
		done <- err
	}()
	if _, err := w.Write(data[:1024]); err != nil {
		t.Fatal(err)
	}
	var found []os.DirEntry
	for range 200 {
		if found, _ = os.ReadDir(s.path("tmp")); len(found) >= 3 { // blob, layer, tree
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if len(found) < 3 {
		t.Fatalf("in tmp there are %v", found)
	}
	for _, e := range found {
		st, err := e.Info()
		if err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: %v", e.Name(), st.Mode(), err)
		}
		if _, random, _ := strings.Cut(e.Name(), "."); len(random) < 16 {
			t.Errorf("the name %q can be guessed", e.Name())
		}
	}
	if st, err := os.Stat(filepath.Dir(s.path("tmp"))); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the store has mode %v: %v", st.Mode(), err)
	}
	if _, err := w.Write(data[1024:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
