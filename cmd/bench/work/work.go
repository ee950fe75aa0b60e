// Package work makes the inputs of the benchmarks, the same on every machine.
//
// A [Work] is a recipe and the files beside it. All bytes come from fixed seeds
// ([Noise], [Text]), so two runs, or two machines, build the same thing. One
// input of each work can be changed: [Work.Change] takes a number, and the same
// number gives the same change. [Work.Want] says what must be in the image, so
// that a fast tool that builds the wrong thing is not called fast.
//
//	w := work.All()[2]
//	w.Write(dir, work.Source{Scale: 1}) // 40 000 files
//	w.Change(dir, 7)   // one of them is another
//	want := w.Want(dir, 7)
package work

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// Work is a recipe with its inputs.
type Work struct {
	Name  string
	About string
	// Base is the image below it: base, debian or go.
	Base string
	// Write makes the inputs that never change.
	Write func(dir string, from Source) error
	// Recipe is the text of the Dockerfile; base is the image it begins with.
	Recipe func(base string, change int) string
	// Changed names the input that a change rewrites; empty: the recipe itself.
	Changed string
	// Want lists what the image must hold besides the files of its base.
	Want func(dir string, change int) (tree.Tree, error)
	// Partial: Want lists some of the files, and not all.
	Partial bool
	// Scratch: the image ends on nothing, and holds what Want lists alone.
	Scratch bool
	// Optional works run only when they are named.
	Optional bool
	// Mounts: the recipe has RUN --mount, which Docker's classic builder refuses.
	Mounts bool
}

// Source is what inputs are made from.
type Source struct {
	Scale float64 // 1 is the real size
	Cache string  // the folder of what was fetched: see Fetch
}

// All is every work, in the order of the report.
var all = []Work{one, runs, files, big, stages, debian, compile}

// All lists every work, in the order of the report.
func All() []Work { return append([]Work(nil), all...) }

// Change writes the recipe and the input that changes, for this number.
func (w Work) Change(dir, base string, change int) error {
	if w.Changed != "" {
		path := filepath.Join(dir, w.Changed)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(f, "change %012d\n", change); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(w.Recipe(base, change)), 0o644)
}

// text is a small file as RUN echo leaves it.
func text(s string) tree.Entry { return tree.File([]byte(s+"\n"), 0o644) }
