package corpus_test

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// sample is how many cases are built again and again; HOD_TEST_FULL=1 takes all.
const sample = 24

// TestSameDigest builds cases in stores of their own, from copies of their files with other times, under another umask,
// user, time zone and number of jobs, and from imported caches: the image is the same to the bit.
func TestSameDigest(t *testing.T) {
	cases, err := corpus.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	cases = slices.DeleteFunc(cases, func(c *corpus.Case) bool {
		_, fails := c.Section("error")
		return fails || c.Prints() || missing(c) != ""
	})
	if os.Getenv("HOD_TEST_FULL") == "" {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		cases = cases[:min(sample, len(cases))]
	}
	r := newRoom(t, cases)
	others := r.others(t, cases)
	carriers := r.carriers(t, cases)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			first := []string{"--jobs=1"}
			for _, k := range carriers {
				first = append(first, "--cache-to", k.to(c))
			}
			want := r.digests(t, c, r.hod, "", 1_500_000_000, first...)
			for i, o := range others {
				if slices.ContainsFunc(c.Needs, o.lacks) || o.noRUN && c.Runs() {
					continue
				}
				if got := r.digests(t, c, o.hod, o.name, 1_600_000_000+int64(i)*50_000_000, "--jobs=8"); !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", o.name, got, want)
				}
			}
			for _, k := range carriers {
				if got := r.digests(t, c, k.hod, k.name(), 1_700_000_000, "--cache-from", k.from(c)); !slices.Equal(got, want) {
					t.Errorf("an imported cache, %s: %v, want %v", k.name(), got, want)
				}
			}
		})
	}
}

// carrier is a way in which a cache travels, and a hod that has what it brings and nothing else.
type carrier struct {
	kind, mode string
	at         string // a folder or a registry
	hod        *corpus.Hod
}

func (k carrier) name() string { return k.kind + "-" + k.mode }

func (k carrier) place(c *corpus.Case, word string) string {
	if k.kind == "local" {
		return "type=local," + word + "=" + filepath.Join(k.at, k.mode, c.Name)
	}
	return "type=registry,ref=" + k.at + "/" + k.mode + ":" + strings.ReplaceAll(c.Name, "/", ".")
}

func (k carrier) to(c *corpus.Case) string { return k.place(c, "dest") + ",mode=" + k.mode }

func (k carrier) from(c *corpus.Case) string { return k.place(c, "src") }

// carriers are all kinds and modes; the short form has each of them once.
func (r *room) carriers(t *testing.T, cases []*corpus.Case) []carrier {
	folder, registry := filepath.Join(r.dir, "cache"), r.registry(t)
	list := []carrier{{kind: "local", mode: "max", at: folder}, {kind: "registry", mode: "min", at: registry}}
	if os.Getenv("HOD_TEST_FULL") != "" {
		list = append(list, carrier{kind: "local", mode: "min", at: folder}, carrier{kind: "registry", mode: "max", at: registry})
	}
	for i, k := range list {
		list[i].hod = &corpus.Hod{Binary: r.hod.Binary, Root: filepath.Join(r.dir, "store-"+k.name()), Reader: r.hod.Reader}
		r.fill(t, list[i].hod, cases)
	}
	return list
}

// registry starts hod serve, which says its address in its first line.
func (r *room) registry(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(r.hod.Binary, "--root", filepath.Join(r.dir, "served"), "serve", "-q", "--addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOME="+r.dir)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(said)
	line, err := lines.ReadString('\n')
	_, addr, ok := strings.Cut(strings.TrimSpace(line), " on ")
	if err != nil || !ok {
		t.Fatalf("hod serve said %q: %v", line, err)
	}
	go io.Copy(io.Discard, lines)
	return addr
}

// other is a hod that sees the world differently: another store, copy, umask, language and time zone, or another user.
type other struct {
	name  string
	hod   *corpus.Hod
	lacks func(need string) bool
	noRUN bool
}

// others are, for root, joined by a user with subordinate ids and by one without.
func (r *room) others(t *testing.T, cases []*corpus.Case) []other {
	list := []other{{name: "again", lacks: func(string) bool { return false }, hod: &corpus.Hod{Root: filepath.Join(r.dir, "store-again"),
		Env: []string{"TZ=Asia/Tokyo", "LANG=tr_TR.UTF-8"}, Prefix: []string{"sh", "-c", `umask 077; exec "$@"`, "sh"}}}}
	if os.Getuid() == 0 {
		list = append(list, r.users(t)...)
	}
	for _, o := range list {
		o.hod.Binary, o.hod.Reader = r.hod.Binary, r.hod.Reader
		r.fill(t, o.hod, cases)
	}
	return list
}

// becomeMapped FILE COMMAND… is the script of a user to whom FILE, seen by nobody else, grants subordinate ids.
const becomeMapped = `mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`

// users are two ordinary users: whether recipes with a RUN build for them is up to the kernel and to newuidmap.
func (r *room) users(t *testing.T) []other {
	alone := r.user(t, "alone", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
	alone.lacks = func(need string) bool { return need == "root" || need == "ids" }
	mapped := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Ur", "true").Run() == nil
	alone.noRUN = !mapped
	if _, err := exec.LookPath("newuidmap"); err != nil || !mapped {
		return []other{alone}
	}
	grant := filepath.Join(r.dir, "subids")
	if err := os.WriteFile(grant, []byte("nobody:1800000000:65536\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	with := r.user(t, "mapped", "unshare", "-m", "sh", "-c", becomeMapped, "sh", grant)
	with.lacks = func(need string) bool { return need == "root" }
	return []other{alone, with}
}

// user is a hod of uid 65534, with a home of its own.
func (r *room) user(t *testing.T, name string, prefix ...string) other {
	home := filepath.Join(r.dir, "home-"+name)
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	return other{name: name, hod: &corpus.Hod{Root: filepath.Join(home, "store"), Prefix: prefix}}
}

// digests builds a case from files laid anew in a folder of its own; what is served is served from the first.
func (r *room) digests(t *testing.T, c *corpus.Case, h *corpus.Hod, where string, at int64, args ...string) []string {
	t.Helper()
	p := corpus.Place{Dir: filepath.Join(r.dir, where, c.Name), URL: r.url + "/" + c.Name, Time: time.Unix(at, 0)}
	if err := c.Lay(p); err != nil {
		t.Fatal(err)
	}
	if where == "alone" || where == "mapped" {
		give(t, p.Dir)
	}
	res, err := h.Build(t.Context(), c, p, args...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Failed {
		t.Fatalf("%s %v: %s", where, args, res.Message)
	}
	var ids []string
	for _, img := range res.Images {
		ids = append(ids, fmt.Sprintf("%s in %s", img.ID, img.Manifest))
	}
	return ids
}

// give makes a folder the other user's.
func give(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(file, 65534, 65534)
	})
	if err != nil {
		t.Fatal(err)
	}
}
