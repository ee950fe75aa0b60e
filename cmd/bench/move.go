package main

import (
	"fmt"
	"path/filepath"

	"github.com/hodbuild/hod/cmd/bench/tree"
)

// moveCells are pulls, pushes and copies, near and over the slow link.
func (b *bench) moveCells() []*cell {
	var all []*cell
	for _, image := range []string{"debian", "w3", "w4"} {
		for _, c := range b.moves(image, b.near, b.target) {
			c.name += "/" + image
			all = append(all, c)
		}
	}
	for _, c := range b.moves("debian", b.far, b.farTarget) {
		c.name, c.about, c.rounds = "far/"+c.name, c.about+", 100 Mbit/s and 20 ms", 3
		all = append(all, c)
	}
	return append(all, b.loadCell())
}

// moves are the six jobs of moving an image.
func (b *bench) moves(image string, from, to *registry) []*cell {
	absent := func(p *peer, _ *job) error { return p.fresh() }
	pulled := func(p *peer, j *job) error {
		if err := p.fresh(); err != nil {
			return err
		}
		return b.performAll(p, *j, "pull", "tag")
	}
	emptied := func(*peer, *job) error { return to.empty() }
	pushed := func(p *peer, j *job) error {
		if err := pulled(p, j); err != nil {
			return err
		}
		return b.performAll(p, *j, "push")
	}
	pushName := func(p *peer, j *job) { j.to = fmt.Sprintf("%s/pushed-%s-%s:1", to.host, image, p.folder()) }
	copyName := func(_ *peer, j *job) {
		b.samples++
		j.to = fmt.Sprintf("%s/copied-%s-%d:1", from.host, image, b.samples)
	}
	layoutName := func(_ *peer, j *job) { j.file = filepath.Join(b.bed.Disk, "fetched") }
	cells := []*cell{
		{name: "d1", about: "fetch into a layout, nothing unpacked", verb: "fetch", names: layoutName, each: absent, check: b.checkFetched(image), floor: pullFloor},
		{name: "d1p", about: "pull into the tool's store, unpacked", verb: "pull unpacked", names: pushName, each: absent, check: b.checkStored(image), floor: runFloor},
		{name: "d2", about: "pull until it has run", verb: "run absent", names: pushName, each: absent, check: b.checkStored(image), floor: runFloor},
		{name: "d3", about: "push", verb: "push", names: pushName, once: pulled, each: emptied, check: b.checkThere(image), floor: pushFloor},
		{name: "d4", about: "push again", verb: "push", names: pushName, once: pushed, check: b.checkThere(image), floor: askFloor},
		{name: "d5", about: "copy in the registry", verb: "copy", names: copyName, check: b.checkThere(image), floor: askFloor},
	}
	for _, c := range cells {
		names := c.names
		c.names = func(p *peer, j *job) {
			j.image = fmt.Sprintf("%s/%s:1", from.host, image)
			names(p, j)
		}
		c.floorEach = c.name == "d3"
		c.image, c.rounds, c.about = image, 7, c.about+": "+image
		c.floor = fmt.Sprintf("from=%s; to=%s; image=%s; %s", from.host, to.host, image, c.floor)
	}
	return cells
}

// checkStored compares what a peer has in its store with the image.
func (b *bench) checkStored(image string) func(*peer, job) error {
	return func(p *peer, j job) error {
		if p.verbs["save"] == nil {
			return nil // a chain that ran the image and exports nothing
		}
		j.file = filepath.Join(b.bed.Memory, "check.tar")
		if err := removeAll(j.file); err != nil {
			return err
		}
		if err := b.perform(p, "save", j); err != nil {
			return err
		}
		got, err := tree.OfImage(j.file, b.bed.Memory)
		if err != nil {
			return err
		}
		return tree.Differ(b.images[image].tree, got)
	}
}

// checkFetched compares what a peer has in a layout with the image.
func (b *bench) checkFetched(image string) func(*peer, job) error {
	return func(p *peer, j job) error {
		if p.verbs["fetch"] == nil {
			return b.checkStored(image)(p, j)
		}
		got, err := tree.OfImage(j.file, b.bed.Memory)
		if err != nil {
			return err
		}
		return tree.Differ(b.images[image].tree, got)
	}
}

// checkThere compares what is in the registry now.
func (b *bench) checkThere(image string) func(*peer, job) error {
	return func(_ *peer, j job) error {
		dir := filepath.Join(b.bed.Memory, "check")
		if err := removeAll(dir); err != nil {
			return err
		}
		host, name := split(j.to)
		if err := (&registry{host: host}).download(name, dir); err != nil {
			return err
		}
		got, err := tree.OfImage(dir, b.bed.Memory)
		if err != nil {
			return err
		}
		return tree.Differ(b.images[image].tree, got)
	}
}

// startCells are starts of containers whose image is here.
func (b *bench) startCells() []*cell {
	here := func(p *peer, j *job) error {
		if p.verbs["pull"] != nil {
			if err := b.performAll(p, *j, "pull"); err != nil {
				return err
			}
		}
		return b.performAll(p, *j, "show") // isolated, and the image's files are there
	}
	running := func(p *peer, j *job) error {
		if err := here(p, j); err != nil {
			return err
		}
		return b.performAll(p, *j, "stop?", "start")
	}
	stopped := func(p *peer, j *job) error { return b.performAll(p, *j, "stop?") }
	cells := []*cell{
		{name: "s1", about: "run true, no network", verb: "run", once: here, floor: `floor 1`},
		{name: "s2", about: "run true, private network", verb: "run private", once: here, floor: `floor 1`},
		{name: "s3", about: "run true, 50 side by side", verb: "run", once: here, atOnce: 50, floor: `for i in $(seq 50); do floor 1 & done; wait`},
		{name: "s4", about: "exec true in a running container", verb: "exec", once: running, after: []string{"stop?"}, floor: `busybox true`},
		{name: "s5", about: "read 256 MB through a published port", verb: "download", once: b.serving(here), after: []string{"stop?"}, floor: `url=http://127.0.0.1:` + floorPort + `/big; ` + readScript},
		{name: "s6", about: "start a detached container, no network", verb: "detach", once: here, each: stopped, after: []string{"stop?"}, stays: true},
	}
	for _, c := range cells {
		c.image, c.rounds = "base", 15
		c.names = func(p *peer, j *job) { j.image, j.port = b.near.host+"/base:1", b.portOf(p) }
	}
	cells[2].rounds = 3
	return cells
}
