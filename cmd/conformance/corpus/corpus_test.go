package corpus_test

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
	"github.com/hodbuild/hod/layers/granted"
)

const folder = "../../../testdata/corpus"

// room is where all cases of a test are laid and served, with the bases in a store.
type room struct {
	dir   string
	url   string
	hod   *corpus.Hod
	bases []*corpus.Image
}

func newRoom(t *testing.T, cases []*corpus.Case) *room {
	dir, err := os.MkdirTemp("", "hod-corpus-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &room{dir: dir}
	srv := corpus.Serve(r.dir)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.hod = &corpus.Hod{Binary: buildHod(t, r.dir), Root: filepath.Join(r.dir, "store"), Reader: corpus.NewReader()}
	r.load(t, cases)
	return r
}

func buildHod(t *testing.T, dir string) string {
	bin := filepath.Join(dir, "hod")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", bin, "../../hod")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build hod: %v\n%s", err, out)
	}
	return bin
}

func (r *room) load(t *testing.T, cases []*corpus.Case) {
	for _, b := range r.fill(t, r.hod, cases) {
		images, err := r.hod.Reader.Base(b)
		if err != nil {
			t.Fatal(err)
		}
		r.bases = append(r.bases, images...)
	}
}

// fill brings the bases of the cases into a store.
func (r *room) fill(t *testing.T, h *corpus.Hod, cases []*corpus.Case) []corpus.Base {
	box, err := corpus.Box()
	if err != nil {
		t.Skip(err)
	}
	list := []corpus.Base{box}
	for _, c := range cases {
		own, err := c.Images()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, own...)
	}
	for _, b := range list {
		if err := h.Load(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// TestCorpus builds every case with the real binary and compares what came out.
func TestCorpus(t *testing.T) {
	cases, err := corpus.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			if why := missing(c); why != "" {
				t.Skip(why)
			}
			t.Parallel()
			p := corpus.Place{Dir: filepath.Join(r.dir, c.Name), URL: r.url + "/" + c.Name, Time: time.Unix(1_500_000_000, 0)}
			if err := c.Lay(p); err != nil {
				t.Fatal(err)
			}
			res, err := r.hod.Build(t.Context(), c, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range c.Judge(res, p, r.bases) {
				t.Errorf("%s: %s", c.Where, problem)
			}
		})
	}
}

// missing says what this machine does not grant a case.
func missing(c *corpus.Case) string {
	if _, err := os.Stat(corpus.GitServer); err != nil && c.Clones() {
		return "needs " + corpus.GitServer
	}
	if c.Runs() && !granted.Namespaces() {
		return "needs namespaces, which this kernel or the container around it refuses"
	}
	for _, need := range c.Needs {
		switch {
		case need == "root" && os.Getuid() != 0:
			return "needs root"
		case need == "ids" && os.Getuid() != 0 && !subordinate():
			return "needs subordinate ids"
		case need == "root" || need == "ids":
		default:
			if _, err := exec.LookPath(need); err != nil {
				return "needs " + need
			}
		}
	}
	return ""
}

// subordinate says whether an ordinary user has subordinate ids.
func subordinate() bool {
	me, err := user.Current()
	if err != nil {
		return false
	}
	text, err := os.ReadFile("/etc/subuid")
	return err == nil && strings.Contains("\n"+string(text), "\n"+me.Username+":")
}
