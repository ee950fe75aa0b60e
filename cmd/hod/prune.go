package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "Remove images without a name, leftovers, and what else is asked for",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also all images that no container uses, and the build cache"},
			&cli.BoolFlag{Name: "cache", Usage: "also the build cache"},
			&cli.BoolFlag{Name: "containers", Usage: "also containers that do not run"},
			&cli.BoolFlag{Name: "volumes", Usage: "also anonymous volumes that no container uses"},
			&cli.StringFlag{Name: "keep-bytes", Aliases: []string{"keep-storage"}, Usage: "drop build cache, the longest unused first, until the store takes no more than `SIZE`"},
			&cli.StringSliceFlag{Name: "filter", Usage: "only what fits: until=DURATION or TIME, label=KEY[=VALUE], label!=KEY[=VALUE]"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only tell what would go"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "do not ask"},
		},
		Action: prune,
	}
}

func prune(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	o, err := pruneOptions(c)
	if err != nil {
		return err
	}
	if !o.DryRun && !c.Bool("force") && !confirmed(c) {
		return nil
	}
	return withStore(c, func(s *layers.Store) error {
		if err := pruneOthers(c, s); err != nil {
			return err
		}
		res, err := s.Collect(c.Context, o)
		if err != nil {
			return err
		}
		if err := printPruned(c, o, res); err != nil {
			return err
		}
		if o.KeepBytes > 0 && res.Left > o.KeepBytes {
			takes := "still takes"
			if o.DryRun {
				takes = "would still take"
			}
			return withHint(fmt.Errorf("the store %s %s: images, containers and volumes need it", takes, humanSize(res.Left)),
				"hod prune --all removes images that no container uses")
		}
		return nil
	})
}

// pruneOthers removes what is not an image's and may keep one.
func pruneOthers(c *cli.Context, s *layers.Store) error {
	for _, kind := range []struct {
		flag  string
		prune func(*cli.Context, *layers.Store) error
	}{{"containers", pruneContainers}, {"volumes", pruneVolumes}} {
		if !c.Bool(kind.flag) {
			continue
		}
		if c.Bool("dry-run") {
			return fmt.Errorf("--dry-run tells of images and cache only: leave out --%s", kind.flag)
		}
		if err := kind.prune(c, s); err != nil {
			return err
		}
	}
	return nil
}

func confirmed(c *cli.Context) bool {
	what := "images without a name and leftovers"
	if c.Bool("all") {
		what = "all images that no container uses, and the build cache"
	}
	if c.Bool("containers") {
		what = "all containers that do not run, " + what
	}
	if c.Bool("volumes") {
		what = "all anonymous volumes that no container uses, " + what
	}
	return sure(c, what)
}

// sure asks whether something may be removed.
func sure(c *cli.Context, what string) bool {
	fmt.Fprintf(c.App.ErrWriter, "This removes %s. Are you sure? [y/N] ", what)
	answer, _ := bufio.NewReader(c.App.Reader).ReadString('\n') // the end of input is a no
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func printPruned(c *cli.Context, o layers.CollectOptions, res layers.CollectResult) error {
	w, verb := c.App.Writer, "Total reclaimed space"
	if o.DryRun {
		verb = "Would reclaim at least"
	}
	for _, n := range res.Untagged {
		if name, err := layers.ParseName(n); err == nil {
			n = name.Familiar()
		}
		if _, err := fmt.Fprintf(w, "untagged: %s\n", n); err != nil {
			return err
		}
	}
	for _, d := range res.Images {
		if _, err := fmt.Fprintf(w, "deleted: %s\n", d); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d images, %d objects, %d cache records\n%s: %s\n", len(res.Images), len(res.Objects), res.Records, verb, humanSize(res.Bytes))
	return err
}

func pruneOptions(c *cli.Context) (layers.CollectOptions, error) {
	o := layers.CollectOptions{
		Dangling: true, All: c.Bool("all"), Cache: c.Bool("all") || c.Bool("cache") || c.IsSet("keep-bytes"), DryRun: c.Bool("dry-run"),
	}
	var err error
	if c.IsSet("keep-bytes") {
		if o.KeepBytes, err = parseBytes(c.String("keep-bytes")); err != nil {
			return o, err
		}
	}
	var labels []func(map[string]string) bool
	for _, f := range c.StringSlice("filter") {
		key, value, _ := strings.Cut(f, "=")
		switch {
		case key == "until" && o.Before.IsZero():
			o.Before, err = parseUntil(value, time.Now())
		case key == "label" || key == "label!":
			labels = append(labels, labelFilter(value, key == "label"))
		default:
			err = withHint(fmt.Errorf("filter %q is not known here", f), "there are until= (once), label= and label!=")
		}
		if err != nil {
			return o, err
		}
	}
	if len(labels) > 0 { // cache records have no labels
		o.Cache = c.Bool("cache") || c.IsSet("keep-bytes")
		o.Filter = func(img layers.Image) bool {
			for _, fits := range labels {
				if !fits(labelsOf(img.Config)) {
					return false
				}
			}
			return true
		}
	}
	return o, nil
}

func labelsOf(config []byte) map[string]string {
	var c struct {
		Config struct{ Labels map[string]string } `json:"config"`
	}
	if json.Unmarshal(config, &c) != nil {
		return nil
	}
	return c.Config.Labels
}

func labelFilter(spec string, want bool) func(map[string]string) bool {
	key, value, valued := strings.Cut(spec, "=")
	return func(labels map[string]string) bool {
		v, has := labels[key]
		return (has && (!valued || v == value)) == want
	}
}

// parseUntil reads a duration before now, a time, or Unix seconds.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if secs, err := strconv.ParseInt(s, 10, 64); err == nil && secs >= 0 {
		return time.Unix(secs, 0), nil
	}
	return time.Time{}, withHint(fmt.Errorf("until=%s is neither a duration nor a time", s), "until=24h or until=2026-01-31")
}

// parseBytes reads a size: a number with b, k, m, g or t, which count in 1024s.
func parseBytes(s string) (int64, error) {
	number := strings.ToLower(s)
	number = strings.TrimSuffix(strings.TrimSuffix(number, "b"), "i")
	shift := 0
	if i := strings.IndexAny(number, "kmgt"); i >= 0 && i == len(number)-1 {
		shift = 10 * (strings.IndexByte("kmgt", number[i]) + 1)
		number = number[:i]
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f <= 0 || f*float64(int64(1)<<shift) >= 1<<62 {
		return 0, withHint(fmt.Errorf("size %q is not a number of bytes", s), "as in 500m or 20g")
	}
	return int64(f * float64(int64(1)<<shift)), nil
}
