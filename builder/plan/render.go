package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// Write prints the graph: format text, json or dot.
func (p *Plan) Write(w io.Writer, format string) error {
	switch format {
	case "", "text":
		return p.writeText(w)
	case "json":
		return p.writeJSON(w)
	case "dot":
		return p.writeDot(w)
	}
	return fmt.Errorf("plan format %q is not known: use text, json or dot", format)
}

func (p *Plan) writeText(w io.Writer) error {
	var b strings.Builder
	for _, s := range p.Steps {
		line, _ := dockerfile.Lines(s.Ranges)
		fmt.Fprintf(&b, "%4d  %-7s  line %-4d  on %-4s  reads %-8s  %s\n", s.ID, s.Op.kind(), line, ref(s.Parent), refs(s.Inputs), s.label())
	}
	for _, t := range p.Targets {
		fmt.Fprintf(&b, "result  %s  %s\n", FormatPlatform(t.Platform), ref(t.Step))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// label is the name of a step on one line, without what a terminal could take for a command.
func (s *Step) label() string {
	name := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s.Name)
	if len(name) > 120 {
		name = name[:117] + "..."
	}
	return name
}

func ref(s *Step) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprint(s.ID)
}

func refs(steps []*Step) string {
	var ids []string
	for _, s := range steps {
		ids = append(ids, ref(s))
	}
	if len(ids) == 0 {
		return "-"
	}
	return strings.Join(ids, ",")
}

func (p *Plan) writeJSON(w io.Writer) error {
	type step struct {
		ID       int    `json:"id"`
		Kind     string `json:"kind"`
		Name     string `json:"name"`
		Stage    string `json:"stage,omitempty"`
		Line     int    `json:"line,omitempty"`
		Platform string `json:"platform,omitempty"`
		Parent   int    `json:"parent,omitempty"`
		Inputs   []int  `json:"inputs,omitempty"`
		Op       Op     `json:"operation"`
	}
	type target struct {
		Platform string `json:"platform"`
		Step     int    `json:"step"`
	}
	doc := struct {
		Steps   []step   `json:"steps"`
		Targets []target `json:"targets"`
	}{Steps: []step{}, Targets: []target{}}
	for _, s := range p.Steps {
		line, _ := dockerfile.Lines(s.Ranges)
		out := step{ID: s.ID, Kind: s.Op.kind(), Name: s.Name, Stage: s.Stage, Line: line, Parent: id(s.Parent), Op: s.Op}
		if s.Platform.OS != "" {
			out.Platform = FormatPlatform(s.Platform)
		}
		for _, in := range s.Inputs {
			out.Inputs = append(out.Inputs, id(in))
		}
		doc.Steps = append(doc.Steps, out)
	}
	for _, t := range p.Targets {
		doc.Targets = append(doc.Targets, target{FormatPlatform(t.Platform), id(t.Step)})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

func id(s *Step) int {
	if s == nil {
		return 0
	}
	return s.ID
}

func (p *Plan) writeDot(w io.Writer) error {
	var b strings.Builder
	b.WriteString("digraph plan {\n  rankdir=BT;\n  node [shape=box, fontname=\"monospace\"];\n")
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  s%d [label=%s];\n", s.ID, quote(s.label()))
		if s.Parent != nil {
			fmt.Fprintf(&b, "  s%d -> s%d;\n", s.ID, s.Parent.ID)
		}
		for _, in := range s.Inputs {
			if in != nil {
				fmt.Fprintf(&b, "  s%d -> s%d [style=dashed];\n", s.ID, in.ID)
			}
		}
	}
	for i, t := range p.Targets {
		fmt.Fprintf(&b, "  t%d [label=%s, shape=oval];\n", i, quote(FormatPlatform(t.Platform)))
		if t.Step != nil {
			fmt.Fprintf(&b, "  t%d -> s%d;\n", i, t.Step.ID)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
