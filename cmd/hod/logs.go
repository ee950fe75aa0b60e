//go:build linux

package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "Show what a container wrote", ArgsUsage: "CONTAINER", Action: logs,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until it stops"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "put the time before each line"},
			&cli.BoolFlag{Name: "details", Hidden: true, Usage: "hod adds none to a line"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Value: "all", Usage: "lines from the end"},
			&cli.StringFlag{Name: "since", Usage: "only what is newer: a time, or 10m"},
			&cli.StringFlag{Name: "until", Usage: "only what is older: a time, or 10m"},
		},
	}
}

func logs(c *cli.Context) error {
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	o := runner.LogOptions{Follow: c.Bool("follow"), Timestamps: c.Bool("timestamps"), Tail: -1, Stdout: c.App.Writer, Stderr: c.App.ErrWriter}
	if s := c.String("tail"); s != "all" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("--tail %q: it must be a number or all", s)
		}
		o.Tail = max(n, -1) // less than none is all
	}
	var err error
	if o.Since, err = moment(c.String("since")); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if o.Until, err = moment(c.String("until")); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	return withContainers(c, func(cs *runner.Containers) error {
		return cs.Logs(c.Context, c.Args().First(), o)
	})
}

// moment reads a time as docker does: seconds since 1970, a duration before
// now, or a date.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Unix(0, int64(f*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", s)
}
