package work

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// files is a tree like node_modules: 40 000 files in 5 000 folders, 105 MB.
var files = Work{
	Name: "w3", About: "40 000 small files copied", Base: "base", Changed: "tree/d0/changed",
	Write:  writeFiles,
	Recipe: func(base string, _ int) string { return fmt.Sprintf("FROM %s\nCOPY tree /tree\n", base) },
	Want:   func(dir string, _ int) (tree.Tree, error) { return tree.OfFolder(filepath.Join(dir, "tree"), "tree") },
}

func writeFiles(dir string, from Source) error {
	const perFolder = 8
	r := rand.New(rand.NewPCG(3, 3))
	text := prose(3, 1<<20)
	for d := range int(5000 * from.Scale) {
		folder := filepath.Join(dir, "tree", fmt.Sprintf("d%d", d%50), fmt.Sprintf("p%d", d))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for f := range perFolder {
			size := 200 + int(r.ExpFloat64()*2425)
			size = min(size, len(text)/2)
			from := r.IntN(len(text) - size)
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%d.js", f)), text[from:from+size], 0o644); err != nil {
				return err
			}
		}
	}
	return os.MkdirAll(filepath.Join(dir, "tree", "d0"), 0o755)
}

// big is one file of 512 MiB: half noise, three eighths text, the rest zeros.
var big = Work{
	Name: "w4", About: "one file of 512 MiB copied", Base: "base", Changed: "big",
	Write:  writeBig,
	Recipe: func(base string, _ int) string { return fmt.Sprintf("FROM %s\nCOPY big /big\n", base) },
	Want: func(dir string, _ int) (tree.Tree, error) {
		e, err := tree.OfFile(filepath.Join(dir, "big"))
		return tree.Tree{"big": e}, err
	},
}

func writeBig(dir string, from Source) (err error) {
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	text := prose(4, 4<<20)
	for i := range max(1, int(64*from.Scale)) { // eight MiB each
		if _, err := w.Write(noise(uint64(i), 4<<20)); err != nil {
			return err
		}
		at := (i * 65537) % (1 << 20)
		if _, err := w.Write(text[at : at+3<<20]); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	return w.Flush()
}
