package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
	"golang.org/x/sync/errgroup"
)

// differential builds every case of the corpus with hod and with BuildKit and compares what came out, field by field.
type differential struct {
	o      options
	dir    string
	url    string
	hod    *corpus.Hod
	bk     *buildkit
	bases  []*corpus.Image
	mu     sync.Mutex
	counts map[string]int
}

func runDifferential(ctx context.Context, o options) score {
	s := score{name: "recipes built as BuildKit " + buildkitVersion + " does"}
	cases, err := corpus.Load(filepath.Join(o.repo, "testdata/corpus"))
	if err != nil {
		return s.left(err)
	}
	cases = slices.DeleteFunc(cases, func(c *corpus.Case) bool { return !o.only.MatchString(c.Name) || c.Prints() })
	d, stop, err := newDifferential(ctx, o, cases)
	if err != nil {
		return s.left(err)
	}
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, c := range cases {
		g.Go(func() error { d.one(gctx, c); return nil })
	}
	g.Wait()
	s.passed, s.of = d.counts["same"]+d.counts["known"], len(cases)
	s.note = fmt.Sprintf("%d of them differ for the reason that the case gives", d.counts["known"])
	return s
}

// newDifferential starts a server of files, a registry with the bases, a store with the bases, and BuildKit.
func newDifferential(ctx context.Context, o options, cases []*corpus.Case) (*differential, func(), error) {
	bin, err := installBuildKit(ctx)
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(o.work, "differential")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	files := corpus.Serve(dir)
	reader := corpus.NewReader()
	d := &differential{o: o, dir: dir, url: files.URL, counts: map[string]int{}, hod: &corpus.Hod{Binary: o.hod, Root: dir + "/store", Reader: reader}}
	registry, err := startRegistry(ctx, o.hod, dir+"/registry")
	if err != nil {
		return nil, nil, err
	}
	if err := d.load(ctx, registry.addr, cases); err != nil {
		return nil, nil, err
	}
	if d.bk, err = startBuildKit(ctx, bin, dir+"/buildkit", registry.addr, reader); err != nil {
		return nil, nil, err
	}
	return d, func() { d.bk.stop(); registry.stop(); files.Close() }, nil
}

// load brings the bases into the store and into the registry.
func (d *differential) load(ctx context.Context, registry string, cases []*corpus.Case) error {
	box, err := corpus.Box()
	if err != nil {
		return err
	}
	list := []corpus.Base{box}
	for _, c := range cases {
		own, err := c.Images()
		if err != nil {
			return err
		}
		list = append(list, own...)
	}
	for _, b := range list {
		images, err := d.hod.Reader.Base(b)
		if err != nil {
			return err
		}
		d.bases = append(d.bases, images...)
		if err := d.hod.Load(ctx, b); err != nil {
			return err
		}
		remote := registry + "/library/" + b.Name + ":latest"
		for _, args := range [][]string{{"tag", b.Name, remote}, {"push", remote}, {"rmi", remote}} {
			cmd := exec.CommandContext(ctx, d.hod.Binary, append([]string{"--root", d.hod.Root}, args...)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("hod %v: %w: %s", args, err, out)
			}
		}
	}
	return nil
}

// one builds one case twice and prints in what the results differ.
func (d *differential) one(ctx context.Context, c *corpus.Case) {
	kind, lines := d.compare(ctx, c)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[kind]++
	if kind == "same" {
		if c.Differs != "" {
			fmt.Printf("%s: is the same, though it is said to differ: %s\n", c.Name, c.Differs)
		}
		return
	}
	fmt.Printf("%s: %s %s\n", c.Name, kind, c.Differs)
	for _, l := range lines {
		fmt.Println("    " + strings.ReplaceAll(l, "\n", "\n    "))
	}
}

func (d *differential) compare(ctx context.Context, c *corpus.Case) (kind string, lines []string) {
	p := corpus.Place{Dir: filepath.Join(d.dir, c.Name), URL: d.url + "/" + c.Name, Time: timeOf(c)}
	if err := c.Lay(p); err != nil {
		return "different", []string{err.Error()}
	}
	ours, err := d.hod.Build(ctx, c, p)
	if err != nil {
		return "different", []string{"hod: " + err.Error()}
	}
	lines = c.Judge(ours, p, d.bases)
	theirs, err := d.bk.build(ctx, c, p)
	if err != nil && c.Differs == "" {
		return "different", append(lines, "BuildKit: "+err.Error())
	}
	if err == nil {
		lines = append(lines, d.differences(theirs, ours)...)
	}
	if d.o.fill && err == nil {
		if err := d.fill(c, p, theirs); err != nil {
			lines = append(lines, "fill: "+err.Error())
		}
	}
	if d.o.verbose {
		fmt.Printf("%s\n    hod: %s\n    BuildKit: %s\n", c.Name, lastLines(ours.Message, 4), lastLines(theirs.Message, 4))
	}
	switch {
	case c.Differs != "" && (err != nil || len(lines) > 0):
		return "known", lines
	case len(lines) > 0:
		return "different", lines
	}
	return "same", nil
}

// timeOf gives each case's files a time of their own: BuildKit takes a file of the same name, size and time for the one
// that it was sent in an earlier build.
func timeOf(c *corpus.Case) time.Time {
	h := fnv.New32a()
	h.Write([]byte(c.Name))
	return time.Unix(1_500_000_000+int64(h.Sum32()%100_000_000), 0)
}

func (d *differential) differences(want, got *corpus.Result) []string {
	if want.Failed != got.Failed {
		return []string{fmt.Sprintf("BuildKit failed: %v, hod failed: %v\nBuildKit: %s\nhod: %s", want.Failed, got.Failed, lastLines(want.Message, 3), lastLines(got.Message, 3))}
	}
	if want.Failed {
		return nil
	}
	var out []string
	if !slices.Equal(want.Warnings, got.Warnings) {
		out = append(out, fmt.Sprintf("warnings of BuildKit %q, of hod %q", want.Warnings, got.Warnings))
	}
	if len(want.Images) != len(got.Images) {
		return append(out, fmt.Sprintf("BuildKit made %d images, hod %d", len(want.Images), len(got.Images)))
	}
	for i := range want.Images {
		out = append(out, d.images(want.Images[i], got.Images[i])...)
	}
	return out
}

func (d *differential) images(want, got *corpus.Image) []string {
	base := corpus.BaseOf(want, d.bases)
	for _, p := range mountPoints { // what runc leaves in a base that has them not
		if _, ok := got.Tree[p]; !ok {
			delete(want.Tree, p)
		}
	}
	out := corpus.Diff(untimed(want.Tree.Since(base.Tree)), untimed(got.Tree.Since(base.Tree)))
	if w, g := want.ConfigSince(base), got.ConfigSince(base); !reflect.DeepEqual(w, g) {
		out = append(out, fmt.Sprintf("config of BuildKit %s\n         of hod %s", asJSON(w), asJSON(g)))
	}
	if w, g := want.HistorySince(base), got.HistorySince(base); !slices.Equal(w, g) {
		out = append(out, fmt.Sprintf("history of BuildKit\n  %s\nof hod\n  %s", strings.Join(w, "\n  "), strings.Join(g, "\n  ")))
	}
	return out
}

var mountPoints = []string{"dev", "proc", "sys"}

// untimed takes the times away: hod's are fixed, by design.
func untimed(list []corpus.Entry) []corpus.Entry {
	for i := range list {
		list[i].Timed = false
	}
	return list
}

func asJSON(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.Encode(v)
	return strings.TrimSpace(b.String())
}
