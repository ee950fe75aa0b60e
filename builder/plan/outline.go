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
	Sources     [][]byte  `json:"sources,omitempty"` // the recipe
}

// ArgInfo is one build argument.
type ArgInfo struct {
	Name        string               `json:"name"`
	Description string               `json:"description,omitempty"`
	Value       string               `json:"value,omitempty"`
	Location    *dockerfile.Location `json:"location,omitempty"`
}

// Need is a secret or an ssh agent that a RUN mounts.
type Need struct {
	Name     string               `json:"name"`
	Required bool                 `json:"required,omitempty"`
	Location *dockerfile.Location `json:"location,omitempty"`
}

// TargetInfo is one stage that can be built.
type TargetInfo struct {
	Name        string               `json:"name,omitempty"`
	Default     bool                 `json:"default,omitempty"`
	Description string               `json:"description,omitempty"`
	Base        string               `json:"base,omitempty"`
	Platform    string               `json:"platform,omitempty"`
	Location    *dockerfile.Location `json:"location,omitempty"`
}

// TargetList is what can be built of a recipe.
type TargetList struct {
	Targets []TargetInfo `json:"targets"`
	Sources [][]byte     `json:"sources"` // the recipe
}

// Targets lists the stages of a recipe.
func Targets(r *dockerfile.Recipe) (*TargetList, error) {
	stages, _, err := r.Stages(nil)
	if err != nil {
		return nil, err
	}
	list := &TargetList{Sources: [][]byte{r.Text()}}
	for i, s := range stages {
		list.Targets = append(list.Targets, TargetInfo{Name: s.Name, Default: i == len(stages)-1, Description: s.DocComment,
			Base: s.BaseName, Platform: s.Platform, Location: dockerfile.LocationOf(s.Location)})
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
	out := Outline{Name: target.src.Name, Description: target.src.DocComment, Secrets: needs(all.secrets), SSH: needs(all.ssh), Sources: [][]byte{m.recipe.Text()}}
	for name := range all.used {
		if a, ok := all.args[name]; ok {
			out.Args = append(out.Args, ArgInfo{Name: name, Description: a.about, Value: a.value, Location: dockerfile.LocationOf(a.ranges)})
		}
	}
	slices.SortFunc(out.Args, func(a, b ArgInfo) int {
		return cmp.Or(a.Location.First()-b.Location.First(), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func needs(set map[string]needInfo) []Need {
	var list []Need
	for _, n := range set {
		list = append(list, Need{n.name, n.required, dockerfile.LocationOf(n.ranges)})
	}
	slices.SortFunc(list, func(a, b Need) int { return cmp.Or(a.Location.First()-b.Location.First(), cmp.Compare(a.Name, b.Name)) })
	return list
}
