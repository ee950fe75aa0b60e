//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/runner"
	"github.com/hodbuild/hod/runner/bundle"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"
)

// runtimeLimitFlags are runc's flags of update, and what each one changes.
var runtimeLimitFlags = []struct {
	name, usage string
	set         func(*specs.LinuxResources, int64, string)
}{
	{"memory", "memory limit", func(r *specs.LinuxResources, n int64, _ string) { memoryOf(r).Limit = &n }},
	{"memory-reservation", "memory that is kept as long as there is other to take", func(r *specs.LinuxResources, n int64, _ string) { memoryOf(r).Reservation = &n }},
	{"memory-swap", "limit of memory and swap together, -1 for none", func(r *specs.LinuxResources, n int64, _ string) { memoryOf(r).Swap = &n }},
	{"cpu-share", "processor time relative to others", func(r *specs.LinuxResources, n int64, _ string) { v := uint64(n); cpuOf(r).Shares = &v }},
	{"cpu-quota", "microseconds of processor time a period", func(r *specs.LinuxResources, n int64, _ string) { cpuOf(r).Quota = &n }},
	{"cpu-period", "microseconds of a period", func(r *specs.LinuxResources, n int64, _ string) { v := uint64(n); cpuOf(r).Period = &v }},
	{"cpu-rt-runtime", "microseconds of real time a period", func(r *specs.LinuxResources, n int64, _ string) { cpuOf(r).RealtimeRuntime = &n }},
	{"cpu-rt-period", "microseconds of a period of real time", func(r *specs.LinuxResources, n int64, _ string) { v := uint64(n); cpuOf(r).RealtimePeriod = &v }},
	{"cpuset-cpus", "processors, such as 0-3", func(r *specs.LinuxResources, _ int64, s string) { cpuOf(r).Cpus = s }},
	{"cpuset-mems", "memory nodes, such as 0", func(r *specs.LinuxResources, _ int64, s string) { cpuOf(r).Mems = s }},
	{"pids-limit", "number of processes, -1 for no limit", func(r *specs.LinuxResources, n int64, _ string) { r.Pids = &specs.LinuxPids{Limit: &n} }},
	{"blkio-weight", "weight among readers and writers, 10 to 1000", func(r *specs.LinuxResources, n int64, _ string) {
		v := uint16(n)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &v}
	}},
}

func memoryOf(r *specs.LinuxResources) *specs.LinuxMemory {
	if r.Memory == nil {
		r.Memory = &specs.LinuxMemory{}
	}
	return r.Memory
}

func cpuOf(r *specs.LinuxResources) *specs.LinuxCPU {
	if r.CPU == nil {
		r.CPU = &specs.LinuxCPU{}
	}
	return r.CPU
}

func runtimeUpdateFlags() []cli.Flag {
	flags := []cli.Flag{&cli.StringFlag{Name: "resources", Aliases: []string{"r"}, Usage: "`FILE` with the limits in the form of config.json, - for the input; the other flags are then passed over"}}
	for _, f := range runtimeLimitFlags {
		flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage})
	}
	return flags
}

func runtimeUpdate(c *cli.Context, r bundle.Runtime, id string) error {
	res, err := runtimeResources(c)
	if err != nil {
		return err
	}
	return r.Update(id, res)
}

func runtimeResources(c *cli.Context) (*specs.LinuxResources, error) {
	res := &specs.LinuxResources{}
	if file := c.String("resources"); file != "" {
		in := os.Stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		if err := json.NewDecoder(io.LimitReader(in, 1<<20)).Decode(res); err != nil {
			return nil, fmt.Errorf("read limits: %w", err)
		}
		return res, nil
	}
	for _, f := range runtimeLimitFlags {
		text := c.String(f.name)
		if text == "" {
			continue
		}
		n, err := limitNumber(f.name, text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
		f.set(res, n, text)
	}
	if c.NumFlags() == 0 {
		return nil, errors.New("update needs --resources or a flag for a limit")
	}
	return res, nil
}

// limitNumber reads a limit: sizes may have a unit, lists are no numbers.
func limitNumber(flag, text string) (int64, error) {
	switch {
	case strings.HasPrefix(flag, "cpuset"):
		return 0, nil
	case strings.HasPrefix(flag, "memory") && text != "-1":
		return runner.ParseBytes(text)
	}
	return strconv.ParseInt(text, 10, 64)
}

// runtimePs prints a container's processes: their numbers as JSON, else what the
// machine's ps says of them.
func runtimePs(c *cli.Context, r bundle.Runtime, id string) error {
	pids, err := r.Pids(id)
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return json.NewEncoder(c.App.Writer).Encode(pids)
	}
	args := c.Args().Tail()
	if len(args) == 0 {
		args = []string{"-ef"}
	}
	return printPs(c.App.Writer, pids, args)
}

func runtimeEvents(c *cli.Context, r bundle.Runtime, id string) error {
	every := c.Duration("interval")
	if c.Bool("stats") {
		every = 0
	} else if every <= 0 {
		return errors.New("--interval must be above zero")
	}
	return r.Events(c.Context, id, every, c.App.Writer)
}

// runtimeLimitVerbs are the verbs of a container's control groups.
func runtimeLimitVerbs(verb func(string, string, []cli.Flag, func(*cli.Context, bundle.Runtime, string) error) *cli.Command) []*cli.Command {
	return []*cli.Command{
		verb("pause", "Stop all processes of a container where they are", nil, func(_ *cli.Context, r bundle.Runtime, id string) error { return r.Pause(id) }),
		verb("resume", "Let a paused container go on", nil, func(_ *cli.Context, r bundle.Runtime, id string) error { return r.Resume(id) }),
		verb("update", "Change a container's limits", runtimeUpdateFlags(), runtimeUpdate),
		verb("ps", "List a container's processes; what follows ID is for the machine's ps", []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "print this `FORM`: table or json"},
		}, runtimePs),
		verb("events", "Print what a container uses, and when its memory was not enough", []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "time between two lines"},
			&cli.BoolFlag{Name: "stats", Usage: "once"},
		}, runtimeEvents),
	}
}
