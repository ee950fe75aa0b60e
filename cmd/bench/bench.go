package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
	"github.com/hodbuild/hod/cmd/bench/work"
)

// bench is one run: the bed, the servers, the images to begin with, the cells.
type bench struct {
	options
	hod    string
	bed    *bed.Bed
	near   *registry // on loopback: the images to begin with
	target *registry // on loopback, emptied before each push
	// The same two behind the slow link.
	far, farTarget *registry
	baseTar        string
	images         map[string]*source
	contexts       map[string]string
	changes        int // of inputs, so far
	changed        int // the one that is in force
	samples        int
	tools          []*peer
	cells          []*cell
	report         *report
}

const slowRoundTrip = 20 * time.Millisecond

func newBench(o options, dir string) (*bench, error) {
	place, err := bed.Make(dir, o.disk)
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, hod: o.hod, bed: place, images: map[string]*source{}, contexts: map[string]string{}}
	b.near, b.target = &registry{host: "127.0.0.1:5000"}, &registry{host: "127.0.0.1:5001"}
	b.far, b.farTarget = &registry{host: "127.0.0.1:5002"}, &registry{host: "127.0.0.1:5003"}
	b.report = newReport(o)
	for _, p := range b.peers() {
		if o.peers != "" && !slices.Contains(strings.Split(o.peers, ","), p.name) {
			continue
		}
		if m := p.missing(); m != "" {
			b.report.leaveOut(p.name, m+" is not installed (make bench-peers)")
			continue
		}
		b.tools = append(b.tools, p)
	}
	for _, c := range b.allCells() {
		if b.wanted(c) {
			b.cells = append(b.cells, c)
		}
	}
	if len(b.cells) == 0 {
		return nil, fmt.Errorf("no cell is named by -work %q", o.work)
	}
	return b, nil
}

// registries are where the peers may have to go.
func (b *bench) registries() []*registry { return []*registry{b.near, b.target, b.far, b.farTarget} }

// wanted says whether the command line asks for a cell.
func (b *bench) wanted(c *cell) bool {
	if b.work == "" {
		return !c.optional
	}
	return slices.ContainsFunc(strings.Split(strings.ToLower(b.work), ","), func(w string) bool {
		return c.name == w || strings.HasPrefix(c.name, w+"/") || len(w) == 1 && strings.HasPrefix(c.name, w)
	})
}

func (b *bench) list(w io.Writer) error {
	for _, c := range b.cells {
		var names []string
		for _, p := range b.tools {
			if p.verb(c.verb) != nil {
				names = append(names, p.name)
			}
		}
		if _, err := fmt.Fprintf(w, "%-20s %s\n", c.name, strings.Join(names, " ")); err != nil {
			return err
		}
	}
	return nil
}

// needsImage says whether a chosen cell begins with that image.
func (b *bench) needsImage(name string) bool {
	return name == "base" || slices.ContainsFunc(b.cells, func(c *cell) bool { return c.image == name })
}

func (b *bench) needs(prefix string) bool {
	return slices.ContainsFunc(b.cells, func(c *cell) bool { return strings.HasPrefix(c.name, prefix) })
}

// prepare makes inputs, starts servers and daemons.
func (b *bench) prepare() error {
	steps := []struct {
		name string
		do   func() error
	}{
		{"registries", b.startRegistries},
		{"inputs", b.makeContexts},
		{"images", b.makeImages},
		{"archives", b.makeArchives},
		{"floor", b.makeFloor},
		{"server", b.startServer},
		{"daemons", b.startPeers},
	}
	for _, s := range steps {
		start := time.Now()
		if err := s.do(); err != nil {
			return fmt.Errorf("prepare %s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "# %s: %.1f s\n", s.name, time.Since(start).Seconds())
	}
	b.report.describe(b)
	return nil
}

func (b *bench) startRegistries() error {
	started := []*registry{b.near, b.target}
	for _, r := range started {
		if err := b.startRegistry(r, r.host); err != nil {
			return err
		}
	}
	if b.needs("far") {
		link, err := bed.MakeFar(100)
		if err != nil {
			return err
		}
		for i, r := range []*registry{b.far, b.farTarget} {
			there := fmt.Sprintf("%s:%d", link.Address, 5000+i)
			if err := b.startRegistry(r, there, "ip", "netns", "exec", link.Name); err != nil {
				return err
			}
			if err := bed.Relay(r.host, there, slowRoundTrip); err != nil {
				return err
			}
			started = append(started, r)
		}
	}
	for _, r := range started {
		if err := r.await(); err != nil {
			return err
		}
	}
	return nil
}

// makeContexts writes the inputs of the works that are built or shipped.
func (b *bench) makeContexts() error {
	for _, w := range append(work.All(), work.Packs()...) {
		if !b.needs(w.Name) && !b.needsImage(w.Name) {
			continue
		}
		dir := filepath.Join(b.bed.Disk, "context-"+w.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := w.Write(dir, work.Source{Scale: b.scale, Cache: b.cache}); err != nil {
			return err
		}
		if err := w.Change(dir, b.near.host+"/"+w.Base+":1", 0); err != nil {
			return err
		}
		b.contexts[w.Name] = dir
	}
	return nil
}

// makeImages makes the images to begin with and uploads them.
func (b *bench) makeImages() error {
	b.baseTar = filepath.Join(b.bed.Memory, "base.tar")
	if err := baseTar(b.baseTar); err != nil {
		return err
	}
	for _, name := range []string{"base", "debian", "go", "w3", "w4"} {
		if !b.needsImage(name) {
			continue
		}
		tars, err := b.layersOf(name)
		if err != nil {
			return err
		}
		img, err := makeImage(filepath.Join(b.bed.Memory, "image-"+name), tars)
		if err != nil {
			return err
		}
		b.images[name] = img
		if err := b.near.upload(img.layout, name); err != nil {
			return err
		}
	}
	if img := b.images["debian"]; img != nil && b.far.folder != "" {
		if err := b.far.upload(img.layout, "debian"); err != nil {
			return err
		}
	}
	return b.near.hold()
}

// layersOf gives the tars of an image's layers.
func (b *bench) layersOf(name string) ([]string, error) {
	switch name {
	case "base":
		return []string{b.baseTar}, nil
	case "debian", "go":
		path := filepath.Join(b.cache, name+".tar")
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s is not there: make bench-peers fetches it", path)
		}
		if name == "go" {
			return []string{b.baseTar, path}, nil
		}
		return []string{path}, nil
	}
	path := filepath.Join(b.bed.Memory, name+".tar")
	dir, at := b.contexts[name]+"/tree", "tree"
	if name == "w4" {
		dir, at = b.contexts[name], "data"
	}
	return []string{b.baseTar, path}, folderTar(path, dir, at)
}

// startPeers starts daemons; a peer whose daemon does not start is left out.
func (b *bench) startPeers() error {
	var up []*peer
	for _, p := range b.tools {
		if !slices.ContainsFunc(b.cells, func(c *cell) bool { return p.verb(c.verb) != nil }) {
			continue
		}
		if p.start != nil {
			if err := p.start(); err != nil {
				b.report.leaveOut(p.name, fmt.Sprintf("does not start here: %v", err))
				continue
			}
		}
		up = append(up, p)
	}
	b.tools = up
	return nil
}
