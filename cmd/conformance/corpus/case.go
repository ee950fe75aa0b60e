package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Case is one build and what must come of it.
type Case struct {
	Name     string // area/name
	Where    string // file:line
	Rows     []string
	Args     []string // of hod build, without the context
	Context  string   // the last argument; a folder "context" unless said otherwise
	Env      []string
	Stdin    string // name of a section
	Needs    []string
	Differs  string // why BuildKit is known to differ, or is not asked
	About    string
	sections []txtar.File
}

// Load reads every case below a folder: testdata/corpus/AREA.txt holds AREA/name.
func Load(folder string) ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no cases in %s: %v", folder, err)
	}
	var all []*Case
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		list, err := parse(file, string(text))
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if seen[c.Name] {
				return nil, fmt.Errorf("%s: there are two cases %s", c.Where, c.Name)
			}
			seen[c.Name] = true
		}
		all = append(all, list...)
	}
	return all, nil
}

func parse(file, text string) ([]*Case, error) {
	area := strings.TrimSuffix(filepath.Base(file), ".txt")
	var list []*Case
	for i, part := range strings.Split("\n"+text, "\n=== ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		c := &Case{Name: area + "/" + name, Where: fmt.Sprintf("%s, case %d, %s", file, i+1, name), Context: "context"}
		archive := txtar.Parse([]byte(rest))
		c.sections = archive.Files
		if err := c.settings(string(archive.Comment)); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Where, err)
		}
		list = append(list, c)
	}
	return list, nil
}

// settings reads what stands above the first section.
func (c *Case) settings(text string) error {
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		words, err := split(value)
		if err != nil {
			return err
		}
		for i, w := range words {
			words[i] = unquote(w)
		}
		switch {
		case !ok:
			c.About += line + "\n"
		case key == "rows":
			c.Rows = words
		case key == "args":
			c.Args = append(c.Args, words...)
		case key == "env":
			c.Env = append(c.Env, words...)
		case key == "needs":
			c.Needs = words
		case key == "context":
			c.Context = value
		case key == "stdin":
			c.Stdin = value
		case key == "differs":
			c.Differs = value
		default:
			c.About += line + "\n"
		}
	}
	return nil
}

// Section returns a section's text, and whether the case has it.
func (c *Case) Section(name string) (string, bool) {
	for _, f := range c.sections {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

// Clones says whether the case needs git, to make and serve a repository.
func (c *Case) Clones() bool {
	return slices.ContainsFunc(c.sections, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "git ") })
}

// Runs says whether a recipe of the case has a RUN, so that building it needs namespaces.
func (c *Case) Runs() bool {
	for _, f := range c.sections {
		for line := range strings.SplitSeq(string(f.Data), "\n") {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.EqualFold(word, "RUN") || strings.HasPrefix(line, "ONBUILD RUN") || strings.Contains(line, `\nRUN `) {
				return true
			}
		}
	}
	return false
}
