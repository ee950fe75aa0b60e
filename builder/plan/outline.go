package plan

import (
	"cmp"
	"maps"
	"slices"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// Outline is what can be given to a build of a target.
type Outline struct {
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	Args        []ArgInfo `json:"args,omitempty"`
	Secrets     []Need    `json:"secrets,omitempty"`
	SSH         []Need    `json:"ssh,omitempty"`
}

// ArgInfo is one build argument.
type ArgInfo struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Value       string `json:"value,omitempty"`
	Line        int    `json:"line"`
}

// Need is a secret or an ssh agent that a RUN mounts.
type Need struct {
	Name     string `json:"name"`
	Required bool   `json:"required,omitempty"`
	Line     int    `json:"line"`
}

// TargetInfo is one stage that can be built.
type TargetInfo struct {
	Name        string `json:"name,omitempty"`
	Default     bool   `json:"default,omitempty"`
	Description string `json:"description,omitempty"`
	Base        string `json:"base,omitempty"`
	Platform    string `json:"platform,omitempty"`
	Line        int    `json:"line"`
}

// Targets lists the stages of a recipe.
func Targets(r *dockerfile.Recipe) ([]TargetInfo, error) {
	stages, _, err := r.Stages(nil)
	if err != nil {
		return nil, err
	}
	var list []TargetInfo
	for i, s := range stages {
		line, _ := dockerfile.Lines(s.Location)
		list = append(list, TargetInfo{Name: s.Name, Default: i == len(stages)-1, Description: s.DocComment,
			Base: s.BaseName, Platform: s.Platform, Line: line})
	}
	return list, nil
}

type needInfo struct {
	name     string
	required bool
	ranges   []dockerfile.Range
}

// capture gathers what an outline shows of a stage.
type capture struct {
	args    map[string]argInfo
	used    map[string]struct{}
	secrets map[string]needInfo
	ssh     map[string]needInfo
}

func newCapture() capture {
	return capture{args: map[string]argInfo{}, used: map[string]struct{}{}, secrets: map[string]needInfo{}, ssh: map[string]needInfo{}}
}

func (c capture) use(names map[string]struct{}) { maps.Copy(c.used, names) }

// inherit takes what the base stage has.
func (c capture) inherit(base capture) {
	maps.Copy(c.args, base.args)
	maps.Copy(c.used, base.used)
	maps.Copy(c.secrets, base.secrets)
	maps.Copy(c.ssh, base.ssh)
}

// outline gathers a stage and all that it needs. Arguments whose value makes another one are used with it.
func (m *maker) outline(target *stage) Outline {
	all := newCapture()
	for s := range needed(target) {
		all.inherit(s.out)
	}
	for name, info := range m.args {
		if _, own := all.args[name]; !own {
			all.args[name] = info
		}
	}
	for grown := true; grown; {
		grown = false
		for name := range all.used {
			for dep := range all.args[name].deps {
				if _, ok := all.used[dep]; !ok {
					all.used[dep], grown = struct{}{}, true
				}
			}
		}
	}
	out := Outline{Name: target.src.Name, Description: target.src.DocComment, Secrets: needs(all.secrets), SSH: needs(all.ssh)}
	for name := range all.used {
		if a, ok := all.args[name]; ok {
			line, _ := dockerfile.Lines(a.ranges)
			out.Args = append(out.Args, ArgInfo{Name: name, Description: a.about, Value: a.value, Line: line})
		}
	}
	slices.SortFunc(out.Args, func(a, b ArgInfo) int { return cmp.Or(a.Line-b.Line, cmp.Compare(a.Name, b.Name)) })
	return out
}

func needs(set map[string]needInfo) []Need {
	var list []Need
	for _, n := range set {
		line, _ := dockerfile.Lines(n.ranges)
		list = append(list, Need{n.name, n.required, line})
	}
	slices.SortFunc(list, func(a, b Need) int { return cmp.Or(a.Line-b.Line, cmp.Compare(a.Name, b.Name)) })
	return list
}
