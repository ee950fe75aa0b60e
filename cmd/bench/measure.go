package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// measure runs the rounds of a cell and adds its rows to the report.
func (b *bench) measure(c *cell) error {
	peers := b.able(c)
	rows := map[*peer]*row{}
	for _, p := range peers {
		rows[p] = b.report.row(c, p)
	}
	// The first round warms up and is checked.
	start, spent := time.Now(), map[*peer]time.Duration{}
	for round := 0; round <= c.rounds; round++ {
		asked := 0
		for _, p := range peers {
			if b.enough(round, spent[p]) {
				continue
			}
			asked++
			begun := time.Now()
			b.round(c, p, rows[p], round)
			spent[p] += time.Since(begun)
		}
		if asked == 0 {
			break
		}
	}
	for _, p := range peers {
		for _, v := range c.after {
			_ = b.performAll(p, job{}, v) // what it leaves is gone with the bed
		}
		if p.name != floorName && !c.keeps {
			if err := p.fresh(); err != nil {
				return err
			}
		}
	}
	if err := b.tidy(); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s (%.0f s)\n", b.report.line(c), time.Since(start).Seconds())
	return nil
}

// tidy gives back the room of archives and pushed images; the cells to come are
// measured in a bed as empty as the first found it.
func (b *bench) tidy() error {
	memory, disk := b.bed.Memory, b.bed.Disk
	for _, made := range []string{memory + "/check.tar", memory + "/check", disk + "/archive.tar", disk + "/fetched"} {
		if err := removeAll(made); err != nil {
			return err
		}
	}
	if err := b.near.strip(); err != nil {
		return err
	}
	return b.bed.Trim()
}

// enough says whether a peer that took so long in so many rounds is asked no
// more: after two that count, or one where it is slow; one that is very slow is
// counted in the round that warms up.
func (b *bench) enough(rounds int, spent time.Duration) bool {
	if b.rounds != 0 {
		return rounds > b.rounds
	}
	return rounds >= 3 && spent > b.cell || rounds == 2 && spent > 2*b.cell || rounds == 1 && spent > 4*b.cell
}

// able are the peers that can do a cell, and its floor.
func (b *bench) able(c *cell) []*peer {
	var able []*peer
	for _, p := range b.tools {
		if p.verb(c.verb) != nil && !(c.mounts && p.name == "docker") && b.knows(p, c) {
			able = append(able, p)
		}
	}
	if c.floor != "" {
		able = append(able, b.floorPeer(c))
	}
	return able
}

// round takes one sample of one peer. A peer that fails is told in its row and
// is not asked again.
func (b *bench) round(c *cell, p *peer, r *row, round int) {
	if r.Trouble != "" {
		return
	}
	j := job{folder: filepath.Join(b.bed.Disk, "scratch-"+p.folder())}
	c.names(p, &j)
	sample, err := b.sample(c, p, &j, round)
	if err == nil && round == 0 && c.check != nil && p.name != floorName {
		if err = c.check(p, j); err != nil {
			err = fmt.Errorf("the result is wrong: %w", err)
		}
	}
	if err != nil {
		r.Trouble = strings.Join(strings.Fields(err.Error()), " ")
		fmt.Fprintf(os.Stderr, "# %s: %s: %s\n", c.name, p.name, r.Trouble)
		return
	}
	r.add(sample, round == 0)
}

func (b *bench) sample(c *cell, p *peer, j *job, round int) (bed.Sample, error) {
	if p.name != floorName {
		if round == 0 && c.once != nil {
			if err := c.once(p, j); err != nil {
				return bed.Sample{}, fmt.Errorf("before: %w", err)
			}
		}
		if c.each != nil {
			if err := c.each(p, j); err != nil {
				return bed.Sample{}, fmt.Errorf("before: %w", err)
			}
		}
	} else if c.floorEach {
		if err := c.each(p, j); err != nil {
			return bed.Sample{}, err
		}
	}
	if err := removeAll(j.file); err != nil && j.file != "" {
		return bed.Sample{}, err
	}
	var commands []bed.Command
	for i := range max(1, c.atOnce) {
		j.folder = fmt.Sprintf("%d-%d", round, i)
		for _, argv := range p.verb(c.verb)(*j) {
			commands = append(commands, bed.Command{Argv: argv, Env: p.env})
		}
	}
	if p.name == floorName {
		commands = commands[:1] // the script itself does it as often
	}
	var daemons []int
	if p.daemons != nil {
		daemons = p.daemons()
	}
	if !c.stays {
		return b.bed.Measure(commands, c.atOnce > 0, daemons)
	}
	before := bed.Processes()
	s, err := b.bed.Measure(commands, c.atOnce > 0, daemons)
	if err == nil {
		s.Stays = bed.Stays(before)
	}
	return s, err
}

// perform runs a verb outside of any measurement.
func (b *bench) perform(p *peer, name string, j job) error {
	if p.verb(name) == nil {
		return fmt.Errorf("%s has no %q", p.name, name)
	}
	for _, argv := range p.verb(name)(j) {
		if err := (bed.Command{Argv: argv, Env: p.env}).Run(); err != nil {
			return err
		}
	}
	return nil
}

// performAll runs verbs in turn; those that a peer does not have are passed
// over, and those that end in ? may fail.
func (b *bench) performAll(p *peer, j job, names ...string) error {
	for _, name := range names {
		verb, mayFail := strings.CutSuffix(name, "?")
		if p.verb(verb) == nil {
			continue
		}
		if err := b.perform(p, verb, j); err != nil && !mayFail {
			return err
		}
	}
	return nil
}

// knows says whether hod has the verb already: it grows.
func (b *bench) knows(p *peer, c *cell) bool {
	if p.name != "hod" || c.verb != "copy" {
		return true
	}
	return bed.Command{Argv: []string{b.hod, "help", "copy"}}.Run() == nil
}

// verb of a peer. To run an image that is absent is to run it; what keeps blobs as
// they came pulls by fetching them, and what does not unpacks them.
func (p *peer) verb(name string) verb {
	switch v := p.verbs[name]; {
	case v != nil:
		return v
	case name == "run absent" && p.verbs["pull"] != nil:
		return p.verbs["run"]
	case name == "detach" && p.verbs["pull"] != nil: // a runtime alone leaves nothing beside the container
		return p.verbs["start"]
	case name == "download" && p.verbs["publish"] != nil:
		return one(func(j job) []string { return download(j.port) })
	case name == "pack":
		return p.verbs["build to archive"]
	case name == "fetch" && p.packed, name == "pull unpacked" && !p.packed:
		return p.verbs["pull"]
	}
	return nil
}

// folder is the peer's name as a file's.
func (p *peer) folder() string { return strings.ReplaceAll(p.name, "+", "-") }

// split divides HOST/NAME:1.
func split(image string) (host, name string) {
	host, name, _ = strings.Cut(image, "/")
	return host, strings.TrimSuffix(name, ":1")
}
