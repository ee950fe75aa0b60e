package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Ignore hides files of a context, as .dockerignore says: one pattern a line, ** for any number of folders, ! to include
// again, and the last pattern that matches wins. A nil Ignore hides nothing.
type Ignore struct {
	name    string
	matcher *patternmatcher.PatternMatcher
}

// MaxIgnore is the largest ignore file that is read, in bytes.
const MaxIgnore = 4 << 20

// NewIgnore compiles patterns; name is the file that they come from, for messages.
func NewIgnore(name string, patterns []string) (*Ignore, error) {
	for _, p := range patterns {
		if strings.TrimLeft(p, "!/ ") == "" && p != "" && p != "/" {
			return nil, fmt.Errorf("read %s: pattern %q excludes nothing", name, p)
		}
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		for _, p := range patterns { // which one it is, the library does not say
			if _, one := patternmatcher.New([]string{p}); one != nil {
				return nil, fmt.Errorf("read %s: pattern %q: %w", name, p, one)
			}
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &Ignore{name: name, matcher: m}, nil
}

// ReadIgnore reads the ignore file that belongs to a recipe: recipe + ".dockerignore" where it exists, else
// .dockerignore in the root. The recipe is a path in files, "" when it lies elsewhere.
func ReadIgnore(files Files, recipe string) (*Ignore, error) {
	names := []string{".dockerignore"}
	if recipe != "" {
		names = []string{recipe + ".dockerignore", ".dockerignore"}
	}
	for _, name := range names {
		data, err := ReadFile(files, name, MaxIgnore)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return ParseIgnore(name, data)
	}
	return nil, nil
}

// ParseIgnore reads the text of an ignore file, which is an error beyond [MaxIgnore].
func ParseIgnore(name string, text []byte) (*Ignore, error) {
	if len(text) > MaxIgnore {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, MaxIgnore)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return NewIgnore(name, patterns)
}

// Excluded says whether the patterns exclude a path, by itself or by a folder above it.
func (i *Ignore) Excluded(p string) (bool, error) {
	if i.empty() || p == "" {
		return false, nil
	}
	var info patternmatcher.MatchInfo
	matched := false
	for n := 0; n <= len(p); n++ {
		if n < len(p) && p[n] != '/' {
			continue
		}
		var err error
		if matched, info, err = i.matcher.MatchesUsingParentResults(p[:n], info); err != nil {
			return false, fmt.Errorf("match %q against %s: %w", p, i.name, err)
		}
	}
	return matched, nil
}

// HasExceptions says whether a pattern takes back what another one excludes.
func (i *Ignore) HasExceptions() bool { return !i.empty() && i.matcher.Exclusions() }

// ExcludesAll says whether a pattern excludes all that lies in the root, and none takes anything back.
func (i *Ignore) ExcludesAll() bool {
	return !i.empty() && !i.matcher.Exclusions() && slices.ContainsFunc(i.matcher.Patterns(), func(p *patternmatcher.Pattern) bool {
		return slices.Contains([]string{"*", "**", "**/*"}, p.String())
	})
}

// Name is the ignore file's name, for warnings.
func (i *Ignore) Name() string { return i.name }

func (i *Ignore) empty() bool { return i == nil || len(i.matcher.Patterns()) == 0 }

// mayInclude says whether some pattern could include an entry below an excluded folder again.
func (i *Ignore) mayInclude(dir string) bool {
	if !i.matcher.Exclusions() {
		return false
	}
	for _, p := range i.matcher.Patterns() {
		if p.Exclusion() && overlaps(p.String(), dir) {
			return true
		}
	}
	return false
}

// overlaps says whether a pattern may match something below dir: its literal beginning lies on dir's path or under it.
func overlaps(pattern, dir string) bool {
	literal := pattern
	if n := strings.IndexAny(pattern, `*?[\`); n >= 0 {
		literal = pattern[:n]
		return strings.HasPrefix(dir+"/", literal) || strings.HasPrefix(literal, dir+"/")
	}
	return strings.HasPrefix(literal+"/", dir+"/") || strings.HasPrefix(dir+"/", literal+"/")
}

// ReadFile reads a whole small file of a tree, following links inside of it; more than limit bytes are an error.
func ReadFile(f Files, name string, limit int64) ([]byte, error) {
	p, err := Resolve(f, name, true)
	if err != nil {
		return nil, err
	}
	e, err := f.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !e.IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	r, err := f.Open(p)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("read %q: larger than %d bytes", name, limit)
	}
	return data, err
}
