package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// storeImages finds images in a store only.
type storeImages struct{ s *layers.Store }

func (i storeImages) Resolve(_ context.Context, name string, p ocispec.Platform, _ bool) (*plan.BaseImage, error) {
	img, err := i.s.Resolve(name, &p)
	if err != nil {
		return nil, err
	}
	return &plan.BaseImage{Name: name, Digest: img.ID, Config: img.Config, Chain: img.Chain}, nil
}

func (storeImages) Fetch(context.Context, *plan.BaseImage) error { return nil }

func (storeImages) Origins(*plan.BaseImage) []layers.Origin { return nil }

// world is a store and a context folder.
type world struct {
	t     *testing.T
	store *layers.Store
	dir   string
}

func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	s, err := layers.Open(t.TempDir(), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t, s, t.TempDir()}
	for name, text := range files {
		p := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) build(o Options) (*Result, error) {
	w.t.Helper()
	o.Store, o.Images = w.store, storeImages{w.store}
	if o.Context == "" {
		o.Context = w.dir
	}
	return Build(w.t.Context(), o)
}

func (w *world) must(o Options) *Result {
	w.t.Helper()
	res, err := w.build(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// list builds into a tar and returns name, mode, owner and content of every entry.
func (w *world) list(o Options) string {
	w.t.Helper()
	var b bytes.Buffer
	o.Outputs = []Output{{Type: "tar", Dest: "-", Stdout: &b}}
	w.must(o)
	var out []string
	tr := tar.NewReader(&b)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "\n")
		}
		if err != nil {
			w.t.Fatal(err)
		}
		text, _ := io.ReadAll(tr)
		line := strings.Join([]string{h.Name, strconv.FormatInt(h.Mode, 8), strconv.Itoa(h.Uid) + ":" + strconv.Itoa(h.Gid), h.Linkname + string(text)}, " ")
		out = append(out, strings.TrimSpace(line))
	}
}

