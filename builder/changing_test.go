package builder

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/plan"
)

// TestContextChangesWhileItIsBuilt adds, removes and rewrites files of a context after a step began. Whatever that build
// says, the next one gives what an empty store gives: no record names a layer of other files than its key.
func TestContextChangesWhileItIsBuilt(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"added":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/c"), []byte("C"), 0o644) },
		"removed":      func(dir string) error { return os.Remove(filepath.Join(dir, "d/b")) },
		"rewritten":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "d/b"), []byte("2"), 0o644) },
		"another mode": func(dir string) error { return os.Chmod(filepath.Join(dir, "d/b"), 0o600) },
		"a folder": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "d/b")), os.Mkdir(filepath.Join(dir, "d/b"), 0o755))
		},
	} {
		for _, first := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, map[string]string{"a": "A", "d/a": "1", "d/b": "1", "Dockerfile": "FROM scratch\nCOPY a /a\nCOPY d /d\n"})
				text := "1"
				if !first { // else the operation has no records, and keys are made behind the layer
					w.must(Options{})
					text = "other"
					if err := os.WriteFile(filepath.Join(w.dir, "d/a"), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				_, err := w.build(Options{Events: func(e Event) {
					op, ok := e.Step.Op.(plan.Copy)
					if ok && e.Kind == "start" && op.Dest == "/d" {
						if err := change(w.dir); err != nil {
							t.Error(err)
						}
					}
				}})
				t.Log("the build while it changed:", err)
				w.likeEmpty("afterwards")
				if err := errors.Join(os.RemoveAll(filepath.Join(w.dir, "d")), os.Mkdir(filepath.Join(w.dir, "d"), 0o755),
					os.WriteFile(filepath.Join(w.dir, "d/a"), []byte(text), 0o644), os.WriteFile(filepath.Join(w.dir, "d/b"), []byte("1"), 0o644)); err != nil {
					t.Fatal(err)
				}
				w.likeEmpty("put back")
			})
		}
	}
}

// likeEmpty builds in this store and in an empty one.
func (w *world) likeEmpty(when string) {
	w.t.Helper()
	if got, want := w.list(Options{}), newWorld(w.t, nil).list(Options{Context: w.dir}); got != want {
		w.t.Errorf("%s it gives\n%s\nand an empty store\n%s", when, got, want)
	}
}

// TestProjectsKeepTheirDigests builds two projects in turn in one store: after the first round nothing is hashed, else
// the stat caches had been written anew.
func TestProjectsKeepTheirDigests(t *testing.T) {
	files := map[string]string{"a": "A", "Dockerfile": "FROM scratch\nCOPY a /a\n"}
	one, two := newWorld(t, files), newWorld(t, files)
	time.Sleep(2100 * time.Millisecond) // what was written just now is not trusted
	var before []os.FileInfo
	for range 3 {
		one.must(Options{})
		one.must(Options{Context: two.dir})
		var after []os.FileInfo
		for _, e := range must(os.ReadDir(filepath.Join(one.store.Root(), "contexts"))) {
			after = append(after, must(e.Info()))
		}
		if len(after) != 2 {
			t.Fatalf("%d stat caches of two contexts", len(after))
		}
		for i := range before {
			if !os.SameFile(before[i], after[i]) {
				t.Error("a project that did not change was hashed again")
			}
		}
		before = after
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
