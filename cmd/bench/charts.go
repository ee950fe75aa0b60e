package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hodbuild/hod/cmd/bench/chart"
)

// pictures are the charts: a file, a title, and the cells in it with their headings.
var pictures = []struct {
	file, title string
	cells       [][2]string
}{
	{"w1", "One file copied on a small base", modes("w1")},
	{"w2", "20 × RUN", modes("w2")},
	{"w3", "40 000 small files copied", modes("w3")},
	{"w4", "One file of 512 MiB copied", modes("w4")},
	{"w5", "Four stages of two seconds, joined", modes("w5")},
	{"w6", "Debian with apt-get install python3", modes("w6")},
	{"w7", "A Go program compiled with a cache mount", modes("w7")},
	{"pull", "Pull and unpack", [][2]string{{"d1p/debian", "a Debian base"}, {"d1p/w3", "40 000 small files"}, {"d1p/w4", "512 MiB"}}},
	{"fetch", "Fetch into a layout", [][2]string{{"d1/debian", "a Debian base"}, {"d1/w3", "40 000 small files"}, {"d1/w4", "512 MiB"}}},
	{"runnable", "Pull until it has run", [][2]string{{"d2/debian", "a Debian base"}, {"d2/w3", "40 000 small files"}, {"d2/w4", "512 MiB"}}},
	{"unpack", "Load an archive and unpack it", [][2]string{{"u1/disk", "a Debian root"}, {"u1/memory", "… in memory"}, {"u2/disk", "40 000 small files"}, {"u2/memory", "… in memory"}}},
	{"pack", "Pack a folder into an archive of an image", [][2]string{{"p1", "a Debian root"}, {"p2", "40 000 small files"}}},
	{"push", "Push", [][2]string{{"d3/debian", "a Debian base"}, {"d3/w3", "40 000 small files"}, {"d3/w4", "512 MiB"}}},
	{"again", "Push again, and copy in the registry", [][2]string{{"d4/debian", "push again, a Debian base"}, {"d4/w4", "push again, 512 MiB"}, {"d5/debian", "copy, a Debian base"}, {"d5/w4", "copy, 512 MiB"}}},
	{"slow", "A Debian base over 100 Mbit/s and 20 ms", [][2]string{{"far/d1", "fetch"}, {"far/d1p", "pull"}, {"far/d3", "push"}, {"far/d4", "push again"}, {"far/d5", "copy"}}},
	{"start", "Start a container that runs true", [][2]string{{"s1", "no network"}, {"s2", "private network"}, {"s4", "exec in a running one"}}},
	{"published", "Read 256 MB through a published port", [][2]string{{"s5", "loopback, curl"}}},
	{"detach", "Start a detached container", [][2]string{{"s6", "no network"}}},
	{"start50", "Start 50 containers side by side", [][2]string{{"s3", "all 50 have ended"}}},
}

// bundled says what the runtimes among the peers leave out.
const bundled = "crun and runc are given a prepared bundle: they read no image, mount no overlay, filter no system calls."

func modes(w string) [][2]string {
	return [][2]string{
		{w + "/cold", "cold"}, {w + "/cached", "nothing changed"}, {w + "/change", "one change"},
		{w + "/push", "cold and pushed"}, {w + "/archive", "cold, as an archive"},
	}
}

// charts draws what there are rows for.
func (r *report) charts(dir string) error {
	for _, p := range pictures {
		c := chart.Chart{Title: p.title, Notes: []string{"Medians of whole processes; on one scale. The dashed bar is the floor: the same bytes through plain tools."}}
		for _, cell := range p.cells {
			if bars := r.bars(cell[0]); len(bars) > 0 {
				c.Groups = append(c.Groups, chart.Group{Title: cell[1], Bars: bars})
			}
		}
		if len(c.Groups) == 0 {
			continue
		}
		if strings.HasPrefix(p.file, "start") {
			c.Notes[0] = "Medians of whole processes; on one scale. The dashed bar is a bare clone, overlay mount and execve in C."
			c.Notes = append(c.Notes, bundled)
		}
		if err := os.WriteFile(filepath.Join(dir, p.file+".svg"), []byte(c.SVG()), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "glance.svg"), []byte(r.glance().SVG()), 0o644)
}

