package plan

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// dispatch performs a stage's instructions on its image and graph. The stages that it needs come first in the recipe and
// are done, or it is an error.
func (m *maker) dispatch(s *stage) error {
	s.dispatched = true
	if s.base != nil {
		m.inherit(s)
	}
	if s.img == nil {
		return nil // not needed and not resolved
	}
	s.img = s.img.clone()
	scope := newEnv(s.img.Config.Env...)
	if _, ok := scope.Get("PATH"); !ok && s.platform.OS != "windows" {
		s.img.Config.Env = append(s.img.Config.Env, "PATH="+DefaultPath)
	}
	if s.env == nil {
		s.env = newEnv()
	}
	for _, line := range s.img.Config.Env {
		name, value, _ := strings.Cut(line, "=")
		s.env.Set(name, value)
	}
	had := s.img.Config.WorkingDir != ""
	s.dir = path.Join("/", s.fromNative(s.img.Config.WorkingDir))
	if had {
		s.img.Config.WorkingDir = s.native(s.dir)
	}
	for _, cmd := range s.commands {
		if err := m.perform(s, cmd); err != nil {
			return dockerfile.At(err, cmd.Location())
		}
	}
	return nil
}

// inherit starts a stage from another stage of the recipe.
func (m *maker) inherit(s *stage) {
	b := s.base
	if b.img == nil {
		return
	}
	s.fs, s.platform, s.img = b.fs, b.platform, b.img.clone()
	s.img.Config.OnBuild = nil
	if b.env != nil {
		s.env = b.env.clone()
	}
	s.args = append(s.args, b.args...)
	s.workdirSet = b.workdirSet
	s.out.inherit(b.out)
}

// perform performs one instruction.
func (m *maker) perform(s *stage, cmd command) error {
	lint := m.lint.For(cmd.Comments())
	if err := m.expand(s, cmd, lint); err != nil {
		return err
	}
	switch c := cmd.Command.(type) {
	case *dockerfile.Run:
		return m.exec(s, cmd, c)
	case *dockerfile.Copy:
		return m.copy(s, cmd, lint)
	case *dockerfile.Add:
		return m.copy(s, cmd, lint)
	case *dockerfile.Workdir:
		return m.workdir(s, cmd, c, lint)
	case *dockerfile.Arg:
		return m.arg(s, c, lint)
	case *dockerfile.Expose:
		return m.expose(s, c, lint)
	default:
		return describe(s, c, lint)
	}
}

// expand replaces the variables of an instruction. ARG does it by itself, as its default may not be used.
func (m *maker) expand(s *stage, cmd command, lint *dockerfile.Linter) error {
	replace := func(lex func(string, dockerfile.Scope) (dockerfile.Expanded, error)) func(string) (string, error) {
		return func(word string) (string, error) {
			res, err := lex(word, s.env)
			m.undefined(s, res.Unmatched, cmd.Location(), lint)
			return res.Result, err
		}
	}
	if _, isArg := cmd.Command.(*dockerfile.Arg); isArg {
		return nil
	}
	if ex, ok := cmd.Command.(dockerfile.Expander); ok {
		if err := ex.Expand(replace(m.lex.Word)); err != nil {
			return err
		}
	}
	if ex, ok := cmd.Command.(dockerfile.RawExpander); ok {
		return ex.ExpandRaw(replace(m.lex.Text))
	}
	return nil
}

// undefined reports variables without a value, but for arguments that were declared without one.
func (m *maker) undefined(s *stage, missing map[string]struct{}, at []dockerfile.Range, lint *dockerfile.Linter) {
	for _, a := range s.args {
		delete(missing, a.Key)
	}
	lint.UndefinedVars(missing, s.env, at)
}

func (m *maker) workdir(s *stage, cmd command, c *dockerfile.Workdir, lint *dockerfile.Linter) error {
	if !s.workdirSet && !path.IsAbs(c.Path) {
		lint.RelativeWorkdir(c.Path, c.Location())
	}
	s.workdirSet = true
	written := c.Path // an absolute one is kept as it is in the image
	if !path.IsAbs(c.Path) {
		written = path.Join("/", s.dir, c.Path)
	}
	s.dir = path.Clean(written)
	s.img.Config.WorkingDir = s.native(written)
	if s.dir == "/" {
		s.img.note("WORKDIR /", nil)
		return nil
	}
	text := wording(cmd, c.String())
	step, err := m.graph.add(&Step{Op: Workdir{Path: s.dir, User: s.img.Config.User}, Parent: s.fs, Platform: *s.platform, NoCache: s.noCache,
		Name: m.commandName(s, text), Text: text, Stage: s.label, Ranges: c.Location()})
	s.fs = step
	s.img.note("WORKDIR "+written, step)
	return err
}

