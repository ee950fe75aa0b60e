// Command bench runs hod beside its peers and says how they compare.
//
//	bench [-work w1,w3,d,s1] [-peers hod,docker] [-scale 0.1] [-out docs/bench]
//
// A benchmark is a list of cells ([cell]): a job such as 'w3 cold', the peers
// that can do it, and what it cannot be faster than. The peers of a cell are
// measured in turn, A B A B, as whole processes in package bed's place, after
// each has shown once that what it makes is right. Works come from package
// work, checks from package tree, pictures from package chart.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/cmd/bench/bed"
)

// options is what the command line says.
type options struct {
	work, peers string
	out, hod    string
	cache       string
	scale       float64
	cell, limit time.Duration
	rounds      int
	disk        int64
	list        bool
	readme      string
	add         bool
	flame       string
}

func main() {
	if bed.Start() {
		return
	}
	var o options
	flag.StringVar(&o.work, "work", "", "cells to run, by the beginning of their names: w1,w3/cold,d,s1 (default: all but w6 and w7)")
	flag.StringVar(&o.peers, "peers", "", "tools to run (default: all that are installed)")
	flag.StringVar(&o.out, "out", "docs/bench", "folder of the results")
	flag.StringVar(&o.hod, "hod", "", "the hod to measure (default: built from this checkout)")
	flag.StringVar(&o.cache, "cache", defaultCache(), "folder of peers and inputs that bench-peers fetched")
	flag.Float64Var(&o.scale, "scale", 1, "size of w3 and w4")
	flag.DurationVar(&o.cell, "cell", 4*time.Second, "ask a tool no more in a cell after this time; two samples are taken, one of a slow tool")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of each cell, whatever the time")
	flag.DurationVar(&o.limit, "for", 0, "begin no further cell after this time, and name those that are left out")
	flag.BoolVar(&o.list, "list", false, "print the cells and their peers")
	flag.StringVar(&o.flame, "flame", "", "profile hod in these cells instead, and draw this SVG")
	flag.BoolVar(&o.add, "add", false, "keep what the folder of the results has of other cells")
	flag.StringVar(&o.readme, "readme", "", "put the pictures between the marks in this file when all is done")
	flag.Int64Var(&o.disk, "disk", 9<<30, "bytes of the disk in memory")
	load := flag.String("load", "", "be fifty clients of the registry at this address, check all that they get, and end")
	flag.Parse()
	if *load != "" {
		if err := loadRegistry(*load); err != nil {
			fmt.Fprintf(os.Stderr, "bench: load %s: %v\n", *load, err)
			os.Exit(1)
		}
		return
	}
	code, err := start(o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	}
	os.Exit(code)
}

func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "hod-bench")
}

// start enters the namespaces and runs there.
func start(o options) (int, error) {
	if os.Getuid() != 0 {
		return 1, fmt.Errorf("the peers' daemons, the disk in memory and the slow link need root")
	}
	var err error
	if o.hod, err = builtHod(o); err != nil {
		return 1, err
	}
	if err := os.Setenv("HOD_BENCH_HOD", o.hod); err != nil {
		return 1, err
	}
	folder, code, err := bed.Enter()
	if folder == "" || err != nil {
		return code, err
	}
	if err := run(o, folder); err != nil {
		return 1, err
	}
	return 0, nil
}

// builtHod is the hod that was named, or the one that this checkout makes.
func builtHod(o options) (string, error) {
	if made := os.Getenv("HOD_BENCH_HOD"); made != "" {
		return made, nil
	}
	if o.hod != "" {
		return filepath.Abs(o.hod)
	}
	if out, err := exec.Command("make", "build").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hod: %w: %s", err, out)
	}
	return filepath.Abs("bin/hod")
}

// run makes the bed, measures, and writes the report as it grows.
func run(o options, folder string) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if err := os.Setenv("PATH", filepath.Join(o.cache, "bin")+":"+os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	b, err := newBench(o, folder)
	if err != nil {
		return err
	}
	if o.list {
		return b.list(os.Stdout)
	}
	if err := b.prepare(); err != nil {
		return err
	}
	if o.flame != "" {
		return b.drawFlame(o.flame)
	}
	if o.add {
		if err := b.report.keep(o.out, b.cells); err != nil {
			return err
		}
	}
	begun := time.Now()
	for _, c := range b.cells {
		if o.limit > 0 && time.Since(begun) > o.limit {
			b.report.leaveOut(c.name, "no time was left for it: -for "+o.limit.String())
			continue
		}
		if err := b.measure(c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := b.report.write(o.out); err != nil {
			return err
		}
	}
	if o.readme != "" {
		return b.report.putInto(o.readme, o.out)
	}
	return nil
}
