package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/cmd/bench/chart"
)

// drawFlame runs hod in each chosen cell with HOD_PROFILE=cpu, until ten seconds
// or twenty runs are seen, and draws where the time went.
func (b *bench) drawFlame(to string) error {
	profiles := filepath.Join(b.bed.Memory, "profiles")
	if err := os.MkdirAll(profiles, 0o755); err != nil {
		return err
	}
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if err := os.Chdir(profiles); err != nil { // where hod writes them
		return err
	}
	for _, c := range b.cells {
		for _, p := range b.tools {
			if err := b.profile(c, p); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	files, err := filepath.Glob("hod.cpu.*")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no profile was written: %w", err)
	}
	out, err := exec.Command("go", append([]string{"tool", "pprof", "-traces", b.hod}, files...)...).Output()
	if err != nil {
		return fmt.Errorf("go tool pprof: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	title := fmt.Sprintf("hod, %s, %d runs", b.options.work, len(files))
	if err := os.WriteFile(to, []byte(chart.Flame(title, "s of processor time", parseTraces(string(out)))), 0o644); err != nil {
		return err
	}
	top, err := exec.Command("go", append([]string{"tool", "pprof", "-top", "-cum", "-nodecount=40", b.hod}, files...)...).Output()
	fmt.Printf("%s\n%s\n", to, top)
	return err
}

func (b *bench) profile(c *cell, p *peer) error {
	p.env = append(p.env, "HOD_PROFILE=cpu")
	start := time.Now()
	for round := 0; round < 20 && time.Since(start) < 10*time.Second; round++ {
		var j job
		c.names(p, &j)
		if _, err := b.sample(c, p, &j, round); err != nil {
			return err
		}
	}
	return nil
}

// parseTraces reads what pprof -traces prints: blocks between dashed lines, the
// first line a weight and the innermost function, the others its callers.
func parseTraces(text string) []chart.Stack {
	var stacks []chart.Stack
	var s chart.Stack
	flush := func() {
		if len(s.Frames) > 0 {
			stacks = append(stacks, s)
		}
		s = chart.Stack{}
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "-----------+"):
			flush()
		case len(f) == 0 || len(stacks) == 0 && len(s.Frames) == 0 && !weighs(f[0]):
		default:
			if w, err := time.ParseDuration(f[0]); err == nil {
				s.Weight = w.Seconds()
				f = f[1:]
			}
			if len(f) > 0 {
				s.Frames = append([]string{strings.Join(f, " ")}, s.Frames...)
			}
		}
	}
	flush()
	return stacks
}

func weighs(word string) bool {
	_, err := time.ParseDuration(word)
	if err != nil {
		_, err = strconv.ParseFloat(word, 64)
	}
	return err == nil
}
