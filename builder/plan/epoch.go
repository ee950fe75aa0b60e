package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/dockerfile"
)

const epochArg = "SOURCE_DATE_EPOCH"

// setEpoch reads SOURCE_DATE_EPOCH, a build argument or a global one. Where it names something that says no time, it is as
// if it had not been given.
func (m *maker) setEpoch(ctx context.Context, stages []dockerfile.Stage) error {
	value, given := m.o.BuildArgs[epochArg]
	if !given {
		value, _ = m.globals.Get(epochArg)
	}
	var t time.Time
	var err error
	if value != "" {
		t, err = m.timeOf(ctx, value, stages)
	}
	if err != nil {
		return err
	}
	m.o.BuildArgs = maps.Clone(m.o.BuildArgs)
	if t.IsZero() {
		m.globals.Delete(epochArg)
		delete(m.o.BuildArgs, epochArg)
		return nil
	}
	m.epoch = &t
	seconds := strconv.FormatInt(t.Unix(), 10)
	if given {
		m.o.BuildArgs[epochArg] = seconds
	}
	if _, ok := m.globals.Get(epochArg); ok {
		m.globals.Set(epochArg, seconds)
	}
	return nil
}

// timeOf is the time that a value of SOURCE_DATE_EPOCH means: seconds, or what the context, a named context or the one
// download of a stage says of itself.
func (m *maker) timeOf(ctx context.Context, value string, stages []dockerfile.Stage) (time.Time, error) {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC(), nil
	}
	if value == "context" {
		return m.o.TimeOf(ctx, Context{})
	}
	if spec, ok := m.contextFor(value, nil); ok {
		return m.o.TimeOf(ctx, Context{Name: value, Spec: spec})
	}
	for _, s := range stages {
		if !strings.EqualFold(s.Name, value) {
			continue
		}
		op, err := m.download(s)
		if err != nil {
			return time.Time{}, dockerfile.At(err, s.Location)
		}
		return m.o.TimeOf(ctx, op)
	}
	return time.Time{}, fmt.Errorf("%s %q is neither a number of seconds nor context, a named context or a stage", epochArg, value)
}

// errOneDownload says what a stage must be like that gives the time.
var errOneDownload = errors.New("a stage that " + epochArg + " names holds one ADD of a URL or a repository, and nothing else but ARG")

// download is the one ADD of a stage that consists of nothing else.
func (m *maker) download(s dockerfile.Stage) (Op, error) {
	base, err := m.lex.Word(s.BaseName, m.globals)
	if err != nil {
		return nil, err
	}
	if base.Result != "scratch" {
		return nil, errors.New("a stage that " + epochArg + " names must be FROM scratch")
	}
	scope := m.globals.clone()
	scope.Delete(epochArg)
	var found Op
	for _, c := range s.Commands {
		switch c := c.(type) {
		case *dockerfile.Arg:
			err = m.declare(scope, c)
		case *dockerfile.Add:
			if found != nil || len(c.SourcePaths) != 1 || len(c.SourceContents) > 0 {
				return nil, errOneDownload
			}
			found, err = m.added(scope, c)
		default:
			return nil, errOneDownload
		}
		if err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, errOneDownload
	}
	return found, nil
}

// declare adds the arguments of an ARG to a scope.
func (m *maker) declare(scope *env, c *dockerfile.Arg) error {
	for _, a := range c.Args {
		value, given := m.o.BuildArgs[a.Key]
		if !given && a.Value == nil {
			continue
		}
		if !given {
			word, err := m.lex.Word(*a.Value, scope)
			if err != nil {
				return err
			}
			value = word.Result
		}
		scope.Set(a.Key, value)
	}
	return nil
}

// added is what an ADD of one source brings, nil where that is of the context.
func (m *maker) added(scope *env, c *dockerfile.Add) (Op, error) {
	src, err := m.lex.Word(c.SourcePaths[0], scope)
	if err != nil {
		return nil, err
	}
	sum, err := m.lex.Word(c.Checksum, scope)
	if err != nil {
		return nil, err
	}
	return remoteOp(src.Result, sum.Result, c.KeepGitDir)
}
