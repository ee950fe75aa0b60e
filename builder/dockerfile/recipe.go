package dockerfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// MaxSize is the largest recipe that is read, in bytes.
const MaxSize = 16 << 20

// Frontend is the version of the Dockerfile frontend whose language this package understands.
const Frontend = "docker/dockerfile:1.26"

// Recipe is a parsed recipe. It is immutable.
type Recipe struct {
	Name string // as the user names it: a path, "-" or a URL
	text []byte
	ast  *parser.Result
}

// Parse reads a recipe. It refuses text over [MaxSize], NUL bytes and what is not a sequence of known instructions.
func Parse(name string, text []byte) (*Recipe, error) {
	r := &Recipe{Name: name, text: text}
	switch {
	case len(text) > MaxSize:
		return nil, &Error{Name: name, Err: fmt.Errorf("recipe is larger than %d MiB", MaxSize>>20)}
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &Error{Name: name, Err: errors.New("the recipe is empty")}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		at := 1 + bytes.Count(text[:i], []byte("\n"))
		return nil, &Error{Name: name, Line: at, Last: at, Err: errors.New("the recipe holds a NUL byte")}
	}
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, r.Wrap(err)
	}
	r.ast = ast
	if _, _, err := r.Stages(nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Text returns the recipe as it was read.
func (r *Recipe) Text() []byte { return r.text }

// line is one line of a text, counting from 1, without its end; empty beyond the text.
func line(text []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return ""
		}
		text = text[i+1:]
	}
	if n < 1 {
		return ""
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimSuffix(string(line), "\r")
}

// Stages returns the recipe's stages and its global arguments, made anew on each call, and tells lint (which may be
// nil) what it notices.
func (r *Recipe) Stages(lint *Linter) ([]Stage, []Arg, error) {
	stages, globals, err := instructions.Parse(r.ast.AST, lint.inner())
	if err != nil {
		return nil, nil, r.Wrap(err)
	}
	if len(stages) == 0 {
		return nil, nil, &Error{Name: r.Name, Err: errors.New("the recipe has no stage: it needs a FROM")}
	}
	lint.structure(r, stages)
	return stages, globals, nil
}

// Trigger parses the text of an ONBUILD instruction, as if it stood at ranges (the FROM that set it off).
func Trigger(text string, ranges []Range) (Command, error) {
	res, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, relocate(err, ranges)
	}
	if len(res.AST.Children) != 1 {
		return nil, At(errors.New("an ONBUILD trigger must be one instruction"), ranges)
	}
	node := res.AST.Children[0]
	node.StartLine, node.EndLine = Lines(ranges)
	node.PrevComment = nil // a check= in it would ask for a linter that is not there
	c, err := instructions.ParseCommand(node)
	if err != nil {
		return nil, relocate(fmt.Errorf("ONBUILD trigger %q: %w", clip(text), err), ranges)
	}
	return c, nil
}

// relocate replaces the place that a trigger's error carries, which is not in this recipe.
func relocate(err error, ranges []Range) error { return parser.SetLocation(err, ranges) }

// Syntax returns the frontend that a `# syntax=` directive asks for, empty when there is none.
func (r *Recipe) Syntax() (name string, ranges []Range) {
	name, _, ranges, ok := parser.DetectSyntax(r.text)
	if !ok {
		return "", nil
	}
	return name, ranges
}

// CheckSyntax returns an error when the recipe asks for a frontend other than the built-in one. override is the
// BUILDKIT_SYNTAX build argument, which wins over the directive; "dockerfile.v0" names the built-in. Nothing is ever
// fetched: every release and channel of docker/dockerfile is read as [Frontend], whose language contains theirs.
func (r *Recipe) CheckSyntax(override string) error {
	name, ranges := r.Syntax()
	if override != "" {
		name, ranges = override, nil
	}
	name, _, _ = strings.Cut(strings.TrimSpace(name), " ")
	if name == "" || name == "dockerfile.v0" || isDockerfileFrontend(name) {
		return nil
	}
	return r.Wrap(At(fmt.Errorf("frontend %q is not available: hod has only %s built in; remove the syntax line or pass --build-arg BUILDKIT_SYNTAX=dockerfile.v0", clip(name), Frontend), ranges))
}

// isDockerfileFrontend says whether name is some version of the Dockerfile frontend.
func isDockerfileFrontend(name string) bool {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/"), "index.docker.io/")
	return name == "docker/dockerfile" || name == "docker/dockerfile-upstream"
}
