//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "Show what happens to containers, as it happens", Action: events,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "begin there: a time, or 10m"},
			&cli.StringFlag{Name: "until", Usage: "end there: a time, or 10m"},
			&cli.StringSliceFlag{Name: "filter", Aliases: []string{"f"}, Usage: "show only these: container=NAME, event=ACTION, image=NAME, label=KEY[=VALUE], type=container"},
			&cli.StringFlag{Name: "format", Usage: "print with a Go template, or json"},
		},
	}
}

func events(c *cli.Context) error {
	if err := arguments(c, 0, 0); err != nil {
		return err
	}
	since, err := moment(c.String("since"))
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	until, err := moment(c.String("until"))
	if err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	filters, err := eventFilters(c.StringSlice("filter"))
	if err != nil {
		return err
	}
	return withContainers(c, func(cs *runner.Containers) error {
		return cs.Events(c.Context, since, until, func(e runner.Event) error {
			if !filters.fits(e) {
				return nil
			}
			if format := c.String("format"); format != "" {
				return printTemplate(c.App.Writer, format, eventView(e))
			}
			_, err := fmt.Fprintln(c.App.Writer, eventLine(e))
			return err
		})
	})
}

// eventFilters is what --filter asks for: any value of a key, all keys.
func eventFilters(list []string) (filterSet, error) {
	f := filterSet{}
	for _, s := range list {
		k, v, _ := strings.Cut(s, "=")
		if !slices.Contains([]string{"container", "event", "image", "label", "type"}, k) {
			return nil, withHint(fmt.Errorf("filter %q: unknown key", s), "there are container, event, image, label and type")
		}
		if k == "type" && v != "container" {
			return nil, withHint(fmt.Errorf("filter %q: only what happens to containers is told", s), "hod images, hod volume ls and hod df tell of the rest")
		}
		f[k] = append(f[k], v)
	}
	return f, nil
}

func (f filterSet) fits(e runner.Event) bool {
	for key, values := range f {
		if !slices.ContainsFunc(values, func(v string) bool { return fitsOne(e, key, v) }) {
			return false
		}
	}
	return true
}

func fitsOne(e runner.Event, key, v string) bool {
	switch key {
	case "container":
		return e.More["name"] == strings.TrimPrefix(v, "/") || v != "" && strings.HasPrefix(e.ID, v)
	case "event":
		word, _, _ := strings.Cut(e.Action, ":")
		return e.Action == v || word == v
	case "image":
		return e.More["image"] == v || strings.TrimSuffix(e.More["image"], ":latest") == strings.TrimSuffix(v, ":latest")
	case "label":
		return labelFilter(v, true)(e.More)
	}
	return true
}

// eventView is what a template sees.
func eventView(e runner.Event) map[string]any {
	return map[string]any{
		"Type": "container", "Action": e.Action, "Status": e.Action, "ID": e.ID, "From": e.More["image"], "Scope": "local",
		"Actor": map[string]any{"ID": e.ID, "Attributes": e.More}, "Time": e.Time.Unix(), "TimeNano": e.Time.UnixNano(),
	}
}

// eventLine is docker's: time, type, action, identity, attributes by name.
func eventLine(e runner.Event) string {
	var more []string
	for _, k := range slices.Sorted(maps.Keys(e.More)) {
		more = append(more, k+"="+e.More[k])
	}
	when := e.Time.Local().Format("2006-01-02T15:04:05.000000000Z07:00")
	return printable(fmt.Sprintf("%s container %s %s (%s)", when, e.Action, e.ID, strings.Join(more, ", ")))
}
