//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "Show what containers use, live", ArgsUsage: "[CONTAINER…]", Action: stats,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that do not run"},
			&cli.BoolFlag{Name: "no-stream", Usage: "show it once"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "print long values whole"},
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or table, or json"},
		},
	}
}

func stats(c *cli.Context) error {
	return withContainers(c, func(cs *runner.Containers) error {
		before := map[string]*runner.Stats{}
		if _, err := sample(c, cs, before); err != nil {
			return err
		}
		for {
			select {
			case <-c.Context.Done():
				return nil
			case <-time.After(time.Second):
			}
			rows, err := sample(c, cs, before)
			if err != nil {
				return err
			}
			if !c.Bool("no-stream") && hasTermios(os.Stdout) {
				fmt.Fprint(c.App.Writer, "\x1b[2J\x1b[H")
			}
			if err := printStats(c, rows); err != nil || c.Bool("no-stream") {
				return err
			}
		}
	})
}

// sample reads every container asked for; before holds the last reading, for
// the share of the processor since then.
func sample(c *cli.Context, cs *runner.Containers, before map[string]*runner.Stats) ([]row, error) {
	list, err := cs.List(c.Context)
	if err != nil {
		return nil, err
	}
	named := c.NArg() > 0
	if named {
		if list, err = asked(c, cs, list); err != nil {
			return nil, err
		}
	}
	rows := []row{}
	for _, e := range list {
		if !e.State.Running() {
			if c.Bool("all") || named {
				rows = append(rows, statsRow(e, &runner.Stats{}, nil, c.Bool("no-trunc")))
			}
			continue
		}
		if e.State.Cgroup == "" && !named { // without root, where nothing is counted
			rows = append(rows, uncounted(e, c.Bool("no-trunc")))
			continue
		}
		now, err := cs.Stats(c.Context, e.ID)
		if errors.Is(err, runner.ErrNoContainer) || errors.Is(err, runner.ErrNotRunning) {
			continue // it ended just now
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, statsRow(e, now, before[e.ID], c.Bool("no-trunc")))
		before[e.ID] = now
	}
	return rows, nil
}

// asked are the containers that the arguments name, in their order.
func asked(c *cli.Context, cs *runner.Containers, list []runner.Entry) ([]runner.Entry, error) {
	var found []runner.Entry
	for _, name := range c.Args().Slice() {
		one, _, err := cs.Lookup(c.Context, name)
		if err != nil {
			return nil, err
		}
		if at := slices.IndexFunc(list, func(e runner.Entry) bool { return e.ID == one.ID }); at >= 0 {
			found = append(found, list[at])
		}
	}
	return found, nil
}

func statsRow(e runner.Entry, now, before *runner.Stats, whole bool) row {
	cpu, mem := 0.0, 0.0
	if before != nil && now.Read.After(before.Read) {
		cpu = 100 * float64(now.CPU-before.CPU) / float64(now.Read.Sub(before.Read))
	}
	if now.MemoryLimit > 0 {
		mem = 100 * float64(now.Memory) / float64(now.MemoryLimit)
	}
	id := e.ShortID()
	if whole {
		id = e.ID
	}
	return row{
		"ID": id, "Container": id, "Name": e.Name, "CPUPerc": fmt.Sprintf("%.2f%%", cpu), "MemPerc": fmt.Sprintf("%.2f%%", mem),
		"MemUsage": binarySize(now.Memory) + " / " + binarySize(now.MemoryLimit),
		"NetIO":    humanSize(int64(now.NetIn)) + " / " + humanSize(int64(now.NetOut)),
		"BlockIO":  humanSize(int64(now.BlockRead)) + " / " + humanSize(int64(now.BlockWrite)), "PIDs": fmt.Sprint(now.Pids),
	}
}

// uncounted is the row of a container of which nothing is known.
func uncounted(e runner.Entry, whole bool) row {
	r := statsRow(e, &runner.Stats{}, nil, whole)
	for _, column := range []string{"CPUPerc", "MemPerc", "PIDs"} {
		r[column] = "--"
	}
	for _, column := range []string{"MemUsage", "NetIO", "BlockIO"} {
		r[column] = "-- / --"
	}
	return r
}

// binarySize is docker's for memory: four digits, powers of 1024.
func binarySize(n uint64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.4g%s", size, units[unit])
}

func printStats(c *cli.Context, rows []row) error {
	usual := "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
	return printRows(c.App.Writer, c.String("format"), usual, row{
		"ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
		"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
	}, rows)
}