// native writes a path as the image's system does.
func (s *stage) native(p string) string {
	if s.platform.OS == "windows" {
		return strings.ReplaceAll(p, "/", `\`)
	}
	return p
}

// fromNative writes a path of the image's system with slashes.
func (s *stage) fromNative(p string) string {
	if s.platform.OS == "windows" {
		return strings.ReplaceAll(p, `\`, "/")
	}
	return p
}

// wording is an instruction as its recipe has it, nothing expanded.
func wording(cmd command, text string) string {
	word, rest, _ := strings.Cut(text, " ")
	text = strings.ToUpper(word) + " " + rest
	if cmd.onBuild {
		text = "ONBUILD " + text
	}
	return text
}

// commandName is the name of a step as progress shows it.
func (m *maker) commandName(s *stage, text string) string {
	return m.stepName(s, m.lex.Display(text, s.env))
}

func (m *maker) arg(s *stage, c *dockerfile.Arg, lint *dockerfile.Linter) error {
	var parts []string
	for _, a := range c.Args {
		lint.Secret("ARG", a.Key, c.Location())
		info := argInfo{name: a.Key, about: a.DocComment, ranges: c.Location()}
		imported := false
		if given, ok := m.o.BuildArgs[a.Key]; ok {
			a.Value = &given
		} else if a.Value != nil {
			res, err := m.lex.Word(*a.Value, s.env)
			m.undefined(s, res.Unmatched, c.Location(), lint)
			if err != nil {
				return err
			}
			a.Value = &res.Result
		} else if v, ok := m.globals.Get(a.Key); ok {
			a.Value, imported = &v, true
		}
		part := a.Key
		if a.Value != nil {
			part += "=" + *a.Value
			info.value = *a.Value
			if a.Key != "BUILDKIT_SBOM_SCAN_CONTEXT" && a.Key != "BUILDKIT_SBOM_SCAN_STAGE" {
				s.env.Set(a.Key, *a.Value)
			}
		}
		if !imported {
			s.out.args[a.Key] = info
		}
		s.out.used[a.Key] = struct{}{}
		s.args = append(s.args, a)
		parts = append(parts, part)
	}
	s.img.note("ARG "+strings.Join(parts, " "), nil)
	return nil
}

// describe performs the instructions that change nothing but the image's configuration.
func describe(s *stage, c dockerfile.Command, lint *dockerfile.Linter) error {
	img, config := s.img, &s.img.Config
	at := c.Location()
	switch c := c.(type) {
	case *dockerfile.Env:
		line := "ENV"
		for _, kv := range c.Env {
			if kv.NoDelim {
				lint.LegacyKeyValue(c.Name(), at)
			}
			lint.Secret("ENV", kv.Key, at)
			line += " " + kv.String()
			s.env.Set(kv.Key, kv.Value)
			config.Env = setLine(config.Env, kv.Key, kv.Value)
		}
		img.note(line, nil)
	case *dockerfile.Label:
		line := "LABEL"
		if config.Labels == nil {
			config.Labels = map[string]string{}
		}
		for _, kv := range c.Labels {
			if kv.NoDelim {
				lint.LegacyKeyValue(c.Name(), at)
			}
			line += " " + kv.String()
			config.Labels[kv.Key] = kv.Value
		}
		img.note(line, nil)
	case *dockerfile.Cmd:
		usedOnce(c.Name(), &s.cmdAt, at, lint)
		config.Cmd = s.shellForm(c.Name(), c.CmdLine, c.PrependShell, at, lint)
		config.ArgsEscaped = true
		img.note(fmt.Sprintf("CMD %q", config.Cmd), nil)
	case *dockerfile.Entrypoint:
		usedOnce(c.Name(), &s.entryAt, at, lint)
		config.Entrypoint = s.shellForm(c.Name(), c.CmdLine, c.PrependShell, at, lint)
		if s.cmdAt == nil {
			config.Cmd = nil
		}
		img.note(fmt.Sprintf("ENTRYPOINT %q", config.Entrypoint), nil)
	case *dockerfile.Healthcheck:
		usedOnce(c.Name(), &s.healthAt, at, lint)
		h := c.Health
		config.Healthcheck = &Healthcheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod,
			StartInterval: h.StartInterval, Retries: h.Retries}
		img.note(fmt.Sprintf("HEALTHCHECK %+v", *config.Healthcheck), nil)
	case *dockerfile.User:
		config.User = c.User
		img.note("USER "+c.User, nil)
	case *dockerfile.Volume:
		if config.Volumes == nil {
			config.Volumes = map[string]struct{}{}
		}
		for _, v := range c.Volumes {
			if v == "" {
				return errors.New("VOLUME specified can not be an empty string")
			}
			config.Volumes[v] = struct{}{}
		}
		img.note(fmt.Sprintf("VOLUME %v", c.Volumes), nil)
	case *dockerfile.StopSignal:
		if err := checkSignal(c.Signal); err != nil {
			return err
		}
		config.StopSignal = c.Signal
		img.note("STOPSIGNAL "+c.Signal, nil)
	case *dockerfile.Shell:
		config.Shell = c.Shell
		img.note(fmt.Sprintf("SHELL %v", c.Shell), nil)
	case *dockerfile.Maintainer:
		img.Author = c.Maintainer
		img.note("MAINTAINER "+c.Maintainer, nil)
	case *dockerfile.Onbuild:
		config.OnBuild = append(config.OnBuild, c.Expression)
	default:
		return fmt.Errorf("instruction %s is not known to the planner", strings.ToUpper(c.Name()))
	}
	return nil
}

// usedOnce reports the earlier instruction of a kind of which the last one counts.
func usedOnce(name string, seen *[]dockerfile.Range, at []dockerfile.Range, lint *dockerfile.Linter) {
	if *seen != nil {
		lint.Repeated(name, *seen)
	}
	*seen = at
}

// shellForm puts the shell in front of a command that was not written as a list.
func (s *stage) shellForm(name string, args []string, shell bool, at []dockerfile.Range, lint *dockerfile.Linter) []string {
	if !shell {
		return args
	}
	if len(s.img.Config.Shell) == 0 {
		lint.JSONArgs(name, at)
	}
	return s.withShell(args)
}

func (s *stage) withShell(args []string) []string {
	shell := s.img.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
		if s.img.Platform.OS == "windows" {
			shell = []string{"cmd", "/S", "/C"}
		}
	}
	return append(append([]string(nil), shell...), strings.Join(args, " "))
}
