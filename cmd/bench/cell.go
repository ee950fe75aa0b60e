package main

import (
	"path/filepath"
	"runtime"

	"github.com/hodbuild/hod/cmd/bench/tree"
	"github.com/hodbuild/hod/cmd/bench/work"
)

// cell is one comparison: the same job by each peer that can do it.
type cell struct {
	name     string // such as w3/cold
	about    string
	image    string // the image that it begins with, of those in the registry
	verb     string
	rounds   int
	atOnce   int  // processes side by side; 0 is one
	optional bool // only when named
	mounts   bool // the classic builder of Docker cannot
	inMemory bool // the floor works there, not on the disk
	stays    bool // processes that stay when the verb has ended have their memory counted
	// floorEach: the floor needs each too, and is not emptied in its own time.
	floorEach bool
	floor     string
	// once is done for each peer before its first sample; each before each
	// sample; names says what the job is called, and comes first.
	once, each func(p *peer, j *job) error
	names      func(p *peer, j *job)
	after      []string // verbs that clean up
	keeps      bool     // what was built stays for the next cell, whose once finds it
	// check says what is wrong with what a sample made.
	check func(p *peer, j job) error
}

func architecture() string { return runtime.GOARCH }

func (b *bench) allCells() []*cell {
	var all []*cell
	for _, w := range work.All() {
		all = append(all, b.buildCells(w)...)
	}
	all = append(all, b.startCells()...)
	all = append(append(all, b.unpackCells()...), b.packCells()...)
	return append(all, b.moveCells()...)
}

// buildModes is the number of cells of a work: cold, cached, changed, pushed, and as an archive.
const buildModes = 5

// buildCells is the cells of a work.
func (b *bench) buildCells(w work.Work) []*cell {
	sameInput := func(p *peer, j *job) error {
		if err := p.fresh(); err != nil {
			return err
		}
		return b.change(w, 0)
	}
	newInput := func(*peer, *job) error { b.changes++; return b.change(w, b.changes) }
	cells := []*cell{
		{name: "cold", verb: "build", each: sameInput, keeps: true, check: b.checkBuilt(w)},
		{name: "cached", verb: "build", once: b.buildOnce, keeps: true, check: b.checkBuilt(w)},
		{name: "change", verb: "build", once: b.buildOnce, each: newInput, check: b.checkBuilt(w)},
		{name: "push", verb: "build and push", each: func(p *peer, j *job) error {
			if err := p.fresh(); err != nil {
				return err
			}
			if err := b.near.strip(); err != nil {
				return err
			}
			return newInput(p, j)
		}, check: b.checkPushed(w)},
		{name: "archive", verb: "build to archive", each: sameInput, check: b.checkArchive(w)},
	}
	for _, c := range cells {
		c.floor = buildFloor(w.Name, c.name)
		c.name, c.about = w.Name+"/"+c.name, w.About
		c.names = func(_ *peer, j *job) {
			j.context, j.image = b.contexts[w.Name], b.near.host+"/"+built(w)+":1"
			j.file = filepath.Join(b.bed.Disk, "archive.tar")
		}
		c.image, c.rounds, c.optional, c.mounts = w.Base, 7, w.Optional, w.Mounts
	}
	return cells
}

// built names what is built of a work: its inputs are in the same registry.
func built(w work.Work) string { return "built-" + w.Name }

// change sets the changing input of a work, and tells the checks.
func (b *bench) change(w work.Work, n int) error {
	b.changes = max(b.changes, n)
	b.changed = n
	return w.Change(b.contexts[w.Name], b.near.host+"/"+w.Base+":1", n)
}

// buildOnce builds outside of the measurement.
func (b *bench) buildOnce(p *peer, j *job) error { return b.perform(p, "build", *j) }

// want is what a build of a work must give.
func (b *bench) want(w work.Work) (tree.Tree, error) {
	want, err := w.Want(b.contexts[w.Name], b.changed)
	if err == nil && !w.Partial && !w.Scratch {
		for name, e := range b.images[w.Base].tree {
			want[name] = e
		}
	}
	return want, err
}

func (b *bench) compare(w work.Work, image string) error {
	want, err := b.want(w)
	if err != nil {
		return err
	}
	got, err := tree.OfImage(image, b.bed.Memory)
	if err != nil {
		return err
	}
	if w.Partial {
		got = got.Only(want)
	}
	return tree.Differ(want, got)
}

func (b *bench) checkBuilt(w work.Work) func(*peer, job) error {
	return func(p *peer, j job) error {
		j.file = filepath.Join(b.bed.Memory, "check.tar")
		if err := removeAll(j.file); err != nil {
			return err
		}
		if err := b.perform(p, "save", j); err != nil {
			return err
		}
		return b.compare(w, j.file)
	}
}

func (b *bench) checkArchive(w work.Work) func(*peer, job) error {
	return func(_ *peer, j job) error { return b.compare(w, j.file) }
}

func (b *bench) checkPushed(w work.Work) func(*peer, job) error {
	return func(_ *peer, j job) error {
		dir := filepath.Join(b.bed.Memory, "check")
		if err := removeAll(dir); err != nil {
			return err
		}
		if err := b.near.download(built(w), dir); err != nil {
			return err
		}
		return b.compare(w, dir)
	}
}
