package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stage is a stage of the recipe, or an image that a COPY or a mount reads, while it is planned.
type stage struct {
	src      dockerfile.Stage
	label    string // for people: its name, or stage-N
	base     *stage // the stage that it starts from, nil: an image or scratch
	baseName string // expanded
	platform *ocispec.Platform
	context  string // what the named context that stands in for the stage is; empty: none
	foreign  bool   // not a stage of the recipe
	commands []command
	needs    []need

	resolved   bool // its base image is known
	triggered  bool // its ONBUILD triggers are known
	dispatched bool // its steps are made

	fs   *Step
	img  *Image
	env  *env
	dir  string
	args []dockerfile.ArgValue // declared so far, for history lines

	workdirSet               bool
	cmdAt, entryAt, healthAt []dockerfile.Range
	total, index             int // of steps, for their names
	noCache                  bool
	out                      capture
}

// command is an instruction with the stages that it reads.
type command struct {
	dockerfile.Command
	from    []*stage // per mount of a RUN; one for COPY --from; nil entries: the main context
	onBuild bool
}

// need is a stage that another reads, and the instruction that does.
type need struct {
	stage *stage
	at    []dockerfile.Range
}

// addStage takes a stage of the recipe, with the variables of its FROM expanded.
func (m *maker) addStage(i int, src dockerfile.Stage) error {
	lint := m.lint.For(src.Comments)
	name, err := m.lex.Word(src.BaseName, m.globals)
	if err != nil {
		return err
	}
	known := m.knownArgs()
	lint.UndefinedFromArgs(name.Unmatched, known, src.Location)
	if name.Result == "" {
		return fmt.Errorf("base name (%s) should not be blank", src.BaseName)
	}
	s := &stage{src: src, label: src.Name, baseName: name.Result, out: newCapture()}
	s.out.use(name.Matched)
	if src.Platform != "" {
		p, err := m.stagePlatform(s, lint, known)
		if err != nil {
			return err
		}
		s.platform = p
	}
	if s.label == "" {
		s.label = "stage-" + strconv.Itoa(i)
	}
	if src.Name != "" {
		if spec, ok := m.contextFor(src.Name, s.platform); ok {
			s.context = spec
		}
	}
	if base, ok := m.byName[s.baseName]; ok && s.context == "" { // in small letters, as names of images are
		s.base = base
	}
	m.stages = append(m.stages, s)
	if src.Name != "" {
		m.byName[strings.ToLower(src.Name)] = s
	}
	s.noCache = m.o.NoCache != nil && m.o.NoCache(s.label)
	s.countSteps()
	return nil
}

// countSteps counts what will have a number in the names of steps.
func (s *stage) countSteps() {
	if s.base == nil && s.baseName != "scratch" {
		s.total++
	}
	for _, c := range s.src.Commands {
		switch c.(type) {
		case *dockerfile.Add, *dockerfile.Copy, *dockerfile.Run, *dockerfile.Workdir:
			s.total++
		}
	}
}

// stagePlatform evaluates a FROM --platform.
func (m *maker) stagePlatform(s *stage, lint *dockerfile.Linter, known []string) (*ocispec.Platform, error) {
	word, err := m.lex.Word(s.src.Platform, m.globals)
	if err != nil {
		return nil, fmt.Errorf("process arguments of platform %s: %w", s.src.Platform, err)
	}
	at := s.src.Location
	lint.UndefinedFromArgs(word.Unmatched, known, at)
	if _, redundant := word.Matched["TARGETPLATFORM"]; redundant && len(word.Matched) == 1 && len(word.Unmatched) == 0 {
		if v, _ := m.globals.Get("TARGETPLATFORM"); v == word.Result {
			lint.RedundantPlatform(s.src.Platform, at)
		}
	}
	if word.Result == "" {
		err := fmt.Errorf("empty platform value from expression %s", s.src.Platform)
		for name := range word.Unmatched {
			err = dockerfile.Suggest(err, name, known)
		}
		return nil, err
	}
	p, err := ParsePlatform(word.Result)
	if err != nil {
		return nil, err
	}
	constant := len(word.Matched) == 0 && len(word.Unmatched) == 0
	if constant && !strings.Contains(s.src.Name, p.OS) && !strings.Contains(s.src.Name, p.Architecture) {
		lint.ConstPlatform(word.Result, at)
	}
	s.out.use(word.Matched)
	return &p, nil
}

