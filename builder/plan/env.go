package plan

import (
	"slices"
	"strings"
)

// env is an ordered list of variables; a value that is set again keeps its place.
type env struct {
	names  []string
	values map[string]string
}

func newEnv(lines ...string) *env {
	e := &env{values: map[string]string{}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		e.Set(name, value)
	}
	return e
}

// Get and Keys make an env a dockerfile.Scope.
func (e *env) Get(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// Keys returns the names in the order of their first setting.
func (e *env) Keys() []string { return e.names }

// Set adds or replaces a variable.
func (e *env) Set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// Delete removes a variable.
func (e *env) Delete(name string) {
	if _, ok := e.values[name]; ok {
		delete(e.values, name)
		e.names = slices.DeleteFunc(e.names, func(n string) bool { return n == name })
	}
}

// Lines returns name=value lines.
func (e *env) Lines() []string {
	lines := make([]string, 0, len(e.names))
	for _, n := range e.names {
		lines = append(lines, n+"="+e.values[n])
	}
	return lines
}

func (e *env) clone() *env { return newEnv(e.Lines()...) }

// setLine adds or replaces a variable in a list of name=value lines.
func setLine(lines []string, name, value string) []string {
	for i, line := range lines {
		if n, _, _ := strings.Cut(line, "="); n == name {
			lines[i] = name + "=" + value
			return lines
		}
	}
	return append(lines, name+"="+value)
}
