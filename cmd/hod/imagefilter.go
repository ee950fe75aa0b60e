package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hodbuild/hod/layers"
)

// imageTest tells whether an image is to be listed.
type imageTest func(listed) bool

// imageFilters are the keys of hod images --filter.
var imageFilters = map[string]func(s *layers.Store, value string) (imageTest, error){
	"reference": func(_ *layers.Store, value string) (imageTest, error) {
		_, err := path.Match(value, "")
		return func(l listed) bool { return named(l, value) }, err
	},
	"dangling": func(_ *layers.Store, value string) (imageTest, error) {
		want, ok := map[string]bool{"true": true, "1": true, "false": false, "0": false}[value]
		if !ok {
			return nil, fmt.Errorf("%q is neither true nor false", value)
		}
		return func(l listed) bool { return (l.name == nil) == want }, nil
	},
	"label": func(_ *layers.Store, value string) (imageTest, error) {
		fits := labelFilter(value, true)
		return func(l listed) bool { return fits(labelsOf(l.image.Config)) }, nil
	},
	"before": func(s *layers.Store, value string) (imageTest, error) {
		img, err := s.Resolve(value, nil)
		return func(l listed) bool { return l.image.Built.Before(img.Built) }, err
	},
	"since": func(s *layers.Store, value string) (imageTest, error) {
		img, err := s.Resolve(value, nil)
		return func(l listed) bool { return l.image.Built.After(img.Built) }, err
	},
	"until": func(_ *layers.Store, value string) (imageTest, error) {
		at, err := parseUntil(value, time.Now())
		return func(l listed) bool { return l.image.Built.Before(at) }, err
	},
}

// imageFilter makes one test of the filters and of the name behind the verb. References are alternatives; all else
// must hold.
func imageFilter(s *layers.Store, filters []string, pattern string) (imageTest, error) {
	tests := map[bool][]imageTest{}
	if pattern != "" {
		filters = append(filters, "reference="+pattern)
	}
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		if imageFilters[key] == nil || value == "" {
			return nil, withHint(fmt.Errorf("filter %q is unknown", f), "there are reference=PATTERN, dangling=true|false, label=KEY[=VALUE], before=IMAGE, since=IMAGE and until=TIME")
		}
		test, err := imageFilters[key](s, value)
		if err != nil {
			return nil, fmt.Errorf("filter %q: %w", f, err)
		}
		tests[key == "reference"] = append(tests[key == "reference"], test)
	}
	return func(l listed) bool {
		fits := func(t imageTest) bool { return t(l) }
		misses := func(t imageTest) bool { return !t(l) }
		return !slices.ContainsFunc(tests[false], misses) && (len(tests[true]) == 0 || slices.ContainsFunc(tests[true], fits))
	}, nil
}

// named tells whether a pattern fits an image's name, with or without its tag.
func named(l listed, pattern string) bool {
	if l.name == nil {
		return false
	}
	for _, n := range []string{l.name.Familiar(), l.name.FamiliarRepository(), l.name.String()} {
		if ok, err := path.Match(pattern, n); ok && err == nil {
			return true
		}
	}
	return false
}