// link finds the stages that each instruction reads, and refuses cycles.
func (m *maker) link() error {
	for _, s := range slices.Clone(m.stages) {
		for _, c := range s.src.Commands {
			cmd, err := m.command(s, c)
			if err != nil {
				return dockerfile.At(err, c.Location())
			}
			s.commands = append(s.commands, cmd)
		}
	}
	return m.refuseCycles()
}

// command finds what an instruction reads.
func (m *maker) command(s *stage, c dockerfile.Command) (command, error) {
	cmd := command{Command: c}
	switch c := c.(type) {
	case *dockerfile.Copy:
		if c.From == "" {
			break
		}
		word, err := m.lex.Word(c.From, newEnv())
		if err != nil {
			return cmd, err
		}
		if word.Result != c.From {
			return cmd, errors.New("variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround")
		}
		from, err := m.stageFor(c.From, c.Location(), true)
		if err != nil {
			return cmd, err
		}
		cmd.from = []*stage{from}
	case *dockerfile.Run:
		for _, mount := range dockerfile.Mounts(c) {
			var from *stage
			if mount.From != "" {
				var err error
				if from, err = m.stageFor(mount.From, c.Location(), false); err != nil {
					return cmd, err
				}
			}
			cmd.from = append(cmd.from, from)
		}
	}
	for _, from := range cmd.from {
		if from != nil {
			s.needs = append(s.needs, need{from, c.Location()})
		}
	}
	return cmd, nil
}

// stageFor finds the stage that a --from means: a stage's name, for COPY its number too, else an image or a context.
func (m *maker) stageFor(name string, at []dockerfile.Range, numbers bool) (*stage, error) {
	if n, err := strconv.Atoi(name); err == nil && numbers {
		if n < 0 || n >= m.own {
			return nil, fmt.Errorf("invalid stage index %d", n)
		}
		return m.stages[n], nil
	}
	if s, ok := m.byName[strings.ToLower(name)]; ok {
		return s, nil
	}
	for _, s := range m.stages[m.own:] {
		if s.baseName == name {
			return s, nil
		}
	}
	s := &stage{src: dockerfile.Stage{BaseName: name, Location: at}, baseName: name, foreign: true, out: newCapture()}
	m.stages = append(m.stages, s)
	return s, nil
}

// refuseCycles returns an error when a stage needs itself.
func (m *maker) refuseCycles() error {
	const entered, left = 1, 2
	state := map[*stage]int{}
	var visit func(*stage) error
	visit = func(s *stage) error {
		state[s] = entered
		needs := s.needs
		if s.base != nil {
			needs = append(slices.Clone(needs), need{s.base, s.src.Location})
		}
		for _, n := range needs {
			if state[n.stage] == entered {
				return dockerfile.At(fmt.Errorf("circular dependency detected on stage: %s", n.stage.label), n.at)
			}
			if state[n.stage] == 0 {
				if err := visit(n.stage); err != nil {
					return err
				}
			}
		}
		state[s] = left
		return nil
	}
	for _, s := range m.stages {
		if state[s] == 0 {
			if err := visit(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// needed returns the stages that the target is made of.
func needed(target *stage) map[*stage]bool {
	set := map[*stage]bool{}
	var visit func(*stage)
	visit = func(s *stage) {
		if set[s] {
			return
		}
		set[s] = true
		if s.base != nil {
			visit(s.base)
		}
		if s.context != "" {
			return // its commands are not performed
		}
		for _, n := range s.needs {
			visit(n.stage)
		}
	}
	visit(target)
	return set
}

// wanted returns the stages that are planned: what the target is made of, or where all are to be checked, all that the
// recipe has with what they are made of.
func (m *maker) wanted(target *stage) map[*stage]bool {
	set := needed(target)
	if m.o.AllStages {
		for _, s := range m.stages[:m.own] {
			maps.Copy(set, needed(s))
		}
	}
	return set
}