func TestBuildFiles(t *testing.T) {
	for _, c := range []struct {
		name, recipe, want string
		files              map[string]string
	}{
		{name: "copy", recipe: "FROM scratch\nCOPY a /x/b\n", files: map[string]string{"a": "A"}, want: "x/ 755 0:0\nx/b 644 0:0 A"},
		{name: "copy folder's contents", recipe: "FROM scratch\nCOPY d /x\n", files: map[string]string{"d/f": "F"}, want: "x/ 755 0:0\nx/f 644 0:0 F"},
		{name: "chown and chmod", recipe: "FROM scratch\nCOPY --chown=1:2 --chmod=600 a /b\n", files: map[string]string{"a": "A"}, want: "b 600 1:2 A"},
		{name: "symbolic chmod", recipe: "FROM scratch\nCOPY --chmod=u+x,go= a /b\n", files: map[string]string{"a": "A"}, want: "b 700 0:0 A"},
		{name: "heredoc expands", recipe: "FROM scratch\nENV V=1\nCOPY <<E /e\nv=$V\nE\n", want: "e 644 0:0 v=1"},
		{name: "quoted heredoc does not", recipe: "FROM scratch\nENV V=1\nCOPY <<'E' /e\nv=$V\nE\n", want: "e 644 0:0 v=$V"},
		{name: "workdir", recipe: "FROM scratch\nUSER 5\nWORKDIR /w/x\nCOPY a b\n", files: map[string]string{"a": "A"}, want: "w/ 755 5:5\nw/x/ 755 5:5\nw/x/b 644 0:0 A"},
		{name: "parents", recipe: "FROM scratch\nCOPY --parents p/./q/*.c /o/\n", files: map[string]string{"p/q/a.c": "A", "p/q/b.h": "B"}, want: "o/ 755 0:0\no/q/ 755 0:0\no/q/a.c 644 0:0 A"},
		{name: "exclude", recipe: "FROM scratch\nCOPY --exclude=*.key d /o/\n", files: map[string]string{"d/a": "A", "d/b.key": "B"}, want: "o/ 755 0:0\no/a 644 0:0 A"},
		{name: "from a stage", recipe: "FROM scratch AS s\nCOPY a /deep/a\nFROM scratch\nCOPY --from=s /deep /d\n", files: map[string]string{"a": "A"}, want: "d/ 755 0:0\nd/a 644 0:0 A"},
		{name: "on a stage", recipe: "FROM scratch AS s\nCOPY a /a\nFROM s\nCOPY a /b\n", files: map[string]string{"a": "A"}, want: "a 644 0:0 A\nb 644 0:0 A"},
		{name: "link", recipe: "FROM scratch\nCOPY a /a\nCOPY --link a /l/\n", files: map[string]string{"a": "A"}, want: "a 644 0:0 A\nl/ 755 0:0\nl/a 644 0:0 A"},
		{name: "ignored", recipe: "FROM scratch\nCOPY . /\n", files: map[string]string{"a": "A", "b.log": "B", ".dockerignore": "*.log\n.dockerignore\nDockerfile\n"}, want: "a 644 0:0 A"},
		{name: "json form", recipe: "FROM scratch\nCOPY [\"a b\", \"/x y\"]\n", files: map[string]string{"a b": "A"}, want: "x y 644 0:0 A"},
		{name: "onbuild of a stage", recipe: "FROM scratch AS s\nONBUILD COPY a /on\nFROM s\n", files: map[string]string{"a": "A"}, want: "on 644 0:0 A"},
		{name: "nothing", recipe: "FROM scratch\nLABEL a=b\n", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.files == nil {
				c.files = map[string]string{}
			}
			c.files["Dockerfile"] = c.recipe
			if got := newWorld(t, c.files).list(Options{}); strings.TrimSpace(got) != c.want {
				t.Errorf("result is\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestBuildErrorsPublishNothing(t *testing.T) {
	for _, c := range []struct{ name, recipe, want string }{
		{"missing source", "FROM scratch\nCOPY nothere /\n", "Dockerfile:2: "},
		{"ignored source", "FROM scratch\nCOPY x.log /\n", "Dockerfile:2: "},
		{"missing base", "FROM nothere\n", "Dockerfile:1: nothere: "},
		{"link out of the context", "FROM scratch\nCOPY out /\n", "Dockerfile:2: "},
		{"other frontend", "# syntax=example.org/other\nFROM scratch\n", "Dockerfile:1: frontend \"example.org/other\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"Dockerfile": c.recipe, "x.log": "", ".dockerignore": "*.log\n"})
			if err := os.Symlink("/etc/passwd-that-is-not-ours", filepath.Join(w.dir, "out")); err != nil {
				t.Fatal(err)
			}
			_, err := w.build(Options{Tags: []string{"t"}})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want %q…", err, c.want)
			}
			if refs, _ := w.store.References(t.Context()); len(refs) != 0 {
				t.Errorf("a name was given: %v", refs)
			}
		})
	}
}

// TestBuildSameDigest is law 1: two stores, two checkouts with other times, one job and eight.
func TestBuildSameDigest(t *testing.T) {
	files := map[string]string{"Dockerfile": "FROM scratch AS a\nCOPY d /d\nFROM scratch\nWORKDIR /w\nCOPY --from=a / /\nCOPY d/x /y/\nENV A=b\nLABEL b=c a=d\n", "d/x": "X", "d/y/z": "Z"}
	one, two := newWorld(t, files), newWorld(t, files)
	old := time.Now().Add(-1000 * time.Hour)
	if err := os.Chtimes(filepath.Join(two.dir, "d/x"), old, old); err != nil {
		t.Fatal(err)
	}
	a, b := one.must(Options{Jobs: 1}).Images[0], two.must(Options{Jobs: 8}).Images[0]
	if a.ID != b.ID {
		t.Errorf("digests differ:\n%s %s\n%s %s", a.ID, a.Config, b.ID, b.Config)
	}
	if !strings.Contains(string(a.Config), `"created":"1980-01-01T00:00:00Z"`) {
		t.Errorf("config has another time: %s", a.Config)
	}
	c := one.must(Options{Args: map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}}).Images[0]
	if !strings.Contains(string(c.Config), `"created":"2023-11-14T22:13:20Z"`) {
		t.Errorf("SOURCE_DATE_EPOCH is not used: %s", c.Config)
	}
}

func TestBuildOnBuiltImage(t *testing.T) {
	w := newWorld(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /a\nENV X=1\n", "a": "A", "two": "FROM base:1\nCOPY a /b\nENV Y=$X\n"})
	w.must(Options{Tags: []string{"base:1"}})
	res := w.must(Options{File: filepath.Join(w.dir, "two"), Tags: []string{"app"}})
	img, err := w.store.Resolve("app", nil)
	if err != nil {
		t.Fatal(err)
	}
	if img.ID != res.Images[0].ID || len(img.Chain) != 2 || !strings.Contains(string(img.Config), `"Y=1"`) {
		t.Errorf("image is %s with %d layers: %s", img.ID, len(img.Chain), img.Config)
	}
	if got := w.list(Options{File: filepath.Join(w.dir, "two")}); got != "a 644 0:0 A\nb 644 0:0 A" {
		t.Errorf("files are\n%s", got)
	}
}

func TestBuildLocalOutputStaysInside(t *testing.T) {
	w := newWorld(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /x/pwn\nCOPY a /f\n", "a": "A"})
	outside, dest := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dest, "x")); err != nil {
		t.Fatal(err)
	}
	w.must(Options{Outputs: []Output{{Type: "local", Dest: dest}}}) // in whose place a folder comes, as with BuildKit
	if st, err := os.Lstat(filepath.Join(dest, "x")); err != nil || !st.IsDir() {
		t.Errorf("a link in the destination was written through: %v, %v", st, err)
	}
	if text, err := os.ReadFile(filepath.Join(dest, "x/pwn")); string(text) != "A" {
		t.Errorf("content is %q, %v", text, err)
	}
	if list, _ := os.ReadDir(outside); len(list) != 0 {
		t.Errorf("files lie outside: %v", list)
	}
	clean := t.TempDir()
	w.must(Options{Outputs: []Output{{Type: "local", Dest: clean}}})
	if text, err := os.ReadFile(filepath.Join(clean, "x/pwn")); string(text) != "A" {
		t.Errorf("content is %q, %v", text, err)
	}
}

func TestBuildFromStdin(t *testing.T) {
	w := newWorld(t, nil)
	got := w.list(Options{Context: "-", Stdin: strings.NewReader("FROM scratch\nCOPY <<E /e\nhi\nE\n")})
	if got != "e 644 0:0 hi" {
		t.Errorf("files are %q", got)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY f /g\n", "f": "F"} {
		if err := errors.Join(tw.WriteHeader(&tar.Header{Name: name, Mode: 0o640, Size: int64(len(text)), Typeflag: tar.TypeReg})); err != nil {
			t.Fatal(err)
		}
		tw.Write([]byte(text))
	}
	tw.Close()
	if got := w.list(Options{Context: "-", Stdin: &b}); got != "g 640 0:0 F" {
		t.Errorf("files are %q", got)
	}
}
