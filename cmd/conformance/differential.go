package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
	"golang.org/x/sync/errgroup"
)

// differential builds every case of the corpus with hod and with BuildKit and compares what came out, field by field.
type differential struct {
	o options
	*room
	bk     *buildkit
	mu     sync.Mutex
	counts map[string]int
}

func runDifferential(ctx context.Context, o options) score {
	s := score{name: "recipes built as BuildKit " + buildkitVersion + " does"}
	cases, err := corpus.Load(filepath.Join(o.repo, "testdata/corpus"))
	if err != nil {
		return s.left(err)
	}
	cases = slices.DeleteFunc(cases, func(c *corpus.Case) bool { return !o.only.MatchString(c.Name) || c.Calls() })
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

// newDifferential opens a room, a registry with the bases, and BuildKit.
func newDifferential(ctx context.Context, o options, cases []*corpus.Case) (*differential, func(), error) {
	bin, err := installBuildKit(ctx)
	if err != nil {
		return nil, nil, err
	}
	r, err := openRoom(ctx, o, "differential", cases)
	if err != nil {
		return nil, nil, err
	}
	d := &differential{o: o, room: r, counts: map[string]int{}}
	registry, err := startRegistry(ctx, o.hod, r.dir+"/registry")
	if err != nil {
		return nil, nil, err
	}
	for _, b := range r.bases {
		if err := registry.push(ctx, r.hod, b); err != nil {
			return nil, nil, err
		}
	}
	if d.bk, err = startBuildKit(ctx, bin, r.dir+"/buildkit", registry.addr, r.hod.Reader); err != nil {
		return nil, nil, err
	}
	return d, func() { d.bk.stop(); registry.stop(); r.files.Close() }, nil
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
	p, err := d.place(c)
	if err != nil {
		return "different", []string{err.Error()}
	}
	ours, err := d.hod.Build(ctx, c, p)
	if err != nil {
		return "different", []string{"hod: " + err.Error()}
	}
	lines = c.Judge(ours, p, d.seen)
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
	base := corpus.BaseOf(want, d.seen)
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