// glances are the cells of the one picture of all, with their headings.
var glances = []struct {
	title string
	cells [][2]string
}{
	{"Build", [][2]string{
		{"w1/cold", "one file, cold"}, {"w1/cached", "one file, cached"}, {"w2/cold", "20 × RUN, cold"}, {"w2/cached", "20 × RUN, cached"},
		{"w3/cold", "40 000 files, cold"}, {"w3/cached", "40 000 files, cached"}, {"w3/push", "40 000 files, pushed"},
		{"w4/cold", "512 MiB, cold"}, {"w4/push", "512 MiB, pushed"}, {"w5/cold", "4 × 2 s in stages"},
		{"w6/cold", "apt-get install"}, {"w7/cold", "compile Go"}, {"w7/change", "compile Go, changed"},
	}},
	{"Move", [][2]string{
		{"d1/debian", "fetch Debian"}, {"d1p/debian", "pull Debian"}, {"d2/debian", "pull and run Debian"}, {"d2/w3", "… 40 000 files"}, {"d2/w4", "… 512 MiB"},
		{"u1/disk", "load Debian"}, {"u2/disk", "load 40 000 files"}, {"p1", "pack Debian"}, {"p2", "pack 40 000 files"},
		{"d3/w4", "push 512 MiB"}, {"d4/w4", "push it again"}, {"d5/w4", "copy it"},
		{"far/d2", "slow link: pull and run"}, {"far/d4", "slow link: push again"}, {"d6", "serve fifty clients"},
	}},
	{"Run", [][2]string{{"s1", "true, no network"}, {"s2", "true, private network"}, {"s3", "50 side by side"}, {"s4", "exec"}, {"s5", "published port"}, {"s6", "run -d"}}},
}

// glance is hod's time in each cell as a multiple of the fastest other tool's.
func (r *report) glance() chart.Chart {
	c := chart.Chart{
		Title: "hod's time, as a multiple of the fastest other tool's (shorter is faster)",
		Notes: []string{"Dashed line: the fastest other tool, named behind the bar. Bars end at 2.", bundled},
		Line:  1,
	}
	for _, g := range glances {
		group := chart.Group{Title: g.title}
		for _, cell := range g.cells {
			hod, peer := r.best(cell[0])
			if hod != nil && peer != nil {
				text := ratio(hod.ToPeer) + " " + peer.Peer
				group.Bars = append(group.Bars, chart.Bar{Name: cell[1], Value: min(2, hod.ToPeer), Text: text, Ours: true})
			}
		}
		if len(group.Bars) > 0 {
			c.Groups = append(c.Groups, group)
		}
	}
	return c
}

// best gives hod's row of a cell and the fastest other tool's; nil where none.
func (r *report) best(cell string) (hod, peer *row) {
	for _, row := range r.of(cell) {
		switch {
		case row.Trouble != "" || row.Peer == floorName:
		case row.Peer == "hod":
			hod = row
		case peer == nil || row.Median < peer.Median:
			peer = row
		}
	}
	return hod, peer
}

// bars of a cell, the fastest first and the floor last.
func (r *report) bars(cell string) []chart.Bar {
	var bars []chart.Bar
	for _, row := range r.of(cell) {
		if row.Trouble == "" {
			bars = append(bars, chart.Bar{
				Name: row.Peer, Value: row.Median, Text: seconds(row.Median), Ours: row.Peer == "hod", Floor: row.Peer == floorName,
			})
		}
	}
	slices.SortStableFunc(bars, func(a, b chart.Bar) int {
		switch {
		case a.Floor:
			return 1
		case b.Floor:
			return -1
		}
		return cmp.Compare(a.Value, b.Value)
	})
	return bars
}
