package work

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// debianRoot and fileTree are packed as they are, into an image of nothing else.
var debianRoot = packed("p1", "a Debian root packed", func(dir string, from Source) error {
	root := filepath.Join(dir, "tree")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	// All is root's, as COPY makes it, no file has two names and none is setuid: tools differ in what they make of those.
	script := `tar -C "$1" --no-same-owner -p -xf "$0"; find "$1" -type f -links +1 | while IFS= read -r f; do cp -p "$f" "$f.copy"; mv -f "$f.copy" "$f"; done; find "$1" -perm /7000 ! -type l -exec chmod u-s,g-s,-t {} +`
	if out, err := exec.Command("sh", "-ec", script, filepath.Join(from.Cache, "debian.tar"), root).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack a Debian root: %w: %s", err, out)
	}
	return nil
})

var fileTree = packed("p2", "40 000 small files packed", writeFiles)

// Packs are the works that are only packed.
func Packs() []Work { return []Work{debianRoot, fileTree} }

// packed is the work of copying a tree, and nothing else, into an image.
func packed(name, about string, write func(dir string, from Source) error) Work {
	return Work{
		Name: name, About: about, Base: "base", Scratch: true, Changed: "tree/changed", Write: write,
		Recipe: func(string, int) string { return "FROM scratch\nCOPY tree /\n" },
		Want: func(dir string, _ int) (tree.Tree, error) {
			return tree.OfFolder(filepath.Join(dir, "tree"), "")
		},
	}
}
