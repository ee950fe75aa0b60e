//go:build linux

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/runner"
)

// filterSet is what --filter asks for: any value of a key, all keys.
type filterSet map[string][]string

func containerFilters(list []string) (filterSet, error) {
	f := filterSet{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("filter %q: it must be KEY=VALUE", s)
		}
		switch k {
		case "status":
			if !slices.Contains([]string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}, v) {
				return nil, fmt.Errorf("filter %q: the status is created, running, paused, restarting, removing, exited or dead", s)
			}
			f[k] = append(f[k], v)
		case "exited":
			if _, err := strconv.Atoi(v); err != nil {
				return nil, fmt.Errorf("filter %q: it must be an exit code", s)
			}
			f[k] = append(f[k], v)
		case "name", "id", "label", "ancestor", "volume", "health", "publish", "expose", "network", "before", "since":
			f[k] = append(f[k], v)
		default:
			return nil, fmt.Errorf("filter %q: unknown key; it is name, id, status, label, ancestor, exited, volume, health, publish, expose, network, before or since", s)
		}
	}
	return f, nil
}

func (f filterSet) match(e runner.Entry) bool {
	for key, values := range f {
		one := func(v string) bool { return matchOne(e, key, v) }
		if key == "label" {
			if slices.ContainsFunc(values, func(v string) bool { return !one(v) }) {
				return false
			}
		} else if !slices.ContainsFunc(values, one) {
			return false
		}
	}
	return true
}

// resolve puts the moments at which the containers were made that before and since
// name in their place.
func (f filterSet) resolve(list []runner.Entry) error {
	for _, key := range []string{"before", "since"} {
		for i, v := range f[key] {
			at := slices.IndexFunc(list, func(e runner.Entry) bool { return e.Name == v || strings.HasPrefix(e.ID, v) })
			if at < 0 {
				return fmt.Errorf("filter %s=%s: %w: %s", key, v, runner.ErrNoContainer, v)
			}
			f[key][i] = madeAt(list[at])
		}
	}
	return nil
}

// madeAt is when a container was made, in a form that sorts as time does.
func madeAt(e runner.Entry) string { return e.Created.UTC().Format("2006-01-02T15:04:05.000000000") }

// matchName matches as docker does: a regular expression, with or without the
// slash before a name.
func matchName(name, pattern string) bool {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return strings.Contains(name, pattern)
	}
	return re.MatchString(name) || re.MatchString("/"+name)
}

func matchOne(e runner.Entry, key, v string) bool {
	switch key {
	case "name":
		return matchName(e.Name, v)
	case "before":
		return madeAt(e) < v
	case "since":
		return madeAt(e) > v
	case "network":
		return networkMode(e.Container) == v || e.Options.Network == v
	case "expose":
		list, err := runner.ParseExpose(v)
		have := exposedPorts(e.Container)
		return err == nil && slices.ContainsFunc(list, func(p string) bool { return slices.Contains(have, p) })
	case "id":
		return strings.HasPrefix(e.ID, v)
	case "status":
		return string(e.State.Status) == v
	case "label":
		return labelFilter(v, true)(e.Labels())
	case "ancestor":
		return e.Image == v || strings.TrimSuffix(e.Image, ":latest") == strings.TrimSuffix(v, ":latest") || strings.HasPrefix(strings.TrimPrefix(e.ImageID, "sha256:"), strings.TrimPrefix(v, "sha256:"))
	case "exited":
		return e.State.Status == runner.StatusExited && strconv.Itoa(e.State.ExitCode) == v
	case "volume":
		return slices.ContainsFunc(e.Options.Mounts, func(m runner.MountSpec) bool { return m.Source == v || m.Target == v })
	case "health":
		return e.State.Health != nil && e.State.Health.Status == v || e.State.Health == nil && v == "none"
	case "publish":
		return publishes(e, v)
	}
	return false
}
