package layers

import (
	"errors"
	"os"
	"testing"
)

// TestCollectForgetsContexts holds that what builds know of local files goes with the cache, and with nothing else.
func TestCollectForgetsContexts(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	file := s.path("contexts", "1-2")
	if err := errors.Join(os.Mkdir(s.path("contexts"), 0o700), os.WriteFile(file, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    CollectOptions
		left bool
	}{{CollectOptions{All: true}, true}, {CollectOptions{Cache: true, DryRun: true}, true}, {CollectOptions{Cache: true}, false}} {
		if _, err := s.Collect(t.Context(), c.o); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(file); (err == nil) != c.left {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}
