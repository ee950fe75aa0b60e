package ops

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/hodbuild/hod/builder/source"
	"github.com/moby/patternmatcher"
)

// matcher is a list of patterns as .dockerignore has them; nil matches everything that it is asked to by default.
type matcher struct {
	m        *patternmatcher.PatternMatcher
	patterns []string
}

func newMatcher(patterns []string) (*matcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	return &matcher{m, patterns}, nil
}

func (m *matcher) match(p string, above patternmatcher.MatchInfo, byDefault bool) (bool, patternmatcher.MatchInfo, error) {
	if m == nil {
		return byDefault, above, nil
	}
	return m.m.MatchesUsingParentResults(p, above)
}

// reincludes says whether some pattern takes back what another one matched.
func (m *matcher) reincludes() bool { return m != nil && m.m.Exclusions() }

// mayContain says whether something below dir could match, so that other folders need not be read.
func (m *matcher) mayContain(dir string) bool {
	if m == nil || dir == "" {
		return true
	}
	have := strings.Split(dir, "/")
	for _, p := range m.patterns {
		if mayMatchBelow(strings.Split(p, "/"), have) {
			return true
		}
	}
	return false
}

func mayMatchBelow(pattern, dir []string) bool {
	for i, part := range dir {
		if i >= len(pattern) {
			return true
		}
		if strings.Contains(pattern[i], "**") {
			return true
		}
		if ok, err := path.Match(pattern[i], part); err == nil && !ok {
			return false
		}
	}
	return true
}

func hasWildcards(name string) bool {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// expand lists what a source path with wildcards matches, sorted. The part before the first wildcard may lead through
// links; wildcards never match a slash.
func expand(f source.Files, name string) ([]string, error) {
	parts := strings.Split(source.Clean(name), "/")
	if _, err := path.Match(source.Clean(name), ""); err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	n := 0
	for n < len(parts) && !hasWildcards(parts[n]) {
		n++
	}
	dir, err := source.Resolve(f, path.Join(parts[:n]...), true)
	if err != nil {
		return nil, err
	}
	if _, err := f.Lstat(dir); err != nil {
		return nil, notFound(path.Join(parts[:n]...), err)
	}
	return expandIn(f, dir, parts[n:])
}

func expandIn(f source.Files, dir string, parts []string) ([]string, error) {
	list, err := f.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range list {
		if ok, err := path.Match(parts[0], path.Base(e.Path)); err != nil || !ok {
			continue
		}
		if len(parts) == 1 {
			out = append(out, e.Path)
			continue
		}
		if !e.IsDir() {
			continue
		}
		below, err := expandIn(f, e.Path, parts[1:])
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return out, nil
}
