package hod_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hodbuild/hod"

// doors says which doors each folder may enter. What is not listed is refused.
var doors = map[string][]string{
	"cmd":      {"builder", "layers", "registry", "runner"},
	"builder":  {"layers", "runner"},
	"registry": {"layers"},
	"runner":   {"layers"},
	"layers":   {},
	"examples": {},
}

// open are the rooms that other folders may enter.
var open = []string{
	"layers/archive", "layers/rootfs", "layers/userns", "layers/lockfile", "registry/server", "runner/bundle",
	// Their types are part of the layers door's own signatures.
	"layers/compress", "layers/diff", "layers/snapshot",
}

// fences say which of our packages may import a module from elsewhere.
var fences = []struct {
	prefix string
	only   []string
}{
	{"github.com/moby/buildkit", []string{"builder/dockerfile"}},
	{"github.com/google/go-containerregistry/pkg/v1/remote", []string{"registry", "registry/transfer", "registry/auth"}},
	{"github.com/google/go-containerregistry/pkg/authn", []string{"registry", "registry/transfer", "registry/auth"}},
	{"github.com/pelletier/go-toml", []string{"registry"}},
	{"github.com/urfave/cli", []string{"cmd/hod"}},
	{"github.com/clipperhouse/displaywidth", []string{"cmd/hod/progress"}},
	{"github.com/moby/patternmatcher", []string{"builder/source", "builder/ops"}},
	{"github.com/moby/profiles", []string{"runner/seccomp"}},
	{"github.com/vishvananda/netlink", []string{"runner/network"}},
	{"github.com/google/nftables", []string{"runner/network"}},
	{"github.com/klauspost", []string{"layers/compress", "builder/source", "cmd/conformance/corpus"}},
	{"github.com/ulikunitz/xz", []string{"layers/compress", "builder/source", "cmd/conformance/corpus"}},
	{"golang.org/x/crypto/bcrypt", []string{"registry/server"}},
	{"golang.org/x/crypto/ssh", []string{"builder/source"}},
	{"github.com/rogpeppe/go-internal", []string{"cmd/conformance/corpus"}},
}

// imageless rooms know nothing of images: no image library may be in them.
var imageless = []string{"runner", "layers/rootfs", "layers/diff", "layers/lockfile"}

type listedPackage struct {
	ImportPath string
	Imports    []string
}

// TestFloors holds who may import whom (ARCHITECTURE.md).
func TestFloors(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if ours {
				checkFloor(t, from, to)
			} else {
				checkFence(t, from, imported)
			}
		}
	}
}

func checkFloor(t *testing.T, from, to string) {
	fromDoor, toDoor := first(from), first(to)
	switch {
	case fromDoor == toDoor && from != to && to == toDoor && fromDoor != "cmd":
		t.Errorf("%s imports its own door", from)
	case fromDoor == toDoor:
	case !slices.Contains(doors[fromDoor], toDoor):
		t.Errorf("%s imports %s: %s may enter only %v", from, to, fromDoor, doors[fromDoor])
	case to != toDoor && !slices.Contains(open, to):
		t.Errorf("%s imports %s, a room that is not open to others", from, to)
	}
}

func checkFence(t *testing.T, from, imported string) {
	for _, f := range fences {
		if inside(imported, f.prefix) && !slices.Contains(f.only, from) {
			t.Errorf("%s imports %s, which is only for %v", from, imported, f.only)
		}
	}
	if inside(imported, "github.com/google/go-containerregistry") &&
		slices.ContainsFunc(imageless, func(room string) bool { return inside(from, room) }) {
		t.Errorf("%s imports %s: it is to know nothing of images", from, imported)
	}
}

// TestDependenciesHaveReasons holds that ARCHITECTURE.md gives a reason for each
// module that go.mod asks for by itself, and for no other.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## 9. Dependencies\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var direct []string
	for l := range strings.Lines(string(mod)) {
		f := strings.Fields(l)
		if len(f) == 2 && strings.Contains(f[0], ".") {
			direct = append(direct, f[0])
			if !strings.Contains(table, f[0]) {
				t.Errorf("%s has no reason in ARCHITECTURE.md", f[0])
			}
		}
	}
	for _, m := range regexp.MustCompile(`[a-z.]+\.[a-z]+/[a-z0-9./-]*[a-z0-9]`).FindAllString(table, -1) {
		if len(direct) == 0 || strings.HasSuffix(m, ".go") || slices.Contains(direct, m) {
			continue
		}
		t.Errorf("ARCHITECTURE.md gives a reason for %s, which go.mod does not ask for", m)
	}
}

// TestFloorsAreHeld shows that each kind of breach is seen.
func TestFloorsAreHeld(t *testing.T) {
	for _, row := range []struct{ from, to string }{
		{"registry", "runner"}, {"builder", "registry"}, {"layers", "builder"},
		{"layers/diff", "layers"}, {"builder", "runner/sandbox"}, {"cmd/hod", "builder/plan"},
	} {
		if !breached(func(t *testing.T) { checkFloor(t, row.from, row.to) }) {
			t.Errorf("%s may import %s", row.from, row.to)
		}
	}
	for _, row := range []struct{ from, to string }{
		{"builder", "github.com/moby/buildkit/frontend/dockerfile/parser"},
		{"layers", "github.com/urfave/cli/v2"},
		{"runner/sandbox", "github.com/google/go-containerregistry/pkg/name"},
	} {
		if !breached(func(t *testing.T) { checkFence(t, row.from, row.to) }) {
			t.Errorf("%s may import %s", row.from, row.to)
		}
	}
}

// breached runs a check on a test of its own and tells whether it failed.
func breached(check func(*testing.T)) bool {
	var probe testing.T
	check(&probe)
	return probe.Failed()
}

func packages(t *testing.T) []listedPackage {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "-tags", "urfave_cli_no_docs", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func first(p string) string {
	for path.Dir(p) != "." {
		p = path.Dir(p)
	}
	return p
}

func inside(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }
